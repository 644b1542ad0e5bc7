//! Reads frames beside the writer.
//!
//! # Consistency
//! A read sees the durable state of one moment and never passes the end it was given (J6). A segment may be
//! recycled while it is read: it has another number then, which is looked at afterwards. Every frame carries its address and
//! checksums besides, so what rot left there is refused, never returned.
//!
//! # Read amplification
//! Blocks hold frames of every shard that was written to at the time. Large frames are known by their own points of the
//! index, and only they are read, many together, up to the first of a read that is not: small ones are not, nor are those of
//! segments that were closed before the start. From there on, where most is of other extents and blocks are large, the heads
//! of the blocks are read first, then the extent's own frames; else reading on through all of it is cheapest.

mod gathered;
mod known;
mod runs;

use std::mem;

use tidemark_journal::{ExtentId, Frame, ReadFrames, ReplicaError};
use tidemark_types::Lsn;

use self::gathered::Gathered;
use self::known::Known;
use self::runs::{Runs, Wanted};
use crate::format::{EntryKind, Position};
use crate::view::{Durable, SegmentFile, View};
use crate::window::{Block, Window};

const CHUNK_BYTES_MIN: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Between blocks from this size on what is not wanted is left out; smaller ones cost less to read than to pass over.
const SPARSE_BLOCK_BYTES_MIN: u32 = 128 << 10;
/// From so many runs on they are read before the next block is looked at: as many as go to the disk together.
const RUNS_MAX: usize = 32;

/// Where to read: made under the lock, used without it.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    secret: u64,
    extent: ExtentId,
    from: Lsn,
    end: Lsn,
    bytes_max: usize,
    stops: Vec<Stop>,
}

/// One segment to read until an LSN: frames whose place is known, then from a block on.
#[derive(Debug)]
struct Stop {
    known: Vec<(Wanted, u64)>,
    /// The known ones are all that may be read.
    full: bool,
    /// The block from which the others are looked for.
    at: Position,
    segment: SegmentFile,
    end: Lsn,
    /// The extent's frames are at least half of what is there.
    dense: bool,
}

impl View {
    /// Finds where the frames lie.
    pub(crate) fn plan(&self, r: &ReadFrames) -> Result<ReadPlan, ReplicaError> {
        self.plan_in(&self.durable.read(), r)
    }

    /// The same under a lock that is already held.
    pub(crate) fn plan_in(
        &self,
        durable: &Durable,
        r: &ReadFrames,
    ) -> Result<ReadPlan, ReplicaError> {
        let extent = durable
            .state
            .extents
            .get(&r.extent)
            .ok_or(ReplicaError::NoSuchExtent(r.extent))?;
        // J6: neither the given end nor what is durable is passed. Breaks:
        // a_read_never_passes_its_end_and_starts_in_the_middle, a_read_stops_at_its_end_inside_a_block.
        let end = r.end.min(extent.readable_end());
        if let Some(limbo) = &extent.limbo
            && r.from >= limbo.from
            && r.from < r.end
        {
            return Err(damaged(r.extent, limbo.from, limbo.why.clone()));
        }
        if r.from < extent.first {
            let why = format!("the extent begins at lsn {}", extent.first);
            return Err(ReplicaError::BadFrame {
                extent: r.extent,
                why,
            });
        }
        let mut stops = Vec::new();
        let mut known = Known::from(r.from, r.bytes_max);
        let first = extent.pieces.partition_point(|p| p.end <= r.from);
        for piece in &extent.pieces[first..] {
            if piece.points[0].lsn >= end {
                break;
            }
            let after = piece.points.partition_point(|p| p.lsn <= r.from);
            let point = after.saturating_sub(1);
            let Some(segment) = durable.files.get(&piece.segment) else {
                let why = format!("segment {} is gone", piece.segment);
                return Err(damaged(r.extent, piece.points[point].lsn, why));
            };
            let end = piece.end.min(end);
            let found = known.take(piece, point, end);
            stops.push(Stop {
                known: found.frames,
                full: found.full,
                at: Position {
                    segment: piece.segment,
                    offset: found.block,
                },
                segment: segment.clone(),
                end,
                dense: piece.is_dense(),
            });
            if found.full {
                break;
            }
        }
        Ok(ReadPlan {
            secret: self.secret,
            extent: r.extent,
            from: r.from,
            end,
            bytes_max: r.bytes_max,
            stops,
        })
    }

    /// Reads frames; blocks on the disk.
    pub(crate) fn read(&self, r: &ReadFrames) -> Result<Vec<Frame>, ReplicaError> {
        self.run(&self.plan(r)?)
    }

    /// The same as planned before.
    pub(crate) fn run(&self, plan: &ReadPlan) -> Result<Vec<Frame>, ReplicaError> {
        let outcome = plan.run();
        let durable = self.durable.read();
        // Recycled meanwhile, others may have written there while it was read. Numbers are never reused.
        let is_gone = |stop: &Stop| !durable.files.contains_key(&stop.at.segment);
        let is_released = outcome.is_err() && !durable.state.extents.contains_key(&plan.extent);
        if is_released || plan.stops.iter().any(is_gone) {
            return Err(ReplicaError::NoSuchExtent(plan.extent));
        }
        outcome
    }
}

pub(crate) fn damaged(extent: ExtentId, from: Lsn, why: String) -> ReplicaError {
    ReplicaError::Damaged { extent, from, why }
}

impl ReadPlan {
    pub(crate) fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// Reads what was planned. Damage behind intact frames is left to the next read.
    pub(crate) fn run(&self) -> Result<Vec<Frame>, ReplicaError> {
        let mut out = Gathered::from(self.from);
        for stop in &self.stops {
            match self.segment(stop, &mut out) {
                Ok(true) => {}
                Err(error) if out.frames.is_empty() => return Err(error),
                Ok(false) | Err(_) => break,
            }
        }
        out.settle();
        Ok(out.frames)
    }

    /// Reads one segment's part. `false`: enough was read.
    fn segment(&self, stop: &Stop, out: &mut Gathered) -> Result<bool, ReplicaError> {
        let chunk = self.bytes_max.saturating_add(8192);
        let chunk = chunk.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let mut window = Window::new(&*stop.segment.file, chunk);
        self.known(stop, &mut window, out)?;
        if stop.full {
            return Ok(false);
        }
        window.expect(stop.dense);
        let mut pending = Runs::default();
        let mut at = stop.at;
        let mut small_before = true;
        while pending.next_lsn(out) < stop.end {
            let block = self.block(stop, &mut window, at, pending.next_lsn(out));
            let small = |b: &Block| b.header.block_bytes < SPARSE_BLOCK_BYTES_MIN;
            let small = block.as_ref().is_ok_and(small);
            let ahead = stop.dense || small && small_before;
            small_before = small;
            if ahead || block.is_err() {
                self.read_pending(stop, &mut window, &mut pending, out)?;
            }
            let block = block?;
            window.expect(ahead);
            let more = self.plan_block(stop, &block, &mut pending, out);
            if ahead || !matches!(more, Ok(true)) || pending.runs.len() >= RUNS_MAX {
                self.read_pending(stop, &mut window, &mut pending, out)?;
            }
            if !more? {
                return Ok(false);
            }
            at.offset += u64::from(block.header.block_bytes);
        }
        self.read_pending(stop, &mut window, &mut pending, out)?;
        Ok(true)
    }

    /// Reads the frames whose place is known.
    fn known(
        &self,
        stop: &Stop,
        window: &mut Window<'_>,
        out: &mut Gathered,
    ) -> Result<(), ReplicaError> {
        window.expect(false);
        let mut pending = Runs::default();
        for (wanted, offset) in &stop.known {
            pending.add(*wanted, *offset);
            if pending.runs.len() >= RUNS_MAX {
                self.read_pending(stop, window, &mut pending, out)?;
            }
        }
        self.read_pending(stop, window, &mut pending, out)
    }

    fn block(
        &self,
        stop: &Stop,
        window: &mut Window<'_>,
        at: Position,
        next: Lsn,
    ) -> Result<Block, ReplicaError> {
        let found = window.block(self.secret, at);
        found
            .map_err(|e| self.bad(stop, next, at.offset, 4096, &e))?
            .ok_or_else(|| self.bad(stop, next, at.offset, 4096, &"no intact block"))
    }

    /// Adds the frames of a block that are to be read. `false`: no more fit.
    fn plan_block(
        &self,
        stop: &Stop,
        block: &Block,
        pending: &mut Runs,
        out: &Gathered,
    ) -> Result<bool, ReplicaError> {
        for (entry, offset) in block.bodies() {
            let next = pending.next_lsn(out);
            let ours = entry.kind == EntryKind::Frame
                && entry.extent == self.extent
                && (next..self.end).contains(&entry.lsn);
            if !ours {
                continue;
            }
            let before = out.bytes + pending.frame_bytes;
            if before > 0 && entry.bytes as usize > self.bytes_max.saturating_sub(before) {
                return Ok(false);
            }
            if entry.lsn != next {
                let why = format!("lsn {} comes next", entry.lsn);
                return Err(self.bad(stop, next, offset, u64::from(entry.bytes), &why));
            }
            let wanted = Wanted {
                lsn: entry.lsn,
                bytes: entry.bytes,
                entry: Some(*entry),
            };
            pending.add(wanted, offset);
        }
        Ok(true)
    }

    /// Reads the pending runs, if any: out of the window while that reads ahead, else together.
    fn read_pending(
        &self,
        stop: &Stop,
        window: &mut Window<'_>,
        pending: &mut Runs,
        out: &mut Gathered,
    ) -> Result<(), ReplicaError> {
        let Runs { runs, .. } = mem::take(pending);
        let mut together = Vec::new();
        if runs.len() > 1 && !window.reads_ahead() {
            let ranges: Vec<_> = runs.iter().map(|run| (run.offset, run.bytes)).collect();
            // Where that fails they are read one by one: to say which, and for those before it.
            together = window.get_many(&ranges).unwrap_or_default();
        }
        let mut together = together.into_iter();
        for run in runs {
            let (bytes, (base, memory)) = if let Some(bytes) = together.next() {
                let held = (run.offset, bytes.len());
                (bytes, held)
            } else {
                let bytes = window.get(run.offset, run.bytes);
                let of = run.frames[0].0.bytes;
                let bytes =
                    bytes.map_err(|e| self.bad(stop, out.next, run.offset, u64::from(of), &e))?;
                (bytes, window.memory())
            };
            let from = Position {
                segment: stop.at.segment,
                offset: base,
            };
            for (wanted, skip) in &run.frames {
                let end = skip + wanted.bytes as usize;
                let body = bytes.slice((*skip).min(bytes.len())..end.min(bytes.len()));
                let frame = wanted.check(self.extent, &body).map_err(|e| {
                    let offset = run.offset + *skip as u64;
                    self.bad(stop, wanted.lsn, offset, u64::from(wanted.bytes), &e)
                })?;
                out.push(frame, from, memory);
            }
        }
        Ok(())
    }

    fn bad(
        &self,
        stop: &Stop,
        from: Lsn,
        offset: u64,
        bytes: u64,
        why: &dyn std::fmt::Display,
    ) -> ReplicaError {
        let (name, end) = (&stop.segment.name, offset + bytes);
        damaged(
            self.extent,
            from,
            format!("{name} bytes {offset}..{end}: {why}"),
        )
    }
}
