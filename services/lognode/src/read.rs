//! Reads frames beside the writer.
//!
//! # Consistency
//! A read sees the durable state of one moment and never passes the end it was given (J6). A segment may be
//! recycled while it is read: every block names its segment and every frame its address, so what another life
//! of the file left there is refused, never returned.
//!
//! # Read amplification
//! Blocks hold frames of every shard that was written to at the time. Where most is of other extents and blocks are large,
//! only their heads and the extent's own frames are read, those of many blocks together; else reading on through all of it
//! is cheapest.

use std::mem;

use tidemark_direct::ALIGN;
use tidemark_journal::{ExtentId, Frame, ReadFrames, ReplicaError, read_memory_bytes_max};
use tidemark_types::Lsn;

use crate::format::{Entry, EntryKind, Position};
use crate::view::{Durable, SegmentFile, View};
use crate::window::{Block, Window, frame};

const CHUNK_BYTES_MIN: usize = 64 << 10;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Between blocks from this size on what is not wanted is left out; smaller ones cost less to read than to pass over.
const SPARSE_BLOCK_BYTES_MIN: u32 = 128 << 10;
/// From so many runs on they are read before the next block is looked at: as many as go to the disk together.
const RUNS_MAX: usize = 32;
/// What lies between two frames is read with them up to here: a page, which the disk reads anyway.
const RUN_GAP_BYTES_MAX: usize = ALIGN;
/// What aligning a read's memory may take beside it, bytes: a part of a page at either end, and one for where it begins.
const READ_SLACK_BYTES: usize = 3 * ALIGN;

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

/// One segment to read from a block on, until an LSN.
#[derive(Debug)]
struct Stop {
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
        let first = extent.pieces.partition_point(|p| p.end <= r.from);
        for piece in &extent.pieces[first..] {
            if piece.points[0].lsn >= end {
                break;
            }
            let after = piece.points.partition_point(|p| p.lsn <= r.from);
            let point = piece.points[after.saturating_sub(1)];
            let Some(segment) = durable.files.get(&piece.segment) else {
                let why = format!("segment {} is gone", piece.segment);
                return Err(damaged(r.extent, point.lsn, why));
            };
            stops.push(Stop {
                at: Position {
                    segment: piece.segment,
                    offset: point.offset,
                },
                segment: segment.clone(),
                end: piece.end.min(end),
                dense: piece.is_dense(),
            });
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
        let outcome = self.plan(r).and_then(|plan| plan.run());
        if outcome.is_err() && !self.durable.read().state.extents.contains_key(&r.extent) {
            return Err(ReplicaError::NoSuchExtent(r.extent));
        }
        outcome
    }
}

pub(crate) fn damaged(extent: ExtentId, from: Lsn, why: String) -> ReplicaError {
    ReplicaError::Damaged { extent, from, why }
}

/// Frames gathered so far.
struct Gathered {
    frames: Vec<Frame>,
    bytes: usize,
    next: Lsn,
    buffer: Buffer,
}

/// The memory of the newest frames.
#[derive(Clone, Copy)]
struct Buffer {
    /// Which stretch of which segment was read into it; two in a row are never the same.
    at: Option<Position>,
    bytes: usize,
    /// Its first frame, and the bytes of its frames.
    first: usize,
    used: usize,
}

impl Gathered {
    /// Takes a frame out of the memory read at `at`.
    fn push(&mut self, frame: Frame, at: Position, memory: usize) {
        if self.buffer.at != Some(at) {
            self.settle();
            self.buffer = Buffer {
                at: Some(at),
                bytes: memory + READ_SLACK_BYTES,
                first: self.frames.len(),
                used: 0,
            };
        }
        let bytes = frame.encoded_len();
        self.next = frame.lsn.next();
        self.bytes += bytes;
        self.buffer.used += bytes;
        self.frames.push(frame);
    }

    /// Gives memory free that is mostly not frames of this read: other shards' lie between them.
    fn settle(&mut self) {
        let Buffer {
            bytes, first, used, ..
        } = self.buffer;
        if bytes > read_memory_bytes_max(used) {
            for frame in &mut self.frames[first..] {
                *frame = frame.copied();
            }
        }
    }
}

impl ReadPlan {
    pub(crate) fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// Reads what was planned. Damage behind intact frames is left to the next read.
    pub(crate) fn run(&self) -> Result<Vec<Frame>, ReplicaError> {
        let mut out = Gathered {
            frames: Vec::new(),
            bytes: 0,
            next: self.from,
            buffer: Buffer {
                at: None,
                bytes: 0,
                first: 0,
                used: 0,
            },
        };
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
        window.expect(stop.dense);
        let mut at = stop.at;
        let mut pending = Runs::default();
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
            pending.add(*entry, offset);
        }
        Ok(true)
    }

    /// Reads the pending runs: out of the window while that reads ahead, else together.
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
            for (entry, skip) in &run.frames {
                let end = skip + entry.bytes as usize;
                let body = bytes.slice((*skip).min(bytes.len())..end.min(bytes.len()));
                let frame = frame(entry, &body).map_err(|e| {
                    let offset = run.offset + *skip as u64;
                    self.bad(stop, entry.lsn, offset, u64::from(entry.bytes), &e)
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

/// Frames that are read next.
#[derive(Debug, Default)]
struct Runs {
    runs: Vec<Run>,
    frame_bytes: usize,
    /// What follows on the last of them.
    next: Option<Lsn>,
}

/// Frames with little between them.
#[derive(Debug)]
struct Run {
    offset: u64,
    bytes: usize,
    /// Each with where its body begins in the run.
    frames: Vec<(Entry, usize)>,
}

impl Runs {
    fn next_lsn(&self, out: &Gathered) -> Lsn {
        self.next.unwrap_or(out.next)
    }

    fn add(&mut self, entry: Entry, offset: u64) {
        let bytes = entry.bytes as usize;
        self.frame_bytes += bytes;
        self.next = Some(entry.lsn.next());
        if let Some(last) = self.runs.last_mut()
            && let Ok(skip) = usize::try_from(offset - last.offset)
            && skip - last.bytes <= RUN_GAP_BYTES_MAX
        {
            last.bytes = skip + bytes;
            last.frames.push((entry, skip));
            return;
        }
        self.runs.push(Run {
            offset,
            bytes,
            frames: vec![(entry, 0)],
        });
    }
}
