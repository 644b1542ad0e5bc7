//! OffsetForLeaderEpoch: where an epoch ends (KIP-101, KIP-320; K6).

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tidemark_log::EpochEnd;
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use tidemark_wire::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use tidemark_wire::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use tidemark_wire::messages::{OffsetForLeaderEpochRequestData, OffsetForLeaderEpochResponseData};

use crate::Ctx;
use crate::handler::{Call, Handler};
use crate::resolve;

/// Lookups of one topic that run at a time: each may cost a round trip (K1), which those of a shard share.
const CONCURRENT: usize = 32;
/// No epoch, no end.
const UNDEFINED: EpochEnd = EpochEnd {
    epoch: LeaderEpoch(-1),
    end: Offset(-1),
};

pub(super) struct OffsetForLeaderEpoch;

impl Handler for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequestData;
    const MIN: i16 = 2;
    const MAX: i16 = 4;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: OffsetForLeaderEpochRequestData,
    ) -> OffsetForLeaderEpochResponseData {
        let mut topics = Vec::with_capacity(request.topics.len().min(1024));
        for topic in request.topics {
            topics.push(answered(ctx, call, topic).await);
        }
        OffsetForLeaderEpochResponseData {
            topics,
            ..Default::default()
        }
    }
}

async fn answered(
    ctx: &Ctx,
    call: &Call,
    asked: OffsetForLeaderTopic,
) -> OffsetForLeaderTopicResult {
    let topic = &resolve::data_by_name(ctx, call, asked.topic.as_str()).await;
    let mut lookups = Vec::with_capacity(asked.partitions.len());
    for p in asked.partitions {
        lookups.push(async move {
            let found = match topic {
                Ok(topic) => end_of(ctx, call, topic, &p).await,
                Err(error) => Err(*error),
            };
            end(&p, found)
        });
    }
    OffsetForLeaderTopicResult {
        partitions: stream::iter(lookups).buffered(CONCURRENT).collect().await,
        topic: asked.topic,
        ..Default::default()
    }
}

async fn end_of(
    ctx: &Ctx,
    call: &Call,
    topic: &Arc<Topic>,
    p: &OffsetForLeaderPartition,
) -> Result<EpochEnd, ErrorCode> {
    if p.leader_epoch < 0 {
        // Nobody's epoch: Kafka knows no end of it either.
        return Ok(UNDEFINED);
    }
    let index = PartitionIndex(p.partition);
    let current = resolve::epoch_of(p.current_leader_epoch);
    let epoch = LeaderEpoch(p.leader_epoch);
    ctx.log()
        .leader_epoch_end(&call.tenant, topic, index, current, epoch)
        .await
        .map_err(|e| e.code())
}

fn end(asked: &OffsetForLeaderPartition, found: Result<EpochEnd, ErrorCode>) -> EpochEndOffset {
    let (error_code, found) = match found {
        Ok(found) => (0, found),
        Err(error) => (error.kafka(), UNDEFINED),
    };
    EpochEndOffset {
        error_code,
        partition: asked.partition,
        leader_epoch: found.epoch.0,
        end_offset: found.end.0,
        ..Default::default()
    }
}
