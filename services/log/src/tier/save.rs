//! Saves a shard's committed state into the object store, so that it outlives the log nodes' disks.
//!
//! # Overview
//! Two moments have the state at hand without stopping anybody: an extent's checkpoint is the state at its first LSN, so it is
//! copied once everything below that LSN is tiered; and an owner that stops has sealed its extent, tiers it, and saves its
//! own state at that end. So at most one object is put per extent and per stop, and only when batches were tiered since the last.
//!
//! # Consistency
//! The row is written under the lease (J9), never above `tiered_lsn`: state and cold segments together are the log up
//! to there, which is what a rebuild reads.
//!
//! # Crash consistency
//! As with every object: intent, put, commit. A crash before the commit leaves the older state, from which a rebuild has
//! more batches to read, and an orphan; a crash after it leaves nothing to do. The object that was replaced waits in `gc`.

use std::sync::Arc;

use tidemark_journal::{Extent, ExtentId, FrameBody, FrameKind, ReadError, Reader};
use tidemark_meta::keys::state::StateRow;
use tidemark_types::{Lsn, limits};

use super::commit::name_state;
use super::counters::{add, count};
use super::job::{Job, RoundError};
use super::retain::not_before;
use super::state::{Header, encode};
use super::worker::{reload, step};
use crate::checkpoint;
use crate::index::ReadableExtent;
use crate::state::CommittedState;

/// Bytes of one read from the journal.
const READ_BYTES: usize = 4 << 20;

/// Saves the state at the beginning of the newest extent before which all is tiered, if batches were tiered since the last.
pub(super) async fn due(job: Job<'_>) -> Result<(), RoundError> {
    let shard = job.shard;
    let rows = shard.cold.rows();
    if !rows.state_is_old() || shard.views.read().is_empty() {
        return Ok(());
    }
    let readables = shard.readables();
    let Some(reader) = readables.reader else {
        return Ok(());
    };
    let saved = rows.state.map(|state| state.lsn);
    let tiered = |e: &&Arc<ReadableExtent>| e.extent.first <= rows.tiered;
    let newest = readables.extents.iter().rev().find(tiered);
    let Some(extent) = newest.filter(|e| saved < Some(e.extent.first)) else {
        return Ok(());
    };
    let _turn = job.tier.gathering.acquire().await;
    match checkpoint_of(&reader, extent).await? {
        Some(frames) => save(job, extent.extent.first, &frames).await,
        // Not committed yet, or never: a later look finds more, or a later extent.
        None => Ok(()),
    }
}

/// An extent's checkpoint, when all of it is committed.
async fn checkpoint_of(
    reader: &Reader,
    extent: &ReadableExtent,
) -> Result<Option<Vec<FrameBody>>, ReadError> {
    let mut found = Vec::new();
    let mut lsn = extent.extent.first;
    while lsn < extent.end() {
        let read = reader.read(&extent.extent, lsn, extent.end(), READ_BYTES);
        for frame in read.await? {
            lsn = frame.lsn.next();
            let kind = frame.body.kind;
            if kind == FrameKind::Data {
                return Ok(None);
            }
            found.push(frame.body);
            if kind == FrameKind::CheckpointEnd {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

async fn save(job: Job<'_>, lsn: Lsn, checkpoint: &[FrameBody]) -> Result<(), RoundError> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let object = job.new_object();
    let chunks = encode(Header { object, lsn }, checkpoint);
    let bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
    job.put_or_give_up(object, &chunks).await?;
    let row = StateRow { object, lsn, bytes };
    let later = not_before(env, tier);
    job.until_known(&tier.counters.failures, || {
        name_state(env, ownership, row, later)
    })
    .await?;
    count(&tier.counters.states);
    add(&tier.counters.state_bytes, bytes);
    shard.cold.saved(row);
    Ok(())
}

/// For an owner that stops, with its open extent sealed at `end`: tiers what is left and saves the state, which is the one at
/// `end`. Gives up at the first failure: the log nodes have it all.
pub(crate) async fn leave(
    job: Job<'_>,
    end: Lsn,
    state: &CommittedState,
) -> Result<(), RoundError> {
    let Job { env, shard, .. } = job;
    // The tierer stopped wherever it was: what it committed is in the store, if not in memory.
    let _alone = shard.cold.moving.lock().await;
    reload(env, shard).await;
    let readables = shard.readables();
    let (Some(reader), Some(last)) = (readables.reader, readables.extents.last()) else {
        return Ok(());
    };
    let mut extents = readables.extents.clone();
    extents.push(Arc::new(behind(&last.extent, end)));
    while step(job, &reader, &extents).await? {}
    let rows = shard.cold.rows();
    let nothing = state.partitions.is_empty() && rows.state.is_none();
    if !rows.state_is_old() || nothing || rows.state.is_some_and(|state| state.lsn >= end) {
        return Ok(());
    }
    let frames = checkpoint::encode(state, limits::FRAME_PAYLOAD_BYTES_TARGET);
    save(job, end, &frames).await
}

/// Stands for the extent that would follow: nothing is read of it.
fn behind(last: &Extent, end: Lsn) -> ReadableExtent {
    let extent = Extent {
        id: ExtentId {
            index: last.id.index.next(),
            ..last.id
        },
        first: end,
        replicas: last.replicas.clone(),
    };
    ReadableExtent::new(extent, end, None)
}
