//! The writer: a synchronous state machine over a [`Disk`]. Its drivers are thin.
//!
//! # Overview
//! A group is one block at the end of the current segment: one write, one sync, then its entries become the
//! durable state and its answers leave. A block never spans segments; what does not fit starts the next one.
//!
//! # Crash consistency
//! The next block is written only after the last was synced, so a block's own position is its mark (J5), and
//! at most the very last block of the WAL can be torn. A segment is closed by its index, synced, before the
//! next one's first block is written.
//!
//! # Failure
//! A full disk refuses what needs room and goes on. Any other failed write, and every failed sync, poisons the
//! node: nothing is retried, since the pages' state is unknown.

mod room;

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use tidemark_journal::{ExtentId, ReadFrames, ReplicaError};
use tidemark_types::Lsn;

use crate::config::LogNodeConfig;
use crate::disk::Disk;
use crate::format::{
    BLOCK_ALIGN, BlockBuilder, BlockHeader, BlockKind, EntryKind, Position, bodies,
};
use crate::plan::{Plan, Verdict};
use crate::prepare::Preparer;
use crate::request::{Held, Request};
use crate::segments::{Pool, Slot};
use crate::stats::Counters;
use crate::suspect;
use crate::view::View;

/// The current segment.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) slot: Slot,
    /// Where the next block goes. Everything before it is synced.
    pub(crate) at: Position,
    /// The last block is a group's: an idle WAL marks it (J5).
    pub(crate) unmarked: bool,
}

impl Active {
    /// Bytes left in the segment.
    pub(crate) fn room(&self) -> u64 {
        self.slot.bytes.saturating_sub(self.at.offset)
    }
}

/// Why a step did not happen.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// No room: nothing changed.
    Full,
    /// The disk failed.
    Failed(String),
}

impl Trouble {
    pub(crate) fn of(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |e| match e.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Failed(format!("{what}: {e}")),
        }
    }

    /// A failed sync is never a full disk: what was written is in doubt.
    fn of_sync(what: impl Display) -> impl FnOnce(io::Error) -> Self {
        move |e| Self::Failed(format!("{what}: {e}"))
    }
}

/// The writer's core.
#[derive(Debug)]
pub(crate) struct Wal {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) config: LogNodeConfig,
    pub(crate) view: Arc<View>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) pool: Pool,
    pub(crate) active: Active,
    /// Of the last block written.
    pub(crate) sequence: u64,
    pub(crate) preparer: Preparer,
    /// The disk was full when the newest mark was to be written.
    pub(crate) mark_refused: bool,
    /// That the disk has no room was said.
    pub(crate) told: bool,
}

impl Wal {
    /// Serves queued requests in order and empties the queue.
    pub(crate) fn serve(&mut self, queue: &mut VecDeque<Request>) {
        while !queue.is_empty() {
            if let Some(why) = self.poisoned() {
                for request in queue.drain(..) {
                    request.refuse(ReplicaError::Poisoned(why.clone()));
                }
            } else if let Err(trouble) = self.group(queue) {
                self.poison(trouble);
            }
        }
    }

    /// Writes the trailing mark of an idle WAL (J5): the last block becomes provably synced.
    /// Breaks: `a_frame_that_rotted_below_the_mark_is_limbo_and_names_its_bytes`.
    pub(crate) fn idle(&mut self) {
        let room = self.active.room() >= BLOCK_ALIGN;
        if !self.active.unmarked || !room || self.poisoned().is_some() {
            self.active.unmarked = false;
            return;
        }
        match self.write(BlockKind::Mark, &BlockBuilder::default()) {
            Ok(_) => self.active.unmarked = false,
            // The last block stays in doubt until room comes back: asked again, without haste.
            // Breaks: `a_mark_that_a_full_disk_refused_is_written_when_room_comes_back`.
            Err(Trouble::Full) => self.mark_refused = true,
            Err(trouble) => self.poison(trouble),
        }
    }

    pub(crate) fn poisoned(&self) -> Option<String> {
        self.view.durable.read().poison.clone()
    }

    /// J5: the disk is in doubt at once and stays so until the process restarts.
    /// Breaks: `a_failed_sync_poisons_at_once_and_is_never_retried`.
    fn poison(&self, trouble: Trouble) {
        let why = match trouble {
            Trouble::Failed(why) => why,
            Trouble::Full => "write: the disk is full".to_owned(),
        };
        tracing::error!("log node in {} is poisoned: {why}", self.disk.folder());
        let marker = why.clone();
        self.view.durable.write().poison.get_or_insert(why);
        suspect::leave(&*self.disk, &marker);
    }

    /// Commits one group off the queue's front. `Err` poisons.
    fn group(&mut self, queue: &mut VecDeque<Request>) -> Result<(), Trouble> {
        let mut plan = Plan::default();
        let mut held = Vec::new();
        while let Some(request) = queue.front() {
            let (entries, body_bytes) = request.size();
            let bytes = plan.block.bytes_with(entries, body_bytes);
            let over = bytes > self.config.group_bytes_max as u64;
            if over && !plan.block.is_empty() {
                break;
            }
            match self.ensure_room(bytes, request.claim(), plan.block.is_empty()) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Trouble::Full) => {
                    let request = queue.pop_front().expect("it is the front");
                    held.push(self.full(&plan, request));
                    continue;
                }
                Err(failed) => {
                    refuse_all(held, &failed);
                    return Err(failed);
                }
            }
            let request = queue.pop_front().expect("it is the front");
            match self.decide(&mut plan, request) {
                Ok(answer) => held.push(answer),
                Err(request) => {
                    queue.push_front(request);
                    break;
                }
            }
        }
        self.commit(&plan, held)
    }

    /// Asks the plan; gives the request back when the group must be committed first.
    fn decide(&self, plan: &mut Plan, request: Request) -> Result<Held, Request> {
        let durable = self.view.durable.read();
        let state = &durable.state;
        Ok(match request {
            Request::Open(r, reply) => Held::Open(r.extent, plan.open(state, &r), reply),
            Request::Release(r, reply) => Held::Open(r.extent, plan.release(state, &r), reply),
            Request::Fence(r, reply) => Held::Fence(r.extent, plan.fence(state, &r), reply),
            Request::Append(r, reply) => {
                let stored = |extent, lsn| self.stored_crc(&durable, extent, lsn);
                match plan.append(state, &r, &stored) {
                    Verdict::Answer(answer) => Held::Append(r.extent, answer, reply),
                    Verdict::Flush => return Err(Request::Append(r, reply)),
                }
            }
        })
    }

    /// The refusal of a request that has no room: its fence comes first.
    fn full(&self, plan: &Plan, request: Request) -> Held {
        let (extent, epoch) = (request.extent(), request.epoch());
        let durable = self.view.durable.read();
        let authority = plan.authorize(&durable.state, request.verb(), extent, epoch);
        let error = authority.err().unwrap_or(ReplicaError::Full(extent));
        match request {
            Request::Open(_, reply) | Request::Release(_, reply) => {
                Held::Open(extent, Err(error), reply)
            }
            Request::Append(_, reply) => Held::Append(extent, Err(error), reply),
            Request::Fence(_, reply) => Held::Fence(extent, Err(error), reply),
        }
    }

    /// Says that the disk itself has no room, or makes none, once until it has.
    pub(crate) fn tell(&mut self, why: &dyn Display) {
        if !std::mem::replace(&mut self.told, true) {
            let folder = self.disk.folder();
            tracing::warn!(
                "log node in {folder}: {why}; appends are refused until there is room: free some on this disk"
            );
        }
    }

    fn stored_crc(
        &self,
        durable: &crate::view::Durable,
        extent: ExtentId,
        from: Lsn,
    ) -> Result<Option<u32>, ReplicaError> {
        let end = from.next();
        if durable
            .state
            .extents
            .get(&extent)
            .is_none_or(|e| end > e.end)
        {
            return Ok(None);
        }
        let request = ReadFrames {
            extent,
            from,
            end,
            bytes_max: 0,
        };
        let frames = self.view.plan_in(durable, &request)?.run()?;
        Ok(frames.first().map(|f| f.crc))
    }

    /// Makes a group durable, then visible, then answered.
    fn commit(&mut self, plan: &Plan, held: Vec<Held>) -> Result<(), Trouble> {
        if plan.block.is_empty() {
            held.into_iter().for_each(Held::answer);
            return Ok(());
        }
        let at = match self.write(BlockKind::Group, &plan.block) {
            Ok(at) => at,
            Err(Trouble::Full) => {
                // A thin-provisioned disk filled up under a reserved file. The plan is dropped; the next
                // group overwrites what got through.
                self.tell(&"write a group: no space");
                for held in held {
                    held.refuse_full();
                }
                return Ok(());
            }
            Err(failed) => {
                refuse_all(held, &failed);
                return Err(failed);
            }
        };
        self.active.unmarked = true;
        self.counters.group();
        let mut durable = self.view.durable.write();
        let mut released = false;
        for (entry, body) in bodies(plan.block.entries(), at.offset) {
            durable.state.apply(entry, at, body);
            released |= entry.kind == EntryKind::Release;
        }
        if released {
            for number in self.pool.recycle(&durable.state.frames_in) {
                durable.files.remove(&number);
            }
        }
        drop(durable);
        let trimmed = if released { self.trim() } else { Ok(()) };
        self.count_disk();
        // The newest first: who waits for the oldest then finds all of them at once, and is woken once.
        held.into_iter().rev().for_each(Held::answer);
        self.want_spare();
        trimmed
    }

    /// Writes a block at the end of the current segment, syncs it, and gives its position.
    pub(crate) fn write(
        &mut self,
        kind: BlockKind,
        block: &BlockBuilder,
    ) -> Result<Position, Trouble> {
        self.take_back()?;
        let at = self.active.at;
        let slot = &mut self.active.slot;
        let ahead = slot.write_ahead(at.offset, block.bytes_with(0, 0));
        let name = &slot.segment_file.name;
        match ahead.map_err(Trouble::of(format_args!("write {name}"))) {
            // The block itself may find room.
            Ok(()) | Err(Trouble::Full) => {}
            Err(failed) => return Err(failed),
        }
        let bytes = write_block(
            &self.active.slot,
            self.header(kind, at, at),
            block,
            &self.counters,
        )?;
        self.sequence += 1;
        self.mark_refused = false;
        let Active { slot, at: next, .. } = &mut self.active;
        next.offset += bytes;
        slot.written = slot.written.max(next.offset);
        Ok(at)
    }

    pub(crate) fn header(&self, kind: BlockKind, at: Position, synced: Position) -> BlockHeader {
        BlockHeader {
            kind,
            secret: self.view.secret,
            at,
            sequence: self.sequence + 1,
            synced,
            block_bytes: 0,
            body_bytes: 0,
            entries: 0,
            table_crc: 0,
        }
    }
}

/// One write and one sync.
pub(crate) fn write_block(
    slot: &Slot,
    header: BlockHeader,
    block: &BlockBuilder,
    counters: &Counters,
) -> Result<u64, Trouble> {
    let (name, file) = (&slot.segment_file.name, &slot.segment_file.file);
    let bytes = block
        .write(&**file, header)
        .map_err(Trouble::of(format_args!("write {name}")))?;
    file.sync()
        .map_err(Trouble::of_sync(format_args!("sync {name}")))?;
    counters.wrote(bytes);
    Ok(bytes)
}

fn refuse_all(held: Vec<Held>, trouble: &Trouble) {
    let why = match trouble {
        Trouble::Failed(why) => why.as_str(),
        Trouble::Full => "write: the disk is full",
    };
    for held in held {
        held.refuse(ReplicaError::Poisoned(why.to_owned()));
    }
}
