//! From nothing to SERVING: take, replay, checkpoint, mark. A restart is the same (DESIGN section 3).
//!
//! # Full disks
//! A disk may have no room for the checkpoint. What would make room, tiering and release, needs an owner, and so do readers; the
//! state is rebuilt, so the owner goes on as one whose extent takes no frames: it reads, tiers and releases, refuses appends,
//! and rolls until an extent takes its checkpoint. Until then the shard's row stays RECOVERING and nothing lies behind the
//! sealed end, so another takeover finds what this one found (J1: its extents are empty); and what is released is still older
//! than a committed checkpoint (J12).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::{FrameKind, ReadError as JournalReadError, Reader, Writer, WriterEnd};
use tidemark_lease::{OwnerError, SealedExtent, TakeError, Taken};
use tidemark_meta::MetaError;
use tidemark_runtime::{Backoff, FastMap};
use tidemark_types::{DecodeError, Lsn, Offset, PartitionId};

use super::build::Building;
use super::roll::{append_waiting, stuck_pauses};
use super::written::Written;
use super::{Owner, expire};
use crate::Mutation;
use crate::checkpoint::{self, Assembler};
use crate::env::Env;
use crate::head::Head;
use crate::index::{Index, ReadableExtent};
use crate::maps::What;
use crate::shard::{Readables, Shard};
use crate::state::CommittedState;
use crate::tier::rebuild::RebuildError;
use crate::view::View;
use crate::{starts, tier};

/// Bytes of one read of the replay.
const READ_BYTES: usize = 1 << 20;

/// Why a takeover did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeoverError {
    /// The lease was not had.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// A sealed extent could not be read.
    #[error("replay: {0}")]
    Read(#[from] JournalReadError),
    /// A frame does not decode: written by a newer version, or damaged beneath its CRC.
    #[error("replay: {0}")]
    Decode(#[from] DecodeError),
    /// The extents from the newest checkpoint on hold no complete checkpoint.
    #[error("replay: extent {0} has no complete checkpoint")]
    NoCheckpoint(tidemark_journal::ExtentId),
    /// The writer of the new extent ended before the checkpoint was committed.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// The rows that say where partitions begin could not be read.
    #[error("read where partitions begin: {0}")]
    LogStarts(MetaError),
    /// The rows of the cold segments could not be read.
    #[error("read the rows of cold segments: {0}")]
    ColdRows(MetaError),
    /// There was nothing to replay, and the state could not be had from the object store.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The owner's rows could not be written.
    #[error(transparent)]
    Mark(#[from] OwnerError),
}

/// A retry schedule that goes on for as long as the process does; its waits are bounded and jittered.
pub(super) const fn retry_forever() -> Backoff {
    Backoff::new(Duration::from_millis(20), Duration::from_secs(5), u32::MAX)
}

/// Takes a shard and brings it to SERVING.
pub(crate) async fn take_over(env: &Arc<Env>, shard: &Arc<Shard>) -> Result<Owner, TakeoverError> {
    let taken = env.leases.take(shard.id).await?;
    if env.tier.is_some() {
        // After T1: what earlier epochs committed is there, and nothing of theirs will follow.
        let rows = tier::rows::load(env.meta.as_ref(), shard.id).await;
        shard.cold.set(rows.map_err(TakeoverError::ColdRows)?);
    }
    let mut replayed = Replayed {
        lenient: env.config.breaks(Mutation::CheckpointWithoutEnd),
        ..Replayed::default()
    };
    for sealed in &taken.replay {
        replayed.extent(&taken.reader, sealed).await?;
    }
    let holed = tier::rebuild::holed(env, shard, &taken);
    let mut state = match replayed.state {
        Some(state)
            if taken
                .replay
                .iter()
                .any(|s| Some(s.extent.id.index) == holed) =>
        {
            tier::rebuild::complete(env, shard, state).await?
        }
        Some(state) => state,
        None => tier::rebuild::rebuild(env, shard, &taken).await?,
    };
    let starts = begin(env, &taken, &mut state).await;
    let starts = starts.map_err(TakeoverError::LogStarts)?;
    let older = taken
        .older
        .iter()
        .filter(|s| s.readable_end() > s.extent.first);
    let mut extents: Vec<_> = older
        .map(|s| {
            Arc::new(ReadableExtent::new(
                s.extent.clone(),
                s.readable_end(),
                None,
            ))
        })
        .collect();
    extents.extend(replayed.extents);
    // A reader would go from what is left of an extent to the next one.
    extents.retain(|e| Some(e.extent.id.index) > holed);
    let owner = checkpointed(env, shard, taken, (state, starts), extents).await?;
    env.counters.took_over();
    tracing::info!(shard = %shard.id, epoch = %owner.ownership.epoch, partitions = owner.state.partitions.len(), "serving");
    Ok(owner)
}

/// K3: where partitions begin, read before anything is served or written. After an unclean seal a partition may have
/// lost all that was known of it, so then every one of the shard is looked up.
async fn begin(
    env: &Env,
    taken: &Taken,
    state: &mut CommittedState,
) -> Result<Vec<(PartitionId, Offset)>, MetaError> {
    let store = env.meta.as_ref();
    let shard = taken.ownership.shard;
    let mut sealed = taken.older.iter().chain(&taken.replay);
    let ids = if sealed.any(|sealed| sealed.lost.is_some()) {
        starts::partitions(store, shard).await?
    } else {
        state.sorted().into_iter().map(|(id, _)| id).collect()
    };
    let mut starts = starts::of(store, &ids).await?;
    if env.config.breaks(Mutation::ForgottenStart) {
        starts.clear();
    }
    for (id, end, start) in state.begin_at(&starts) {
        tracing::warn!(%shard, partition = %id, "begin at offset {start}: the log ends at {end}, its end was lost");
    }
    Ok(starts)
}

async fn checkpointed(
    env: &Arc<Env>,
    shard: &Arc<Shard>,
    taken: Taken,
    (state, starts): (CommittedState, Vec<(PartitionId, Offset)>),
    mut extents: Vec<Arc<ReadableExtent>>,
) -> Result<Owner, TakeoverError> {
    let (end, stuck) = first_checkpoint(env, &taken, &state).await?;
    let Taken {
        ownership,
        writer,
        reader,
        ..
    } = taken;
    let open = ReadableExtent::new(writer.extent().clone(), end, Some(Index::default()));
    let open = Arc::new(open);
    for replayed in &extents {
        if replayed.index.read().is_some() {
            env.cold.maps.keep(replayed, What::Index);
        }
    }
    extents.push(Arc::clone(&open));
    shard.set_readables(Readables {
        reader: Some(reader),
        extents,
    });
    let views: Vec<Arc<View>> = state
        .sorted()
        .into_iter()
        .map(|(id, p)| Arc::new(View::new(id, p)))
        .collect();
    let views: FastMap<_, _> = views.into_iter().map(|view| (view.id, view)).collect();
    for (id, start) in starts {
        if let Some(view) = views.get(&id) {
            view.raise_log_start(start);
        }
    }
    *shard.views.write() = views;
    let now = env.clock.now();
    let mut committed = writer.committed();
    committed.mark_changed();
    let owner = Owner {
        held: env.leases.watch_ownership(&ownership),
        committed,
        checkpoint_bytes: writer.bytes(),
        data_bytes: 0,
        last_ms: state.appended_ms,
        env: Arc::clone(env),
        shard: Arc::clone(shard),
        ownership,
        writer,
        written: Written::since_now(env, &open.extent),
        open,
        opened_at: now,
        checkpoint_end: None,
        marking: None,
        rolling: None,
        roll_not_before: now,
        is_marked: stuck.is_none(),
        stuck,
        stuck_pauses: stuck_pauses(),
        expire_at: now + expire::PERIOD,
        state,
        flights: FastMap::default(),
        building: Building::default(),
        pending: VecDeque::new(),
        next_ticket: 1,
        forgotten: super::Forgotten::default(),
    };
    shard.serve(ownership);
    shard.cold.sealed.notify_one();
    shard.cold.released.notify_one();
    Ok(owner)
}

/// Where the open extent's checkpoint ends; on full disks where it broke off, and why the extent takes no more.
async fn first_checkpoint(
    env: &Env,
    taken: &Taken,
    state: &CommittedState,
) -> Result<(Lsn, Option<String>), TakeoverError> {
    let (ownership, writer) = (&taken.ownership, &taken.writer);
    let part_bytes = env.config.checkpoint_part_bytes;
    match write_checkpoint(writer, state, part_bytes).await {
        Ok(end) => {
            let index = writer.extent().id.index;
            env.leases.mark_checkpoint(ownership, index).await?;
            env.leases.mark_serving(ownership).await?;
            Ok((end, None))
        }
        Err(why @ WriterEnd::Full { .. }) => {
            tracing::warn!(shard = %ownership.shard, "serve without a checkpoint: {why}");
            // J12: the one replayed from is complete, and its owner may have died before it could say so. Without that nothing
            // before it is given up, and the disk stays full.
            if let Some(sealed) = taken.replay.first() {
                let index = sealed.extent.id.index;
                env.leases.mark_checkpoint(ownership, index).await?;
            }
            Ok((writer.committed().borrow().end, Some(why.to_string())))
        }
        Err(why) => Err(TakeoverError::Checkpoint(why.to_string())),
    }
}

async fn write_checkpoint(
    writer: &Writer,
    state: &CommittedState,
    part_bytes: usize,
) -> Result<Lsn, WriterEnd> {
    let mut end = writer.extent().first;
    for body in checkpoint::frames(state, part_bytes) {
        end = append_waiting(writer, body).await?.next();
    }
    writer.wait_committed(end).await?;
    Ok(end)
}

/// What a replay has come to.
#[derive(Default)]
struct Replayed {
    state: Option<CommittedState>,
    extents: Vec<Arc<ReadableExtent>>,
    /// J12 broken: a checkpoint needs no end.
    lenient: bool,
}

impl Replayed {
    /// Applies every frame of an extent, unconditionally, to its end (K4). The first extent starts with the checkpoint; those
    /// after it hold at most pieces of one, which are passed over (J1).
    async fn extent(
        &mut self,
        reader: &Reader,
        sealed: &SealedExtent,
    ) -> Result<(), TakeoverError> {
        let end = sealed.readable_end();
        let mut assembler = self.state.is_none().then(Assembler::new);
        let mut index = Index::default();
        let mut has_data = false;
        let mut next = sealed.extent.first;
        while next < end {
            for frame in reader.read(&sealed.extent, next, end, READ_BYTES).await? {
                next = frame.lsn.next();
                match (frame.body.kind, &mut self.state) {
                    (FrameKind::Checkpoint, _) => {
                        if let Some(assembler) = &mut assembler {
                            assembler.part(&frame.body.head)?;
                        }
                    }
                    (FrameKind::CheckpointEnd, _) => {
                        if let Some(assembler) = assembler.take() {
                            self.state = Some(assembler.end(&frame.body.head)?);
                        }
                    }
                    (FrameKind::Data, Some(state)) => {
                        let head = Head::decode(&frame.body.head)?;
                        state.apply(&head);
                        let sizes = frame.body.parts.iter().map(|p| p.bytes.len());
                        index.note(frame.lsn, &head, sizes);
                        has_data = true;
                    }
                    (FrameKind::Data, None) => {
                        return Err(TakeoverError::NoCheckpoint(sealed.extent.id));
                    }
                }
            }
        }
        if self.lenient && self.state.is_none() {
            self.state = assembler.map(Assembler::unfinished);
        }
        if self.state.is_none() {
            return Err(TakeoverError::NoCheckpoint(sealed.extent.id));
        }
        if self.extents.is_empty() || has_data {
            let readable = ReadableExtent::new(sealed.extent.clone(), end, Some(index));
            self.extents.push(Arc::new(readable));
        }
        Ok(())
    }
}
