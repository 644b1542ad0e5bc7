//! Offsets by position, time and leader epoch.

use tidemark_records::{Batch, BatchError};
use tidemark_types::{LeaderEpoch, Offset};

use crate::again::{Again, PassError};
use crate::env::Env;
use crate::error::ReadError;
use crate::fetch::Isolation;
use crate::index::Index;
use crate::offsets::{EpochEnd, ListedOffset, OffsetSpec};
use crate::poll::prove;
use crate::read::{self, Way, clean_end, hot_start, locate_time, scan, with_index};
use crate::shard::{Readables, Shard};
use crate::tier;
use crate::view::{StoredBatch, View};
use tidemark_types::PartitionId;

/// Kafka's "no timestamp" and "no epoch".
const NONE: i64 = -1;
/// Batches that one lookup by time looks into. One is enough unless headers promise times that no record has.
const LOOKS_MAX: usize = 16;

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
        OffsetSpec::Earliest => {
            let offset = view.state.read().log_start;
            Ok(at(&view, offset, NONE, current))
        }
        OffsetSpec::EarliestLocal => {
            let readables = shard.readables();
            let reader = readables.reader.ok_or(ReadError::NotLeader(shard.id))?;
            let hot = hot_start((&reader, &env.cold.maps), &readables.extents, partition).await?;
            let offset = view.state.read().log_start.max(hot);
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
        OffsetSpec::LatestTiered => latest_tiered(env, shard, &view, current).await,
        OffsetSpec::MaxTimestamp => max_timestamp(env, shard, &view, current).await,
        OffsetSpec::Timestamp(ms) => by_time(env, shard, &view, ms, current).await,
    }
}

/// The last offset in the object store, if one that can be read is there.
async fn latest_tiered(
    env: &Env,
    shard: &Shard,
    view: &View,
    current: LeaderEpoch,
) -> Result<ListedOffset, ReadError> {
    let Some(tier) = &env.tier else {
        return Ok(ListedOffset::NONE);
    };
    let rows = shard.cold.rows();
    let deadline = env.clock.now() + tier::scan::PATIENCE;
    let end = tier::scan::end(&tier.objects, &rows, view.id);
    let end = tier::scan::by(deadline, end).await;
    let log_start = view.state.read().log_start;
    let end = end.map_err(|error| ReadError::from(PassError::from(error)))?;
    let last = end.filter(|end| *end > log_start);
    Ok(last.map_or(ListedOffset::NONE, |end| {
        at(view, Offset(end.0 - 1), NONE, current)
    }))
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
    let deadline = env.clock.now() + tier::scan::PATIENCE;
    let found = read::read(env, shard, view, base, (0, true), deadline).await?;
    let Some(batch) = found.into_iter().next() else {
        return Ok(ListedOffset::NONE);
    };
    let (offset, ms) = match record_at(env, &batch, ms, Offset(0)) {
        Ok(Some(found)) => found,
        // Compaction took it out: what is left there stands for it.
        Ok(None) => (batch.base, batch.max_timestamp),
        Err(error) => unreadable(view, &batch, &error),
    };
    Ok(at(view, offset, ms, current))
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
    let mut from = log_start;
    let mut last = None;
    for _ in 0..LOOKS_MAX {
        let Some(batch) = first_since(env, shard, view, from, ms).await? else {
            return Ok(ListedOffset::NONE);
        };
        match record_at(env, &batch, ms, log_start) {
            Ok(Some((offset, ms))) => return Ok(at(view, offset, ms, current)),
            // The record lies below the start of the log, or the header promises what no record keeps.
            Ok(None) => from = batch.end,
            Err(error) => {
                let (offset, ms) = unreadable(view, &batch, &error);
                return Ok(at(view, offset.max(log_start), ms, current));
            }
        }
        last = Some(batch);
    }
    Ok(last.map_or(ListedOffset::NONE, |batch| {
        at(
            view,
            batch.base.max(log_start),
            batch.max_timestamp,
            current,
        )
    }))
}

/// What stands for the records of a batch that does not decode: where it begins, and the time its header promises.
/// Nothing at or after that time is passed over, and whoever reads from there finds the same fault.
fn unreadable(view: &View, batch: &StoredBatch, error: &BatchError) -> (Offset, i64) {
    tracing::debug!(partition = %view.id, base = %batch.base, "look into batch: {error}");
    (batch.base, batch.max_timestamp)
}

/// The first batch that ends above `looked` and has a timestamp at or after `ms`.
async fn first_since(
    env: &Env,
    shard: &Shard,
    view: &View,
    mut looked: Offset,
    ms: i64,
) -> Result<Option<StoredBatch>, ReadError> {
    loop {
        let clean = clean_end(env, shard, view.id);
        let until = {
            let shown = view.state.read();
            let until = shown.tail_start().max(clean);
            if until <= looked {
                let mut tail = shown.tail_from(looked);
                return Ok(tail.find(|b| b.max_timestamp >= ms).cloned());
            }
            until
        };
        let found = stored_by_time(env, shard, view.id, (looked, until), ms).await?;
        if found.is_some() {
            return Ok(found);
        }
        // Batches may have left the tail meanwhile: they are in the journal now.
        looked = until;
    }
}

/// The first batch of `[from, until)` that has a timestamp at or after `ms`, out of cold segments and the journal.
async fn stored_by_time(
    env: &Env,
    shard: &Shard,
    partition: PartitionId,
    range: (Offset, Offset),
    ms: i64,
) -> Result<Option<StoredBatch>, ReadError> {
    let mut again = Again::default();
    loop {
        let readables = shard.readables();
        match pass_by_time(env, shard, &readables, partition, range, ms).await {
            Ok(found) => return Ok(found),
            Err(error) => again.consider(env, shard, &readables, error).await?,
        }
    }
}

async fn pass_by_time(
    env: &Env,
    shard: &Shard,
    readables: &Readables,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    ms: i64,
) -> Result<Option<StoredBatch>, PassError> {
    let Readables { reader, extents } = readables;
    let reader = reader.as_ref().ok_or(ReadError::NotLeader(shard.id))?;
    let known = (reader, &env.cold.maps);
    let deadline = env.clock.now() + tier::scan::PATIENCE;
    let hot = hot_start(known, extents, partition).await?;
    let hot = hot.max(clean_end(env, shard, partition));
    if let Some(tier) = env.tier.as_ref().filter(|_| from < hot.min(until)) {
        let (rows, range) = (shard.cold.rows(), (from, hot.min(until)));
        let found = tier::scan::by_time(&tier.objects, &rows, partition, range, ms);
        let found = tier::scan::by(deadline, found).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let from = from.max(hot);
    let first = locate_time(known, extents, partition, ms).await?;
    for extent in &extents[first..] {
        let mark = with_index(known, extent, |index: &Index| {
            index.seek_time(partition, from, ms)
        })
        .await?;
        let Some(mark) = mark.filter(|m| m.offset < until) else {
            continue;
        };
        let mut found = None;
        let start = mark.offset.max(from);
        let way = Way {
            hint: Some((extent.extent.id.index, mark.lsn)),
            deadline,
        };
        scan(env, shard, partition, (start, until), way, &mut |batch| {
            let hit = batch.max_timestamp >= ms;
            if hit {
                found = Some(batch);
            }
            !hit
        })
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
) -> Result<Option<(Offset, i64)>, BatchError> {
    let batch = Batch::parse_trusted(batch.joined())?;
    for record in batch.records(env.config.decompress_bytes_max)? {
        let record = record?;
        if record.timestamp >= ms && record.offset >= from {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// Where a leader epoch ends. The start of a later epoch is a fact that every owner knows; the end of the log, and that
/// an epoch is not there yet, are the owner's to say (K1).
pub(crate) async fn epoch_end(
    env: &Env,
    shard: &Shard,
    partition: PartitionId,
    epoch: LeaderEpoch,
    current: LeaderEpoch,
) -> Result<EpochEnd, ReadError> {
    if let (found, true) = known_end(shard, partition, epoch, current) {
        return Ok(found);
    }
    prove(env, shard).await?;
    Ok(known_end(shard, partition, epoch, current).0)
}

/// K6: the largest known epoch at or below the requested one, and where it ends; and whether that is known for ever.
fn known_end(
    shard: &Shard,
    partition: PartitionId,
    epoch: LeaderEpoch,
    current: LeaderEpoch,
) -> (EpochEnd, bool) {
    if epoch > current {
        let undefined = EpochEnd {
            epoch: LeaderEpoch(-1),
            end: Offset(-1),
        };
        return (undefined, false);
    }
    let Some(view) = shard.view(partition) else {
        let end = Offset(0);
        return (EpochEnd { epoch, end }, false);
    };
    let shown = view.state.read();
    let after = shown.epochs.partition_point(|(known, _)| *known <= epoch);
    let next = shown.epochs.get(after);
    let end = next.map_or(shown.high_watermark, |(_, start)| *start);
    let known = after.checked_sub(1).and_then(|i| shown.epochs.get(i));
    // Entries are added by an epoch's first batch: the current epoch is known without one.
    let epoch = match known {
        Some((known, _)) if epoch < current => *known,
        _ => epoch,
    };
    (EpochEnd { epoch, end }, next.is_some())
}
