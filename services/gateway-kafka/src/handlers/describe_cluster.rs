//! DescribeCluster (KIP-700, KIP-919, KIP-1073): one node, which is also the controller.

use tidemark_wire::KafkaString;
use tidemark_wire::messages::{
    DescribeClusterBroker, DescribeClusterRequestData, DescribeClusterResponseData,
};

use super::NO_OPERATIONS;
use crate::Ctx;
use crate::handler::{Call, Handler};

/// `endpoint_type` of a request for brokers; 2 asks for controllers, which clients cannot reach in any Kafka.
const BROKERS: i8 = 1;
/// Kafka's MISMATCHED_ENDPOINT_TYPE and UNSUPPORTED_ENDPOINT_TYPE.
const MISMATCHED_ENDPOINT: i16 = 114;
const UNSUPPORTED_ENDPOINT: i16 = 115;

pub(super) struct DescribeCluster;

impl Handler for DescribeCluster {
    type Request = DescribeClusterRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 2;
    const NOTES: &'static str =
        "Brokers only. Authorized operations are left at Kafka's \"not asked\".";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: DescribeClusterRequestData,
    ) -> DescribeClusterResponseData {
        if call.version >= 1 && request.endpoint_type != BROKERS {
            let error_code = match request.endpoint_type {
                2 => MISMATCHED_ENDPOINT,
                _ => UNSUPPORTED_ENDPOINT,
            };
            return DescribeClusterResponseData {
                error_code,
                error_message: Some(KafkaString::from_static("only brokers can be described")),
                endpoint_type: request.endpoint_type,
                cluster_authorized_operations: NO_OPERATIONS,
                ..Default::default()
            };
        }
        DescribeClusterResponseData {
            cluster_id: ctx.cluster.cluster_id.clone().into(),
            controller_id: ctx.cluster.node_id,
            brokers: vec![DescribeClusterBroker {
                broker_id: ctx.cluster.node_id,
                host: ctx.cluster.host.clone().into(),
                port: i32::from(ctx.cluster.port),
                ..Default::default()
            }],
            cluster_authorized_operations: NO_OPERATIONS,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn every_version_names_this_node() {
        let ctx = testing::ctx().await;
        for version in 0..=2 {
            let answer = testing::call(&ctx, &DescribeClusterRequestData::default(), version).await;
            assert_eq!(answer.error_code, 0);
            assert_eq!(answer.cluster_id.as_str(), ctx.cluster.cluster_id);
            assert_eq!(answer.controller_id, ctx.cluster.node_id);
            assert_eq!(answer.brokers[0].port, i32::from(ctx.cluster.port));
            assert_eq!(answer.cluster_authorized_operations, i32::MIN);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn controllers_cannot_be_asked_for() {
        let ctx = testing::ctx().await;
        for (endpoint_type, code) in [(2, MISMATCHED_ENDPOINT), (9, UNSUPPORTED_ENDPOINT)] {
            let request = DescribeClusterRequestData {
                endpoint_type,
                ..Default::default()
            };
            let answer = testing::call(&ctx, &request, 1).await;
            assert_eq!(answer.error_code, code);
            assert!(answer.brokers.is_empty());
        }
    }
}
