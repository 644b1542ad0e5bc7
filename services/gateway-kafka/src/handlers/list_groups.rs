//! ListGroups: filters by state (v4, KIP-518) and by type (v5, KIP-848).

use tidemark_groups::GroupListing;
use tidemark_types::Coded;
use tidemark_wire::KafkaString;
use tidemark_wire::messages::{ListGroupsRequestData, ListGroupsResponseData, ListedGroup};

use crate::Ctx;
use crate::handler::{Call, Handler};

/// The type of every group there is.
const CLASSIC: &str = "classic";
/// First versions with a group's state and its type.
const STATE: i16 = 4;
const TYPE: i16 = 5;

pub(super) struct ListGroups;

impl Handler for ListGroups {
    type Request = ListGroupsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 5;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: ListGroupsRequestData,
    ) -> ListGroupsResponseData {
        let listed = match ctx.groups.list(&call.tenant).await {
            Ok(listed) => listed,
            Err(error) => {
                return ListGroupsResponseData {
                    error_code: error.code().kafka(),
                    ..Default::default()
                };
            }
        };
        let asked = |filter: &[KafkaString], is: &str| {
            let mut names = filter.iter().map(KafkaString::as_str);
            filter.is_empty() || names.any(|name| name.eq_ignore_ascii_case(is))
        };
        let wanted = listed.into_iter().filter(|group| {
            asked(&request.states_filter, group.state.name())
                && asked(&request.types_filter, CLASSIC)
        });
        ListGroupsResponseData {
            groups: wanted.map(|group| one(call.version, group)).collect(),
            ..Default::default()
        }
    }
}

fn one(version: i16, group: GroupListing) -> ListedGroup {
    let from = |first: i16, text: &'static str| {
        KafkaString::from_static(if version >= first { text } else { "" })
    };
    ListedGroup {
        group_id: group.group.into(),
        protocol_type: group.protocol_type.into(),
        group_state: from(STATE, group.state.name()),
        group_type: from(TYPE, CLASSIC),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::group_testing::{GROUP, ctx, joined, sync};
    use super::*;
    use crate::testing::call;

    #[tokio::test(start_paused = true)]
    async fn every_version_lists_and_filters() {
        let ctx = ctx().await;
        let none = call(&ctx, &ListGroupsRequestData::default(), 0).await;
        assert!(none.groups.is_empty());
        let member = joined(&ctx, 4).await;
        call(&ctx, &sync(&member, "mine"), 5).await;
        for version in 0..=5 {
            let answer = call(&ctx, &ListGroupsRequestData::default(), version).await;
            assert_eq!(answer.groups.len(), 1, "v{version}");
            assert_eq!(answer.groups[0].group_id.as_str(), GROUP);
            assert_eq!(answer.groups[0].protocol_type.as_str(), "consumer");
        }
        for (states, types, found) in [
            (vec!["stable"], vec![], 1),
            (vec!["Empty", "Dead"], vec![], 0),
            (vec![], vec!["Classic"], 1),
            (vec![], vec!["consumer"], 0),
        ] {
            let filter = |names: Vec<&'static str>| {
                names.into_iter().map(KafkaString::from_static).collect()
            };
            let request = ListGroupsRequestData {
                states_filter: filter(states),
                types_filter: filter(types),
                ..Default::default()
            };
            assert_eq!(call(&ctx, &request, 5).await.groups.len(), found);
        }
    }
}
