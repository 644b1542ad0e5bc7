//! Metadata: topics by name and by id, created on the way when both sides allow it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemark_topics::{Placement, Topic, validate_name};
use tidemark_types::{Coded, ErrorCode, PartitionIndex};
use tidemark_wire::messages::{
    MetadataRequestData, MetadataRequestTopic, MetadataResponseBroker, MetadataResponseData,
    MetadataResponsePartition, MetadataResponseTopic,
};
use tidemark_wire::{KafkaString, KafkaUuid};

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
    let found = match &asked.name {
        Some(name) if asked.topic_id.is_nil() => named(ctx, call, name.as_str(), may_create).await,
        None if call.version >= BY_ID => resolve::by_id(ctx, call, asked.topic_id).await,
        Some(_) | None => Err(ErrorCode::InvalidRequest),
    };
    match found {
        Ok(topic) => described(ctx, call, &topic),
        Err(error) => MetadataResponseTopic {
            error_code: error.kafka(),
            name: asked.name.or(match call.version {
                BY_ID.. => None,
                _ => Some(KafkaString::from_static("")),
            }),
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
