//! ListConfigResources (KIP-1142; version 0 is KIP-1000's ListClientMetricsResources).

use tidemark_types::{Coded, ErrorCode};
use tidemark_wire::messages::{
    ConfigResource, ListConfigResourcesRequestData, ListConfigResourcesResponseData,
};

use crate::Ctx;
use crate::admin::resource::{BROKER, CLIENT_METRICS, GROUP, TOPIC};
use crate::handler::{Call, Handler};

pub(super) struct ListConfigResources;

impl Handler for ListConfigResources {
    type Request = ListConfigResourcesRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 1;
    const NOTES: &'static str = "Topics and this broker; groups and client metrics have no configuration, so none is listed.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: ListConfigResourcesRequestData,
    ) -> ListConfigResourcesResponseData {
        let types = match (call.version, request.resource_types.is_empty()) {
            (0, _) => vec![CLIENT_METRICS],
            (_, true) => vec![TOPIC, BROKER],
            (_, false) => request.resource_types,
        };
        let mut answer = ListConfigResourcesResponseData::default();
        for resource_type in types {
            let names = match resource_type {
                TOPIC => match ctx.topics.list(&call.tenant).await {
                    Ok(all) => all.iter().map(|t| t.name.clone()).collect(),
                    Err(error) => return failed(error.code()),
                },
                BROKER => vec![ctx.cluster.node_id.to_string()],
                CLIENT_METRICS | GROUP => Vec::new(),
                _ => return failed(ErrorCode::UnsupportedVersion),
            };
            let resources = names.into_iter().map(|name| ConfigResource {
                resource_name: name.into(),
                resource_type,
                ..Default::default()
            });
            answer.config_resources.extend(resources);
        }
        // Version 0 knows one type and does not write it.
        debug_assert!(call.version > 0 || answer.config_resources.is_empty());
        answer
    }
}

fn failed(code: ErrorCode) -> ListConfigResourcesResponseData {
    ListConfigResourcesResponseData {
        error_code: code.kafka(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_topics::NewTopic;
    use tidemark_types::Tenant;

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn topics_and_the_broker_are_listed() {
        let ctx = testing::ctx().await;
        let new = NewTopic {
            name: "a".to_owned(),
            ..NewTopic::default()
        };
        let tenant = Tenant::default_without_auth();
        ctx.topics.create(&tenant, new).await.unwrap();
        let of = |types: &[i8]| ListConfigResourcesRequestData {
            resource_types: types.to_vec(),
            ..Default::default()
        };
        let answer = testing::call(&ctx, &of(&[]), 0).await;
        assert_eq!((answer.error_code, answer.config_resources.len()), (0, 0));
        for (types, listed, code) in [
            (&[][..], &[("a", 2), ("1", 4)][..], 0),
            (&[4], &[("1", 4)], 0),
            (&[32, 16], &[], 0),
            (&[99], &[], 35),
        ] {
            let answer = testing::call(&ctx, &of(types), 1).await;
            let found: Vec<_> = answer
                .config_resources
                .iter()
                .map(|r| (r.resource_name.as_str(), r.resource_type))
                .collect();
            assert_eq!((found.as_slice(), answer.error_code), (listed, code));
        }
    }
}
