//! Metadata: topics by name and by id, created on the way when both sides allow it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemark_topics::{Placement, Topic, validate_name};
use tidemark_types::{Coded, ErrorCode, PartitionIndex};
use tidemark_wire::KafkaUuid;
use tidemark_wire::messages::{
    MetadataRequestData, MetadataRequestTopic, MetadataResponseBroker, MetadataResponseData,
    MetadataResponsePartition, MetadataResponseTopic,
};

use super::NO_OPERATIONS;
use crate::Ctx;
use crate::handler::{Call, Handler};
use crate::resolve;

/// First version whose requests name topics by id.
const BY_ID: i16 = 12;

pub(super) struct Metadata;

impl Handler for Metadata {
    type Request = MetadataRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 13;
    const NOTES: &'static str = "One node leads every partition and is the controller. A topic created on the way is answered at once. \
         Authorized operations are left at Kafka's \"not asked\".";

    async fn handle(ctx: &Ctx, call: &Call, request: MetadataRequestData) -> MetadataResponseData {
        MetadataResponseData {
            brokers: vec![MetadataResponseBroker {
                node_id: ctx.cluster.node_id,
                host: ctx.cluster.host.clone().into(),
                port: i32::from(ctx.cluster.port),
                ..Default::default()
            }],
            cluster_id: Some(ctx.cluster.cluster_id.clone().into()),
            controller_id: ctx.cluster.node_id,
            topics: topics(ctx, call, request).await,
            cluster_authorized_operations: NO_OPERATIONS,
            ..Default::default()
        }
    }
}

async fn topics(
    ctx: &Ctx,
    call: &Call,
    request: MetadataRequestData,
) -> Vec<MetadataResponseTopic> {
    // Version 0 has no null: its empty list asks for all.
    let asked = match request.topics {
        Some(asked) if call.version > 0 || !asked.is_empty() => asked,
        Some(_) | None => {
            return match ctx.topics.list(&call.tenant).await {
                Ok(all) => all.iter().map(|t| described(ctx, call, t)).collect(),
                Err(error) => {
                    // The answer has no place for this: no topics, and the client asks again.
                    tracing::warn!("list topics for metadata: {error}");
                    Vec::new()
                }
            };
        }
    };
    let may_create = request.allow_auto_topic_creation && ctx.topics.settings().auto_create;
    let mut answers = Vec::with_capacity(asked.len().min(1024));
    let mut seen = BTreeSet::new();
    for topic in asked {
        let key = (
            topic.topic_id.to_bytes(),
            topic.name.as_ref().map(|n| n.as_str().to_owned()),
        );
        if seen.insert(key) {
            answers.push(one(ctx, call, topic, may_create).await);
        }
    }
    answers
}

async fn one(
    ctx: &Ctx,
    call: &Call,
    asked: MetadataRequestTopic,
    may_create: bool,
) -> MetadataResponseTopic {
    // An id counts before a name: Kafka's own admin client sends an empty name beside it.
    let by_id = call.version >= BY_ID && (!asked.topic_id.is_nil() || asked.name.is_none());
    let found = match &asked.name {
        _ if by_id => resolve::by_id(ctx, call, asked.topic_id).await,
        Some(name) if asked.topic_id.is_nil() => named(ctx, call, name.as_str(), may_create).await,
        Some(_) | None => Err(ErrorCode::InvalidRequest),
    };
    match found {
        Ok(topic) => described(ctx, call, &topic),
        Err(error) => MetadataResponseTopic {
            error_code: error.kafka(),
            name: match (by_id, asked.name) {
                (true, _) => None,
                (false, name) => Some(name.unwrap_or_default()),
            },
            topic_id: asked.topic_id,
            topic_authorized_operations: NO_OPERATIONS,
            ..Default::default()
        },
    }
}

async fn named(
    ctx: &Ctx,
    call: &Call,
    name: &str,
    may_create: bool,
) -> Result<Arc<Topic>, ErrorCode> {
    match resolve::by_name(ctx, call, name).await {
        Err(ErrorCode::UnknownTopicOrPartition) if may_create => {
            validate_name(name).map_err(|e| e.code())?;
            let made = ctx.topics.lookup_or_create(&call.tenant, name).await;
            made.map_err(|e| resolve::code(&e))
        }
        other => other,
    }
}

fn described(ctx: &Ctx, call: &Call, topic: &Topic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        name: Some(topic.name.clone().into()),
        topic_id: match call.version {
            10.. => resolve::wire_id(topic.uuid),
            _ => KafkaUuid::ZERO,
        },
        partitions: topic
            .indexed()
            .map(|(index, at)| partition(ctx, call, index, at))
            .collect(),
        topic_authorized_operations: NO_OPERATIONS,
        ..Default::default()
    }
}

fn partition(
    ctx: &Ctx,
    call: &Call,
    index: PartitionIndex,
    placement: &Placement,
) -> MetadataResponsePartition {
    let node = ctx.cluster.node_id;
    let led = resolve::leader_epoch(ctx, placement);
    MetadataResponsePartition {
        error_code: led.map_or(ErrorCode::LeaderNotAvailable.kafka(), |_| 0),
        partition_index: index.0,
        leader_id: led.map_or(-1, |_| node),
        leader_epoch: match call.version {
            7.. => led.map_or(-1, |e| e.0),
            _ => -1,
        },
        replica_nodes: vec![node],
        isr_nodes: vec![node],
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;

    use super::*;
    use crate::testing;

    async fn with_topics(names: &[&str]) -> Arc<Ctx> {
        let ctx = testing::ctx().await;
        for name in names {
            testing::create_topic(&ctx, name, 3).await;
        }
        ctx
    }

    fn by_name(names: &[&str]) -> MetadataRequestData {
        let topics = names.iter().map(|n| MetadataRequestTopic {
            name: Some((*n).to_owned().into()),
            ..Default::default()
        });
        MetadataRequestData {
            topics: Some(topics.collect()),
            ..Default::default()
        }
    }

    fn names(answer: &MetadataResponseData) -> Vec<&str> {
        let topics = answer.topics.iter();
        topics
            .map(|t| t.name.as_ref().map_or("", |n| n.as_str()))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_describes_topics_by_name() {
        let ctx = with_topics(&["a", "b"]).await;
        for version in 0..=13 {
            let answer = testing::call(&ctx, &by_name(&["b", "b"]), version).await;
            assert_eq!(names(&answer), ["b"]);
            let topic = &answer.topics[0];
            assert_eq!((topic.error_code, topic.partitions.len()), (0, 3));
            assert_eq!(topic.topic_id.is_nil(), version < 10);
            let node = &answer.brokers[0];
            assert_eq!((node.node_id, node.port), (1, 9092));
            if version >= 1 {
                assert_eq!(answer.controller_id, 1);
            }
            let leader = &topic.partitions[2];
            assert_eq!((leader.error_code, leader.leader_id), (0, 1));
            assert_eq!(leader.isr_nodes, [1]);
            assert_eq!(leader.leader_epoch >= 0, version >= 7);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn null_asks_for_all_and_empty_for_none_but_in_version_0() {
        let ctx = with_topics(&["a", "b"]).await;
        for version in 0..=13 {
            let empty = testing::call(&ctx, &by_name(&[]), version).await;
            assert_eq!(empty.topics.len(), if version == 0 { 2 } else { 0 });
            if version > 0 {
                let null = MetadataRequestData {
                    topics: None,
                    ..Default::default()
                };
                let all = testing::call(&ctx, &null, version).await;
                assert_eq!(names(&all), ["a", "b"]);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn topics_are_found_by_id() {
        let ctx = with_topics(&["a"]).await;
        let id = testing::call(&ctx, &by_name(&["a"]), 13).await.topics[0].topic_id;
        let unknown = KafkaUuid::from_parts(7, 7);
        let topics = [id, unknown].map(|topic_id| MetadataRequestTopic {
            topic_id,
            name: None,
            ..Default::default()
        });
        let request = MetadataRequestData {
            topics: Some(topics.to_vec()),
            ..Default::default()
        };
        for version in 12..=13 {
            let answer = testing::call(&ctx, &request, version).await;
            assert_eq!(names(&answer), ["a", ""]);
            let missing = &answer.topics[1];
            assert_eq!((missing.error_code, missing.topic_id), (100, unknown));
            let mut beside = request.clone();
            for topic in beside.topics.iter_mut().flatten() {
                topic.name = Some(KafkaString::default());
            }
            let again = testing::call(&ctx, &beside, version).await;
            assert_eq!(
                again, answer,
                "an empty name beside the id, as Kafka's admin client sends"
            );
        }
        let early = testing::call(&ctx, &request, 11).await;
        assert_eq!(early.topics[0].error_code, 42);
    }

    #[tokio::test(start_paused = true)]
    async fn missing_topics_are_created_only_when_the_client_allows_it() {
        let ctx = testing::ctx().await;
        let mut request = by_name(&["new", "bad name"]);
        request.allow_auto_topic_creation = false;
        let errors = |a: &MetadataResponseData| -> Vec<i16> {
            a.topics.iter().map(|t| t.error_code).collect()
        };
        let refused = testing::call(&ctx, &request, 9).await;
        assert_eq!(errors(&refused), [3, 17]);
        request.allow_auto_topic_creation = true;
        let made = testing::call(&ctx, &request, 9).await;
        assert_eq!(errors(&made), [0, 17]);
        assert_eq!(made.topics[0].partitions.len(), 1);
    }
}
