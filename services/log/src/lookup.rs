//! Offsets by position, time and leader epoch.

use tidemark_records::Batch;
use tidemark_types::{LeaderEpoch, Offset};

use crate::env::Env;
use crate::error::ReadError;
use crate::fetch::Isolation;
use crate::offsets::{EpochEnd, ListedOffset, OffsetSpec};
use crate::poll::prove;
use crate::read::{self, locate_time, scan, with_index};
use crate::shard::Shard;
use crate::view::{StoredBatch, View};
use tidemark_types::PartitionId;

/// Kafka's "no timestamp" and "no epoch".
const NONE: i64 = -1;

/// Finds an offset. `current` is this owner's leader epoch.
pub(crate) async fn list(
    env: &Env,
    shard: &Shard,
    partition: PartitionId,
    spec: OffsetSpec,
    current: LeaderEpoch,
    _isolation: Isolation,
) -> Result<ListedOffset, ReadError> {
    if spec == OffsetSpec::Latest {
        // K1: what is read after the proof began is the end as of then.
        prove(env, shard).await?;
    }
    let Some(view) = shard.view(partition) else {
        return Ok(match spec {
            OffsetSpec::Earliest | OffsetSpec::EarliestLocal | OffsetSpec::Latest => ListedOffset {
                offset: Offset(0),
                timestamp_ms: NONE,
                leader_epoch: current,
            },
            _ => ListedOffset::NONE,
        });
    };
    env.starts.touch(&view, env.clock.now());
    match spec {
        OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
            let offset = view.state.read().log_start;
            Ok(at(&view, offset, NONE, current))
        }
        OffsetSpec::Latest => {
            let offset = view.state.read().high_watermark;
            Ok(ListedOffset {
                offset,
                timestamp_ms: NONE,
                leader_epoch: current,
            })
        }
        // Nothing is tiered yet.
        OffsetSpec::LatestTiered => Ok(ListedOffset::NONE),
        OffsetSpec::MaxTimestamp => max_timestamp(env, shard, &view, current).await,
        OffsetSpec::Timestamp(ms) => by_time(env, shard, &view, ms, current).await,
    }
}

fn at(view: &View, offset: Offset, timestamp_ms: i64, current: LeaderEpoch) -> ListedOffset {
    let shown = view.state.read();
    let after = shown.epochs.partition_point(|(_, start)| *start <= offset);
    let epoch = after.checked_sub(1).and_then(|i| shown.epochs.get(i));
    ListedOffset {
        offset,
        timestamp_ms,
        leader_epoch: epoch.map_or(current, |(epoch, _)| *epoch),
    }
}

async fn max_timestamp(
    env: &Env,
    shard: &Shard,
    view: &View,
    current: LeaderEpoch,
) -> Result<ListedOffset, ReadError> {
    let Some((ms, base)) = view.state.read().max_timestamp else {
        return Ok(ListedOffset::NONE);
    };
    let found = read::read(&env.cold, shard, view, base, 0, true).await?;
    let Some(batch) = found.into_iter().next() else {
        return Ok(ListedOffset::NONE);
    };
    let record = record_at(env, &batch, ms, Offset(0))?;
    Ok(record.map_or(ListedOffset::NONE, |(offset, ms)| {
        at(view, offset, ms, current)
    }))
}

async fn by_time(
    env: &Env,
    shard: &Shard,
    view: &View,
    ms: i64,
    current: LeaderEpoch,
) -> Result<ListedOffset, ReadError> {
    let (log_start, newest) = {
        let shown = view.state.read();
        let newest = shown.max_timestamp.map_or(i64::MIN, |(ms, _)| ms);
        (shown.log_start, newest)
    };
    if newest < ms {
        return Ok(ListedOffset::NONE);
    }
    let mut looked = log_start;
    let found = loop {
        let until = {
            let shown = view.state.read();
            let until = shown.tail_start();
            if until <= looked {
                let mut tail = shown.tail_from(looked);
                break tail.find(|b| b.max_timestamp >= ms).cloned();
            }
            until
        };
        let found = cold_by_time(env, shard, view.id, looked, until, ms).await?;
        if found.is_some() {
            break found;
        }
        // Batches may have left the tail meanwhile: they are in the journal now.
        looked = until;
    };
    let Some(batch) = found else {
        return Ok(ListedOffset::NONE);
    };
    let record = record_at(env, &batch, ms, log_start)?;
    Ok(record.map_or(ListedOffset::NONE, |(offset, ms)| {
        at(view, offset, ms, current)
    }))
}

/// The first batch of `[from, until)` that has a timestamp at or after `ms`, out of the journal.
async fn cold_by_time(
    env: &Env,
    shard: &Shard,
    partition: PartitionId,
    from: Offset,
    until: Offset,
    ms: i64,
) -> Result<Option<StoredBatch>, ReadError> {
    let readables = shard.readables();
    let reader = readables.reader.ok_or(ReadError::NotLeader(shard.id))?;
    let first = locate_time(&reader, &readables.extents, partition, ms).await?;
    for (i, extent) in readables.extents.iter().enumerate().skip(first) {
        let mark = with_index(&reader, extent, |index| {
            index.seek_time(partition, from, ms)
        })
        .await?;
        let Some(mark) = mark.filter(|m| m.offset < until) else {
            continue;
        };
        let mut found = None;
        let start = mark.offset.max(from);
        scan(
            &env.cold,
            shard,
            partition,
            start,
            until,
            Some((i, mark.lsn)),
            &mut |batch| {
                let hit = batch.max_timestamp >= ms;
                if hit {
                    found = Some(batch);
                }
                !hit
            },
        )
        .await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The first record of a batch at or after `ms` and at or above `from`, with its timestamp.
fn record_at(
    env: &Env,
    batch: &StoredBatch,
    ms: i64,
    from: Offset,
) -> Result<Option<(Offset, i64)>, ReadError> {
    let storage = |error: tidemark_records::BatchError| ReadError::Storage(error.to_string());
    let batch = Batch::parse_trusted(batch.joined()).map_err(storage)?;
    let records = batch
        .records(env.config.decompress_bytes_max)
        .map_err(storage)?;
    for record in records {
        let record = record.map_err(storage)?;
        if record.timestamp >= ms && record.offset >= from {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// K6: the largest known epoch at or below the requested one, and where it ends.
pub(crate) fn epoch_end(
    shard: &Shard,
    partition: PartitionId,
    epoch: LeaderEpoch,
    current: LeaderEpoch,
) -> EpochEnd {
    if epoch > current {
        return EpochEnd {
            epoch: LeaderEpoch(-1),
            end: Offset(-1),
        };
    }
    let Some(view) = shard.view(partition) else {
        return EpochEnd {
            epoch,
            end: Offset(0),
        };
    };
    let shown = view.state.read();
    let after = shown.epochs.partition_point(|(known, _)| *known <= epoch);
    let end = shown
        .epochs
        .get(after)
        .map_or(shown.high_watermark, |(_, start)| *start);
    let known = after.checked_sub(1).and_then(|i| shown.epochs.get(i));
    // Entries are added by an epoch's first batch: the current epoch is known without one.
    let epoch = match known {
        Some((known, _)) if epoch < current => *known,
        _ => epoch,
    };
    EpochEnd { epoch, end }
}
