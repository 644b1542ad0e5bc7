//! Room for the next block: switching to the next segment, the reserve, and what may use it.

use crate::format::{
    BLOCK_ALIGN, BlockBuilder, BlockKind, Checkpoint, ENTRY_BYTES, Entry, EntryKind, HEADER_BYTES,
    LiveSegment, Position, aligned, encode_index,
};
use crate::prepare::Job;
use crate::request::Claim;
use crate::segments::{Closed, Slot, disown};
use crate::state::POINT_EVERY_BYTES;
use crate::view::SegmentFile;
use crate::wal::{Active, Trouble, Wal, write_block};

/// The index is sized exactly only this close to the segment's end, bytes.
const INDEX_NEAR_BYTES: u64 = 1 << 20;
/// Free segments kept beside the current one: the reserve and one that is ready for use.
const FREE_WANTED: usize = 2;

impl Wal {
    /// After recovery: marks what was found, and keeps a reserve.
    pub(crate) fn settle(&mut self) {
        self.idle();
        if !self.has_reserve() {
            tracing::warn!(
                "log node in {}: no room for a reserve segment; appends are refused until space is released",
                self.disk.folder()
            );
        }
        self.count_disk();
    }

    /// Makes sure a block of `bytes` can be written now, and a mark and the index behind it. `Ok(false)`: only in the next segment, and the group
    /// gathered so far must go first.
    pub(super) fn ensure_room(
        &mut self,
        bytes: u64,
        claim: Claim,
        may_switch: bool,
    ) -> Result<bool, Trouble> {
        self.take_back()?;
        let end = self.active.at.offset + bytes;
        let capacity = self.active.slot.bytes;
        if end + self.index_room(end) + BLOCK_ALIGN <= capacity {
            let allowed = match claim {
                Claim::Control => true,
                // The second half of the last segment is for fences.
                Claim::Takeover => {
                    let half = end <= capacity / 2;
                    self.may_hold(0, claim)
                        && (half
                            || self.has_reserve()
                            || self.may_hold(self.config.segment_bytes, claim))
                }
                Claim::Data => self.has_reserve(),
            };
            return if allowed {
                Ok(true)
            } else {
                Err(Trouble::Full)
            };
        }
        if !may_switch {
            return Ok(false);
        }
        self.switch(bytes, claim).map(|()| true)
    }

    /// Whether a free segment is there for fences and releases, making one if it can be.
    fn has_reserve(&mut self) -> bool {
        self.take_prepared();
        !self.pool.free.is_empty()
            || self
                .add_slot(self.config.segment_bytes, Claim::Data)
                .is_ok()
    }

    fn index_room(&self, end: u64) -> u64 {
        if end + INDEX_NEAR_BYTES <= self.active.slot.bytes {
            return 0;
        }
        let durable = self.view.durable.read();
        let pieces = durable.state.pieces_of(self.active.at.segment);
        // A group adds at most a piece and a point per extent that is live, and one for each frame that is large.
        let large = (end - self.active.at.offset) / POINT_EVERY_BYTES;
        let grown = durable.state.extents.len() * 48 + 16 * usize::try_from(large).unwrap_or(0);
        let bytes: usize = pieces.map(|(_, p)| 32 + 16 * p.points.len()).sum();
        aligned((HEADER_BYTES + ENTRY_BYTES + 4 + bytes + grown) as u64)
    }

    /// Closes the current segment and begins the next, with room for `bytes` after its checkpoint.
    pub(crate) fn switch(&mut self, bytes: u64, claim: Claim) -> Result<(), Trouble> {
        let checkpoint_bytes = self.first_block(0).bytes_with(0, 0);
        let slot = self.pick(
            aligned(checkpoint_bytes + bytes) + INDEX_NEAR_BYTES.min(self.config.segment_bytes / 8),
            claim,
        )?;
        let index_bytes = match self.close() {
            Ok(bytes) => bytes,
            Err(trouble) => {
                self.pool.free.push(slot);
                return Err(trouble);
            }
        };
        self.begin(slot, index_bytes)
    }

    /// Takes a free slot of at least `bytes`, growing or making one as the claim allows.
    fn pick(&mut self, bytes: u64, claim: Claim) -> Result<Slot, Trouble> {
        self.take_prepared();
        // A segment that a fence began beyond all bounds is for fences: were new owners to write there, every fence would make
        // room for another checkpoint, and so on.
        if claim == Claim::Takeover && !self.may_hold(0, claim) {
            return Err(Trouble::Full);
        }
        let needed = if claim == Claim::Data { 2 } else { 1 };
        while self.pool.free.len() < needed {
            if self.add_slot(self.config.segment_bytes, claim).is_err() {
                // What fences and takeovers find is the reserve; data needs one beside it.
                return Err(Trouble::Full);
            }
        }
        let fits = self.pool.free.iter().position(|slot| slot.bytes >= bytes);
        let mut slot = self.pool.free.swap_remove(fits.unwrap_or(0));
        if slot.bytes < bytes {
            let more = bytes - slot.bytes;
            let file = &slot.segment_file.file;
            if !self.may_hold(more, claim) || file.grow(bytes).is_err() {
                self.pool.free.push(slot);
                return Err(Trouble::Full);
            }
            slot.bytes = bytes;
        }
        Ok(slot)
    }

    /// Bytes of all segment files.
    pub(super) fn held_bytes(&self) -> u64 {
        self.pool.bytes() + self.active.slot.bytes
    }

    /// Whether the segment files may take so much more. A shard whose owner cannot write a checkpoint has none by which
    /// its older extents could go, so takeovers may pass the budget, by as much as the settings say; what keeps the log safe
    /// and what makes room is never refused.
    fn may_hold(&self, more: u64, claim: Claim) -> bool {
        let beyond = match claim {
            Claim::Data => 0,
            Claim::Takeover => self.config.takeover_bytes,
            Claim::Control => return true,
        };
        self.held_bytes() + more <= self.config.disk_bytes_max + beyond
    }

    /// Gives back what is held beyond the budget, but for one free segment: it is the reserve.
    /// Breaks: `what_takeovers_take_beyond_the_budget_is_given_back`.
    pub(super) fn trim(&mut self) -> Result<(), Trouble> {
        let mut removed = false;
        while self.held_bytes() > self.config.disk_bytes_max
            && self.pool.free.len() > 1
            && let Some(slot) = self.pool.free.pop()
        {
            if let Err(error) = self.disk.remove(&slot.segment_file.name) {
                tracing::warn!("remove {}: {error}", slot.segment_file.name);
                self.pool.free.push(slot);
                break;
            }
            removed = true;
        }
        if removed {
            let synced = self.disk.sync_dir();
            synced.map_err(Trouble::of_sync("remove a segment"))?;
        }
        Ok(())
    }

    /// Makes a free slot.
    pub(crate) fn add_slot(&mut self, bytes: u64, claim: Claim) -> Result<(), Trouble> {
        if !self.may_hold(bytes, claim) {
            return Err(Trouble::Full);
        }
        let name = self.pool.name_next();
        let made = crate::segments::prepare(&*self.disk, &name, bytes, self.view.secret);
        let slot = made.map_err(|error| {
            self.tell(&format_args!("make {name}: {error}"));
            Trouble::of(format_args!("make {name}"))(error)
        })?;
        self.told = false;
        self.pool.free.push(slot);
        Ok(())
    }

    /// Writes the current segment's index, if there is room. Gives its bytes, 0 without one.
    fn close(&mut self) -> Result<u64, Trouble> {
        let (index, room) = {
            let durable = self.view.durable.read();
            let pieces = durable.state.pieces_of(self.active.at.segment);
            let room = self.active.room();
            (encode_index(pieces), room)
        };
        let mut block = BlockBuilder::default();
        block.push(Entry::of_node(EntryKind::Index, &index), [&index.into()]);
        let bytes = block.bytes_with(0, 0);
        if bytes > room {
            return Ok(0);
        }
        match self.write(BlockKind::Index, &block) {
            Ok(_) => Ok(bytes),
            Err(Trouble::Full) => Ok(0),
            Err(failed) => Err(failed),
        }
    }

    /// The first block of the next segment, given the bytes of the current one's index.
    fn first_block(&self, index_bytes: u64) -> BlockBuilder {
        let durable = self.view.durable.read();
        let mut live: Vec<LiveSegment> = self.pool.closed.values().map(|c| c.live).collect();
        if durable
            .state
            .frames_in
            .contains_key(&self.active.at.segment)
        {
            live.push(self.closing(index_bytes));
        }
        let body = Checkpoint::encode(&durable.state, &live);
        let mut block = BlockBuilder::default();
        block.push(Entry::of_node(EntryKind::Checkpoint, &body), [&body.into()]);
        block
    }

    fn closing(&self, index_bytes: u64) -> LiveSegment {
        LiveSegment {
            segment: self.active.at.segment,
            index_at: self.active.at.offset - index_bytes,
            index_bytes,
        }
    }

    /// Takes back the first block of a segment that could not be begun: no later recovery may find it, since this writer goes
    /// on in the old segment. So nothing else is written before that is done, and as long as the disk has no room for it
    /// either, what needs room is refused.
    /// Breaks: `a_disk_that_is_full_at_any_write_refuses_and_goes_on`.
    pub(super) fn take_back(&mut self) -> Result<(), Trouble> {
        if let Some(slot) = self.pool.begun.take() {
            let SegmentFile { name, file } = &slot.segment_file;
            let taken = disown(&**file, self.view.secret);
            let taken = taken.map_err(Trouble::of(format_args!("take back {name}")));
            let synced = taken.and_then(|()| {
                let what = format_args!("sync {name}");
                file.sync().map_err(Trouble::of_sync(what))
            });
            if let Err(trouble) = synced {
                self.pool.begun = Some(slot);
                return Err(trouble);
            }
            self.pool.free.push(slot);
        }
        Ok(())
    }

    fn begin(&mut self, slot: Slot, index_bytes: u64) -> Result<(), Trouble> {
        let block = self.first_block(index_bytes);
        let segment = self.pool.next_segment;
        self.pool.next_segment += 1;
        let (offset, synced) = (0, self.active.at);
        let header = self.header(BlockKind::First, Position { segment, offset }, synced);
        let bytes = match write_block(&slot, header, &block, &self.counters) {
            Ok(bytes) => bytes,
            Err(Trouble::Full) => {
                self.pool.begun = Some(slot);
                self.take_back()?;
                return Err(Trouble::Full);
            }
            Err(failed) => return Err(failed),
        };
        self.sequence += 1;
        let live = self.closing(index_bytes);
        let at = Position {
            segment,
            offset: bytes,
        };
        let next = Active {
            slot,
            at,
            unmarked: false,
        };
        let closed = std::mem::replace(&mut self.active, next);
        let mut durable = self.view.durable.write();
        let file = self.active.slot.segment_file.clone();
        durable.files.insert(segment, file);
        let slot = closed.slot;
        self.pool.closed.insert(live.segment, Closed { slot, live });
        for number in self.pool.recycle(&durable.state.frames_in) {
            durable.files.remove(&number);
        }
        drop(durable);
        self.trim()
    }

    /// Has the next segment made ahead of need, beside the writer.
    pub(super) fn want_spare(&mut self) {
        self.take_prepared();
        let half = self.active.at.offset > self.active.slot.bytes / 2;
        let bytes = self.config.segment_bytes;
        let room = self.held_bytes() + bytes <= self.config.disk_bytes_max;
        if half && room && self.pool.free.len() < FREE_WANTED && self.preparer.is_free() {
            let job = Job {
                name: self.pool.name_next(),
                bytes,
                secret: self.view.secret,
            };
            self.preparer.start(job);
            self.take_prepared();
        }
    }

    fn take_prepared(&mut self) {
        match self.preparer.take() {
            None => {}
            Some(Ok(slot)) => self.pool.free.push(slot),
            Some(Err(error)) => tracing::warn!("prepare the next wal segment: {error}"),
        }
    }

    pub(super) fn count_disk(&self) {
        let live = self.pool.closed_bytes() + self.active.slot.bytes;
        self.counters.disk(live, self.held_bytes());
    }
}
