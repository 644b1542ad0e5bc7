//! OffsetForLeaderEpoch: where an epoch ends (KIP-101, KIP-320; K6).

use tidemark_log::EpochEnd;
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
    let topic = resolve::data_by_name(ctx, call, asked.topic.as_str()).await;
    let end_of = |p: &OffsetForLeaderPartition| {
        let topic = topic.as_ref().map_err(|e| *e)?;
        if p.leader_epoch < 0 {
            // Nobody's epoch: Kafka knows no end of it either.
            return Ok(UNDEFINED);
        }
        ctx.log()
            .leader_epoch_end(
                &call.tenant,
                topic,
                PartitionIndex(p.partition),
                resolve::epoch_of(p.current_leader_epoch),
                LeaderEpoch(p.leader_epoch),
            )
            .map_err(|e| e.code())
    };
    let partitions = asked.partitions.iter().map(|p| end(p, end_of(p)));
    OffsetForLeaderTopicResult {
        partitions: partitions.collect(),
        topic: asked.topic,
        ..Default::default()
    }
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
