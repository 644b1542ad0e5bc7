//! From a client's words to topics, leaders and numbers.

use std::sync::Arc;

use tidemark_topics::{Placement, Topic, TopicError, validate_name};
use tidemark_types::{Coded, ErrorCode, LeaderEpoch, PartitionIndex, TopicUuid};
use tidemark_wire::KafkaUuid;

use crate::Ctx;
use crate::handler::Call;

/// The topic of that name.
///
/// # Errors
/// What Kafka answers for it: invalid, unknown, or retry.
pub(crate) async fn by_name(ctx: &Ctx, call: &Call, name: &str) -> Result<Arc<Topic>, ErrorCode> {
    if let Some(topic) = ctx.topics.cached(&call.tenant, name) {
        return Ok(topic);
    }
    validate_name(name).map_err(|e| e.code())?;
    let found = ctx.topics.lookup(&call.tenant, name).await;
    found
        .map_err(|e| code(&e))?
        .ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// The topic of that name, for requests about its data. As in Kafka only descriptions tell a bad name from an unknown
/// one: consumers take the former as a fault of the server.
///
/// # Errors
/// Unknown, or retry.
pub(crate) async fn data_by_name(
    ctx: &Ctx,
    call: &Call,
    name: &str,
) -> Result<Arc<Topic>, ErrorCode> {
    by_name(ctx, call, name).await.map_err(|error| match error {
        ErrorCode::InvalidTopicName => ErrorCode::UnknownTopicOrPartition,
        other => other,
    })
}

/// The topic of that id.
///
/// # Errors
/// What Kafka answers for it: unknown, or retry.
pub(crate) async fn by_id(ctx: &Ctx, call: &Call, id: KafkaUuid) -> Result<Arc<Topic>, ErrorCode> {
    if id.is_nil() {
        return Err(ErrorCode::UnknownTopicId);
    }
    let uuid = TopicUuid(id.to_bytes());
    let found = ctx.topics.lookup_uuid(&call.tenant, uuid).await;
    found
        .map_err(|e| code(&e))?
        .ok_or(ErrorCode::UnknownTopicId)
}

/// A topic error's code where topics are used, not administered: with the metadata store away the client
/// is to refresh and retry, not to look for another controller.
pub(crate) fn code(error: &TopicError) -> ErrorCode {
    match error.code() {
        ErrorCode::NotController => ErrorCode::LeaderNotAvailable,
        other => other,
    }
}

/// A topic's public id in the wire's type.
pub(crate) fn wire_id(id: TopicUuid) -> KafkaUuid {
    let (high, low) = id.0.split_at(8);
    let half = |raw: &[u8]| u64::from_be_bytes(raw.try_into().expect("half of sixteen bytes"));
    KafkaUuid::from_parts(half(high), half(low))
}

/// This node's leader epoch of a partition while it serves it (K6: base + shard epoch).
pub(crate) fn leader_epoch(ctx: &Ctx, placement: &Placement) -> Option<LeaderEpoch> {
    let epoch = ctx.log().ownership(placement.shard)?.epoch;
    let epoch = i32::try_from(epoch.0).unwrap_or(i32::MAX);
    Some(LeaderEpoch(
        placement.leader_epoch_base.saturating_add(epoch),
    ))
}

/// Leader and epoch to put beside an error that sends the client looking for them (KIP-951).
pub(crate) fn leader_hint(
    ctx: &Ctx,
    topic: &Topic,
    index: PartitionIndex,
    error: ErrorCode,
) -> Option<(i32, i32)> {
    let moved = matches!(error, ErrorCode::NotLeader | ErrorCode::FencedLeaderEpoch);
    let placement = topic.partition(index).filter(|_| moved)?;
    leader_epoch(ctx, placement).map(|epoch| (ctx.cluster.node_id, epoch.0))
}

/// A leader epoch from the wire: −1 means none.
pub(crate) const fn epoch_of(raw: i32) -> Option<LeaderEpoch> {
    if raw < 0 {
        None
    } else {
        Some(LeaderEpoch(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_bytes() {
        let id = TopicUuid([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(wire_id(id).to_bytes(), id.0);
    }
}
