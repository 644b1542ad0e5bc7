//! ListOffsets: offsets by position and by time.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tidemark_log::{Isolation, ListedOffset, OffsetSpec};
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode, PartitionIndex};
use tidemark_wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use tidemark_wire::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use tidemark_wire::messages::{ListOffsetsRequestData, ListOffsetsResponseData};

use crate::Ctx;
use crate::handler::{Call, Handler};
use crate::resolve;

/// Lookups of one request that run at a time: each may cost a round trip (K1) or reads of the log.
const CONCURRENT: usize = 32;

pub(super) struct ListOffsets;

impl Handler for ListOffsets {
    type Request = ListOffsetsRequestData;
    const MIN: i16 = 1;
    const MAX: i16 = 11;
    const NOTES: &'static str = "Timestamps -1 to -5. -6 (earliest pending upload) is answered UNSUPPORTED_VERSION per partition.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: ListOffsetsRequestData,
    ) -> ListOffsetsResponseData {
        let isolation = match request.isolation_level {
            0 => Ok(Isolation::ReadUncommitted),
            1 => Ok(Isolation::ReadCommitted),
            _ => Err(ErrorCode::InvalidRequest),
        };
        let mut topics = Vec::with_capacity(request.topics.len().min(1024));
        let mut seen = BTreeSet::new();
        for topic in request.topics {
            topics.push(listed(ctx, call, topic, isolation, &mut seen).await);
        }
        ListOffsetsResponseData {
            topics,
            ..Default::default()
        }
    }
}

async fn listed(
    ctx: &Ctx,
    call: &Call,
    asked: ListOffsetsTopic,
    isolation: Result<Isolation, ErrorCode>,
    seen: &mut BTreeSet<(String, i32)>,
) -> ListOffsetsTopicResponse {
    let topic = &resolve::data_by_name(ctx, call, asked.name.as_str()).await;
    let mut lookups = Vec::with_capacity(asked.partitions.len());
    for p in asked.partitions {
        let twice = !seen.insert((asked.name.as_str().to_owned(), p.partition_index));
        lookups.push(async move {
            let found = match (topic, isolation) {
                _ if twice => Err(ErrorCode::InvalidRequest),
                (Err(error), _) => Err(*error),
                (_, Err(error)) => Err(error),
                (Ok(topic), Ok(isolation)) => lookup(ctx, call, topic, &p, isolation).await,
            };
            answered(call, p.partition_index, found)
        });
    }
    ListOffsetsTopicResponse {
        partitions: stream::iter(lookups).buffered(CONCURRENT).collect().await,
        name: asked.name,
        ..Default::default()
    }
}

async fn lookup(
    ctx: &Ctx,
    call: &Call,
    topic: &Arc<Topic>,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<ListedOffset, ErrorCode> {
    let index = PartitionIndex(asked.partition_index);
    let placement = topic
        .partition(index)
        .ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let spec = spec(asked.timestamp, call.version)?;
    if let Some(known) = resolve::epoch_of(asked.current_leader_epoch) {
        let ours = resolve::leader_epoch(ctx, placement).ok_or(ErrorCode::NotLeader)?;
        if known < ours {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if known > ours {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
    }
    ctx.log()
        .list_offset(&call.tenant, topic, index, spec, isolation)
        .await
        .map_err(|e| e.code())
}

/// Kafka's special timestamps, each from the version that brought it.
fn spec(timestamp: i64, version: i16) -> Result<OffsetSpec, ErrorCode> {
    match timestamp {
        0.. => Ok(OffsetSpec::Timestamp(timestamp)),
        -1 => Ok(OffsetSpec::Latest),
        -2 => Ok(OffsetSpec::Earliest),
        -3 if version >= 7 => Ok(OffsetSpec::MaxTimestamp),
        -4 if version >= 8 => Ok(OffsetSpec::EarliestLocal),
        -5 if version >= 9 => Ok(OffsetSpec::LatestTiered),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

fn answered(
    call: &Call,
    partition_index: i32,
    found: Result<ListedOffset, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (error, found) = match found {
        Ok(found) => (0, found),
        Err(error) => (error.kafka(), ListedOffset::NONE),
    };
    ListOffsetsPartitionResponse {
        partition_index,
        error_code: error,
        timestamp: found.timestamp_ms,
        offset: found.offset.0,
        leader_epoch: match call.version {
            4.. => found.leader_epoch.0,
            _ => -1,
        },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_need_their_versions() {
        assert_eq!(spec(-1, 1), Ok(OffsetSpec::Latest));
        assert_eq!(spec(-2, 1), Ok(OffsetSpec::Earliest));
        for (timestamp, version) in [(-3, 7), (-4, 8), (-5, 9)] {
            assert!(spec(timestamp, version).is_ok());
            assert_eq!(
                spec(timestamp, version - 1),
                Err(ErrorCode::UnsupportedVersion)
            );
        }
        assert_eq!(spec(-6, 11), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(spec(i64::MIN, 11), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(spec(5, 1), Ok(OffsetSpec::Timestamp(5)));
    }
}
