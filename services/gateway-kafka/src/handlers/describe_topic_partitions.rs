//! DescribeTopicPartitions (KIP-966): metadata of topics in pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemark_topics::{Placement, Topic};
use tidemark_types::{ErrorCode, PartitionIndex};
use tidemark_wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use tidemark_wire::messages::{
    DescribeTopicPartitionsRequestData, DescribeTopicPartitionsResponseData,
};

use super::NO_OPERATIONS;
use crate::Ctx;
use crate::handler::{Call, Handler};
use crate::resolve;

/// Partitions of one answer at the most (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2_000;

pub(super) struct DescribeTopicPartitions;

type Answer = DescribeTopicPartitionsResponseData;

impl Handler for DescribeTopicPartitions {
    type Request = DescribeTopicPartitionsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 0;
    const NOTES: &'static str =
        "No eligible leader replicas: durability is a quorum of the journal's.";

    async fn handle(ctx: &Ctx, call: &Call, request: DescribeTopicPartitionsRequestData) -> Answer {
        let (from_topic, from_index) = match &request.cursor {
            Some(c) => (c.topic_name.as_str(), c.partition_index.max(0)),
            None => ("", 0),
        };
        let names = match names(ctx, call, &request).await {
            Ok(names) => names,
            Err(error) => {
                let asked = request.topics.iter().map(|t| t.name.as_str());
                let refused = asked.map(|name| failed(name, error)).collect();
                return Answer {
                    topics: refused,
                    ..Default::default()
                };
            }
        };
        let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
        let mut left = limit.clamp(1, PARTITIONS_MAX);
        let mut answer = Answer::default();
        for name in names.range(from_topic.to_owned()..) {
            let from = if name == from_topic { from_index } else { 0 };
            if left == 0 {
                answer.next_cursor = Some(cursor(name, from));
                break;
            }
            match resolve::by_name(ctx, call, name).await {
                Err(error) => answer.topics.push(failed(name, error)),
                Ok(topic) => {
                    let page = page(ctx, &topic, from, left);
                    let shown = page.partitions.len();
                    left -= shown;
                    let next = from.saturating_add(i32::try_from(shown).unwrap_or(i32::MAX));
                    answer.topics.push(page);
                    if next < topic.partition_count() {
                        answer.next_cursor = Some(cursor(name, next));
                        break;
                    }
                }
            }
        }
        answer
    }
}

/// The names asked for, sorted; an empty request asks for all.
async fn names(
    ctx: &Ctx,
    call: &Call,
    request: &DescribeTopicPartitionsRequestData,
) -> Result<BTreeSet<String>, ErrorCode> {
    if !request.topics.is_empty() {
        let asked = request.topics.iter();
        return Ok(asked.map(|t| t.name.as_str().to_owned()).collect());
    }
    let all = ctx.topics.list(&call.tenant).await;
    let all = all.map_err(|e| resolve::code(&e))?;
    Ok(all.iter().map(|t| t.name.clone()).collect())
}

fn cursor(name: &str, partition_index: i32) -> Box<Cursor> {
    Box::new(Cursor {
        topic_name: name.to_owned().into(),
        partition_index,
        ..Default::default()
    })
}

fn failed(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: error.kafka(),
        name: Some(name.to_owned().into()),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}

fn page(
    ctx: &Ctx,
    topic: &Arc<Topic>,
    from: i32,
    max: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let skipped = usize::try_from(from).unwrap_or(0);
    let shown = topic.indexed().skip(skipped).take(max);
    DescribeTopicPartitionsResponseTopic {
        name: Some(topic.name.clone().into()),
        topic_id: resolve::wire_id(topic.uuid),
        partitions: shown.map(|(i, at)| partition(ctx, i, at)).collect(),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}

fn partition(
    ctx: &Ctx,
    index: PartitionIndex,
    placement: &Placement,
) -> DescribeTopicPartitionsResponsePartition {
    let node = ctx.cluster.node_id;
    let led = resolve::leader_epoch(ctx, placement);
    DescribeTopicPartitionsResponsePartition {
        error_code: led.map_or(ErrorCode::LeaderNotAvailable.kafka(), |_| 0),
        partition_index: index.0,
        leader_id: led.map_or(-1, |_| node),
        leader_epoch: led.map_or(-1, |e| e.0),
        replica_nodes: vec![node],
        isr_nodes: vec![node],
        // Nullable by the protocol, yet the Java client's describeTopics fails on null.
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::messages::describe_topic_partitions_request as asked;

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn pages_cover_everything_once() {
        let ctx = testing::ctx().await;
        for (name, partitions) in [("a", 3), ("b", 1), ("c", 4)] {
            testing::create_topic(&ctx, name, partitions).await;
        }
        let mut request = DescribeTopicPartitionsRequestData {
            response_partition_limit: 2,
            ..Default::default()
        };
        let mut seen = Vec::new();
        loop {
            let answer = testing::call(&ctx, &request, 0).await;
            for topic in &answer.topics {
                let name = topic.name.clone().unwrap();
                let shown = topic.partitions.iter();
                seen.extend(shown.map(|p| format!("{name}{}", p.partition_index)));
            }
            let Some(next) = answer.next_cursor else {
                break;
            };
            request.cursor = Some(Box::new(asked::Cursor {
                topic_name: next.topic_name,
                partition_index: next.partition_index,
                ..Default::default()
            }));
        }
        assert_eq!(seen, ["a0", "a1", "a2", "b0", "c0", "c1", "c2", "c3"]);
    }

    #[tokio::test(start_paused = true)]
    async fn lists_of_eligible_leaders_are_empty_and_never_null() {
        let ctx = testing::ctx().await;
        testing::create_topic(&ctx, "a", 1).await;
        let request = DescribeTopicPartitionsRequestData {
            response_partition_limit: 10,
            ..Default::default()
        };
        let answer = testing::call(&ctx, &request, 0).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.eligible_leader_replicas, Some(vec![]));
        assert_eq!(partition.last_known_elr, Some(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_topics_fail_alone() {
        let ctx = testing::ctx().await;
        let request = DescribeTopicPartitionsRequestData {
            topics: vec![asked::TopicRequest {
                name: "none".to_owned().into(),
                ..Default::default()
            }],
            response_partition_limit: 10,
            ..Default::default()
        };
        let answer = testing::call(&ctx, &request, 0).await;
        assert_eq!(answer.topics[0].error_code, 3);
    }
}
