//! LeaveGroup: batches and static members (KIP-345, v3), reasons (KIP-800, v5).

use tidemark_groups::{Leaving, Left};
use tidemark_types::Coded;
use tidemark_wire::messages::{LeaveGroupRequestData, LeaveGroupResponseData, MemberResponse};

use super::group::{maybe, text};
use crate::Ctx;
use crate::handler::{Call, Handler};

/// First version that names several members.
const BATCH: i16 = 3;

pub(super) struct LeaveGroup;

impl Handler for LeaveGroup {
    type Request = LeaveGroupRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 5;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: LeaveGroupRequestData,
    ) -> LeaveGroupResponseData {
        let group = text(&request.group_id);
        let leaving = if call.version < BATCH {
            vec![Leaving {
                member_id: text(&request.member_id),
                instance_id: None,
                reason: None,
            }]
        } else {
            let members = request.members.iter();
            members
                .map(|m| Leaving {
                    member_id: text(&m.member_id),
                    instance_id: maybe(m.group_instance_id.as_ref()),
                    reason: maybe(m.reason.as_ref()),
                })
                .collect()
        };
        match ctx.groups.leave(&call.tenant, &group, leaving).await {
            Ok(left) => answer(call.version, left),
            Err(error) => LeaveGroupResponseData {
                error_code: error.code().kafka(),
                ..Default::default()
            },
        }
    }
}

fn answer(version: i16, left: Vec<Left>) -> LeaveGroupResponseData {
    let code = |one: &Left| one.error.map_or(0, |e| e.kafka());
    if version < BATCH {
        return LeaveGroupResponseData {
            error_code: left.first().map_or(0, code),
            ..Default::default()
        };
    }
    let members = left.into_iter();
    LeaveGroupResponseData {
        members: members
            .map(|one| MemberResponse {
                error_code: code(&one),
                member_id: one.member_id.into(),
                group_instance_id: one.instance_id.map(Into::into),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;
    use tidemark_wire::messages::MemberIdentity;

    use super::super::group_testing::{GROUP, ctx, joined};
    use super::*;
    use crate::testing::call;

    fn leaves(member: KafkaString, version: i16) -> LeaveGroupRequestData {
        let group_id = KafkaString::from_static(GROUP);
        if version < BATCH {
            return LeaveGroupRequestData {
                group_id,
                member_id: member,
                ..Default::default()
            };
        }
        LeaveGroupRequestData {
            group_id,
            members: vec![MemberIdentity {
                member_id: member,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_leaves_once() {
        for version in 0..=5 {
            let ctx = ctx().await;
            let member = joined(&ctx, 4).await.member_id;
            for expected in [0, 25] {
                let answer = call(&ctx, &leaves(member.clone(), version), version).await;
                let found = match version {
                    0..BATCH => answer.error_code,
                    _ => answer.members[0].error_code,
                };
                assert_eq!(found, expected, "v{version}");
            }
        }
    }
}
