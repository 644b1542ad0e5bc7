//! DescribeGroups: static members (v4), errors for groups that are not there (v6, KIP-1043).

use tidemark_groups::{GroupDescription, GroupError};
use tidemark_types::Coded;
use tidemark_wire::KafkaString;
use tidemark_wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use tidemark_wire::messages::{DescribeGroupsRequestData, DescribeGroupsResponseData};

use super::NO_OPERATIONS;
use crate::Ctx;
use crate::handler::{Call, Handler};

/// First version with an error, and a message, for a group that is not there.
const NOT_FOUND: i16 = 6;

pub(super) struct DescribeGroups;

impl Handler for DescribeGroups {
    type Request = DescribeGroupsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 6;
    const NOTES: &'static str = "Authorized operations are left at Kafka's \"not asked\".";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: DescribeGroupsRequestData,
    ) -> DescribeGroupsResponseData {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group_id in request.groups {
            let outcome = ctx.groups.describe(&call.tenant, group_id.as_str()).await;
            let mut described = match outcome {
                Ok(description) => described(description),
                Err(error) => refused(call.version, &error),
            };
            described.group_id = group_id;
            described.authorized_operations = NO_OPERATIONS;
            groups.push(described);
        }
        DescribeGroupsResponseData {
            groups,
            ..Default::default()
        }
    }
}

fn described(description: GroupDescription) -> DescribedGroup {
    let members = description.members.into_iter();
    DescribedGroup {
        group_state: KafkaString::from_static(description.state.name()),
        protocol_type: description.protocol_type.into(),
        protocol_data: description.protocol.into(),
        members: members
            .map(|m| DescribedGroupMember {
                member_id: m.member_id.into(),
                group_instance_id: m.instance_id.map(Into::into),
                client_id: m.client_id.into(),
                client_host: m.client_host.into(),
                member_metadata: m.metadata,
                member_assignment: m.assignment,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// Older versions call a group that is not there a dead one.
fn refused(version: i16, error: &GroupError) -> DescribedGroup {
    let missing = *error == GroupError::NotFound;
    DescribedGroup {
        error_code: if missing && version < NOT_FOUND {
            0
        } else {
            error.code().kafka()
        },
        error_message: (version >= NOT_FOUND).then(|| error.to_string().into()),
        group_state: KafkaString::from_static(if missing { "Dead" } else { "" }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::group_testing::{GROUP, ctx, joined, sync};
    use super::*;
    use crate::testing::call;

    #[tokio::test(start_paused = true)]
    async fn every_version_shows_members_and_misses_what_is_not_there() {
        let ctx = ctx().await;
        let member = joined(&ctx, 4).await;
        call(&ctx, &sync(&member, "mine"), 5).await;
        let request = DescribeGroupsRequestData {
            groups: vec![
                KafkaString::from_static(GROUP),
                KafkaString::from_static("missing"),
            ],
            ..Default::default()
        };
        for version in 0..=6 {
            let answer = call(&ctx, &request, version).await;
            let found = &answer.groups[0];
            assert_eq!(found.group_state.as_str(), "Stable", "v{version}");
            assert_eq!(found.protocol_data.as_str(), "range");
            assert_eq!(found.members[0].member_id, member.member_id);
            assert_eq!(found.members[0].client_host.as_str(), "/127.0.0.1");
            assert_eq!(&found.members[0].member_assignment[..], b"mine");
            let missing = &answer.groups[1];
            assert_eq!(missing.group_state.as_str(), "Dead");
            assert_eq!(missing.error_code, if version >= 6 { 69 } else { 0 });
        }
    }
}
