//! A shard's committed state from the object store alone, for a shard whose log nodes' disks are gone.
//!
//! # Overview
//! The newest state object, and on top of it what the headers of the batches say that were tiered since: next offsets, leader
//! epochs, the largest timestamp, producers and their sequence numbers. Below a partition's own objects end these hold, above
//! them those of all partitions, as for every reader.
//!
//! Batches do not carry the idempotency keys of HTTP appends: those since the state object are forgotten. Nor do they say when
//! they were appended: their producers count as seen now, so none is forgotten early.
//!
//! The same completes a state that was replayed from a damaged extent whose lost frames had been tiered before.
//!
//! # Consistency
//! Only an operator's word leads here: some extent's row must say that its frames were given up (`serve --rebuild`,
//! `unclean-seal`). A state object that cannot be read is part of what an operator gives up or restores (`unclean-seal
//! --without-state`): without one, headers say what they can of all that is tiered. A shard whose retained extents hold no checkpoint although part of its log was tiered stays closed
//! otherwise, since a retained one always has (J1).
//!
//! # Crash consistency
//! Reads only. Whoever takes the shard over before the new extent's checkpoint is committed does the same again.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemark_lease::Taken;
use tidemark_meta::MetaError;
use tidemark_records::{BatchHeader, HEADER_BYTES, PREFIX_BYTES, TimestampType};
use tidemark_types::{DecodeError, ExtentIdx, Offset, PartitionId, ShardId, limits};

use super::Tier;
use super::objects::ObjectError;
use super::rows::{self, Located, Rows};
use super::state;
use super::stream::Stream;
use crate::env::Env;
use crate::head::{BatchEntry, ProducerStamp};
use crate::shard::Shard;
use crate::starts;
use crate::state::CommittedState;
use crate::view::StoredBatch;

/// Bytes of one GET of batches.
const WINDOW_BYTES: u64 = 2 << 20;

/// Why a state was not rebuilt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildError {
    /// Nobody gave the extents up.
    #[error(
        "shard {0} has no extent with a checkpoint, though part of its log is in the object store: give up what is lost with `serve --rebuild`"
    )]
    NotGivenUp(ShardId),
    /// Without the object store there is nothing to rebuild from.
    #[error("rebuild shard {0}: its log is in the object store, and cold.enabled is false")]
    NoObjectStore(ShardId),
    /// The rows cannot be read.
    #[error("rebuild: {0}")]
    Meta(#[from] MetaError),
    /// An object cannot be read.
    #[error("rebuild: {0}")]
    Object(#[from] ObjectError),
    /// The state object is gone or damaged.
    #[error(
        "rebuild: {0}: restore this state object from a copy, or go on without it with `unclean-seal --without-state`"
    )]
    State(ObjectError),
    /// A batch does not decode.
    #[error("rebuild: {0}")]
    Decode(#[from] DecodeError),
}

impl RebuildError {
    /// Waiting does not mend it.
    pub(crate) const fn is_damage(&self) -> bool {
        match self {
            Self::NotGivenUp(_) | Self::NoObjectStore(_) | Self::Decode(_) | Self::State(_) => true,
            Self::Object(error) => is_lost(error),
            Self::Meta(_) => false,
        }
    }
}

const fn is_lost(error: &ObjectError) -> bool {
    matches!(error, ObjectError::Gone(_) | ObjectError::Damaged { .. })
}

/// The state of a shard none of whose extents can be replayed: nothing, or what the object store holds.
pub(crate) async fn rebuild(
    env: &Env,
    shard: &Shard,
    taken: &Taken,
) -> Result<CommittedState, RebuildError> {
    let rows = match &env.tier {
        Some(_) => shard.cold.rows(),
        None => Arc::new(rows::load(env.meta.as_ref(), shard.id).await?),
    };
    if rows.is_empty() {
        return Ok(CommittedState::default());
    }
    if !taken.older.iter().any(|sealed| sealed.lost.is_some()) {
        return Err(RebuildError::NotGivenUp(shard.id));
    }
    let Some(tier) = &env.tier else {
        return Err(RebuildError::NoObjectStore(shard.id));
    };
    let state = match &rows.state {
        Some(row) => {
            let read = state::read(&tier.objects, row).await;
            read.map_err(|error| match is_lost(&error) {
                true => RebuildError::State(error),
                false => error.into(),
            })?
        }
        None => CommittedState::default(),
    };
    walk(env, shard, tier, &rows, state).await
}

/// The newest extent of which something was given up that the object store has: it and those before it are read there.
pub(crate) fn holed(env: &Env, shard: &Shard, taken: &Taken) -> Option<ExtentIdx> {
    env.tier.as_ref()?;
    let tiered = shard.cold.rows().tiered;
    let retained = taken.older.iter().chain(&taken.replay);
    let holed = retained.filter(|sealed| sealed.readable_end() < sealed.end.min(tiered));
    holed.map(|sealed| sealed.extent.id.index).next_back()
}

/// A state that was replayed without what was given up, with that of it which the object store has.
pub(crate) async fn complete(
    env: &Env,
    shard: &Shard,
    state: CommittedState,
) -> Result<CommittedState, RebuildError> {
    match &env.tier {
        Some(tier) => walk(env, shard, tier, &shard.cold.rows(), state).await,
        None => Ok(state),
    }
}

async fn walk(
    env: &Env,
    shard: &Shard,
    tier: &Tier,
    rows: &Rows,
    state: CommittedState,
) -> Result<CommittedState, RebuildError> {
    // Deleted topics' objects may still wait for their collection.
    let living = starts::partitions(env.meta.as_ref(), shard.id).await?;
    let mut walk = Walk {
        tier,
        now_ms: env.clock.wall_ms().max(state.appended_ms),
        living: living.into_iter().collect(),
        state,
        batches: 0,
    };
    walk.all(rows).await?;
    let saved = rows.state.map(|state| state.lsn.0);
    let (batches, partitions) = (walk.batches, walk.state.partitions.len());
    tracing::info!(shard = %shard.id, tiered = %rows.tiered, saved, batches, partitions, "rebuilt from the object store");
    Ok(walk.state)
}

struct Walk<'a> {
    tier: &'a Tier,
    now_ms: i64,
    living: BTreeSet<PartitionId>,
    state: CommittedState,
    /// Batches that the state object did not know.
    batches: u64,
}

impl Walk<'_> {
    async fn all(&mut self, rows: &Rows) -> Result<(), RebuildError> {
        for (partition, own) in rows.level1.iter() {
            if !self.living.contains(partition) {
                continue;
            }
            for row in own.iter() {
                if row.end <= self.next(*partition) {
                    continue;
                }
                if let Some(located) = row.located() {
                    self.object(located, &[*partition]).await?;
                }
                // Compaction may have left nothing at its end.
                self.reach(*partition, row.end);
            }
        }
        for segment in &rows.segments {
            let index = self.tier.objects.index(segment).await?;
            let new = index.partitions().filter(|part| {
                self.living.contains(&part.id()) && part.end() > self.next(part.id())
            });
            let new: Vec<PartitionId> = new.map(|part| part.id()).collect();
            self.object(segment.into(), &new).await?;
        }
        Ok(())
    }

    fn next(&self, partition: PartitionId) -> Offset {
        let known = self.state.partitions.get(&partition);
        known.map_or(Offset(0), |known| known.next_offset)
    }

    fn reach(&mut self, partition: PartitionId, end: Offset) {
        let state = self.state.partitions.entry(partition).or_default();
        state.next_offset = state.next_offset.max(end);
    }

    /// Applies what of some partitions is in an object and not in the state.
    async fn object(
        &mut self,
        located: Located,
        partitions: &[PartitionId],
    ) -> Result<(), RebuildError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let objects = &self.tier.objects;
        let mut stream = Stream::open(objects, located, WINDOW_BYTES).await?;
        for partition in partitions {
            let mut batches = stream.batches(*partition, self.next(*partition));
            while let Some(some) = batches.next(objects).await? {
                for batch in &some {
                    self.apply(*partition, batch)?;
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, partition: PartitionId, batch: &StoredBatch) -> Result<(), DecodeError> {
        let entry = entry(partition, batch)?;
        let state = self.state.partitions.entry(partition).or_default();
        // Compaction leaves gaps, and what lies below where a partition begins may be gone.
        state.next_offset = state.next_offset.max(entry.base_offset);
        state.apply(&entry, self.now_ms);
        state.producers.bound(limits::PRODUCERS_PER_PARTITION_MAX);
        self.batches += 1;
        Ok(())
    }
}

/// What a stored batch says of itself: all that its frame's head said, but for the idempotency key.
fn entry(partition: PartitionId, batch: &StoredBatch) -> Result<BatchEntry, DecodeError> {
    let mut head = [0; HEADER_BYTES];
    let rest = batch.rest.get(..HEADER_BYTES - PREFIX_BYTES);
    let rest = rest.filter(|_| batch.prefix.len() == PREFIX_BYTES);
    let Some(rest) = rest else {
        return Err(DecodeError::invalid(
            "cold batch",
            "is shorter than its header",
        ));
    };
    head[..PREFIX_BYTES].copy_from_slice(&batch.prefix);
    head[PREFIX_BYTES..].copy_from_slice(rest);
    let bad =
        |why: tidemark_records::BatchError| DecodeError::invalid("cold batch", why.to_string());
    let header = BatchHeader::parse(&head).map_err(bad)?;
    let producer = ProducerStamp {
        id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    };
    let log_time = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    Ok(BatchEntry {
        partition,
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        offsets: header.last_offset_delta.saturating_add(1),
        max_timestamp: header.max_timestamp,
        log_time,
        producer: (header.producer_id.is_some() && header.base_sequence >= 0).then_some(producer),
        key: None,
    })
}
