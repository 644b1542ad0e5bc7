//! Applies the last checkpoint and every block behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use tidemark_journal::{ExtentId, Frame};
use tidemark_types::Lsn;

use super::Depth;
use super::index::pieces;
use crate::damage::{Damage, in_words};
use crate::format::{BlockKind, Checkpoint, Entry, EntryKind, Position};
use crate::scan::{Scan, Step};
use crate::segments::Slot;
use crate::state::{Extent, State, Trust};
use crate::survey::Base;
use crate::window::Block;

/// A replay in progress.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    secret: u64,
    segments: &'a BTreeMap<u64, Slot>,
    state: State,
    sequence: u64,
    /// Extents that may have had frames in a damaged block, until a later frame shows that they had none.
    suspects: BTreeMap<ExtentId, String>,
    damage: Vec<Damage>,
    tail: Option<u64>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(secret: u64, segments: &'a BTreeMap<u64, Slot>) -> Self {
        Self {
            secret,
            segments,
            state: State::default(),
            sequence: 0,
            suspects: BTreeMap::new(),
            damage: Vec::new(),
            tail: None,
        }
    }

    /// Takes a checkpoint's state and finds its extents' frames in the closed segments.
    pub(super) fn load(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.state = checkpoint.state.clone();
        let mut live = checkpoint.segments.clone();
        live.sort_unstable_by_key(|l| l.segment);
        let mut lost = Vec::new();
        for live in live {
            let Some(slot) = self.segments.get(&live.segment) else {
                lost.push(Damage {
                    file: format!("segment {}", live.segment),
                    from: 0,
                    to: 0,
                    why: "no file holds it".to_owned(),
                });
                continue;
            };
            let found = pieces(slot, self.secret, live)?;
            lost.extend(found.damage);
            for (extent, piece) in found.pieces {
                self.state.add_piece(extent, piece);
            }
        }
        let why = if lost.is_empty() {
            "its frames are in no segment".to_owned()
        } else {
            in_words(&lost)
        };
        for (id, extent) in &mut self.state.extents {
            if let Some(gap) = gap(extent) {
                extent.doubt_from(gap, &why);
                tracing::warn!("{id} is damaged from lsn {gap}: {why}");
            }
        }
        self.damage.append(&mut lost);
        Ok(())
    }

    /// Replays everything behind the base, and gives where the next block goes.
    pub(super) fn run(&mut self, base: Option<Base>) -> io::Result<Option<Position>> {
        let mut tail = None;
        let mut after = 0;
        if let Some(base) = base {
            self.sequence = base.sequence;
            after = base.end.segment;
            tail = Some(self.segment(base.end)?);
        }
        let segments = self.segments;
        for (number, slot) in segments.range(after + 1..) {
            let segment = *number;
            let start = Position { segment, offset: 0 };
            let file = &slot.segment_file;
            let later = Scan::new(file, self.secret, start, self.sequence + 1).proof(start)?;
            // Without a later block the torn first one is a switch that never happened.
            if later.is_some() {
                tail = Some(self.segment(start)?);
            }
        }
        self.tail = tail.map(|at| at.segment);
        Ok(tail)
    }

    pub(super) fn finish(mut self) -> (State, u64, Vec<Damage>) {
        for (id, why) in self.suspects {
            if let Some(extent) = self.state.extents.get_mut(&id) {
                let end = extent.end;
                extent.doubt_from(end, &why);
            }
        }
        let mut damage: Vec<Damage> = Vec::new();
        for found in self.damage {
            if !damage.contains(&found) {
                damage.push(found);
            }
        }
        (self.state, self.sequence, damage)
    }

    fn segment(&mut self, at: Position) -> io::Result<Position> {
        let segments = self.segments;
        let file = &segments[&at.segment].segment_file;
        let mut scan = Scan::new(file, self.secret, at, self.sequence + 1);
        let mut skipped = false;
        loop {
            match scan.step()? {
                Step::Block(block) => {
                    let frames = scan.frames(&block)?;
                    let torn = frames.iter().any(Result::is_err);
                    if torn && scan.proof(block.header.at)?.is_none() {
                        return Ok(block.header.at);
                    }
                    // Sequences are dense: a gap without damage is a segment that was recycled since.
                    if block.header.sequence != self.sequence + 1 && !skipped {
                        let why = "blocks before these are gone".to_owned();
                        let end = scan.at.offset;
                        self.lose(scan.damage(block.header.at.offset, end, why));
                    }
                    skipped = false;
                    self.sequence = block.header.sequence;
                    self.block(&block, frames);
                }
                Step::Damage(damage) => {
                    skipped = true;
                    self.lose(damage);
                }
                Step::End => return Ok(scan.at),
            }
        }
    }

    fn block(&mut self, block: &Block, frames: Vec<Result<Option<Frame>, Damage>>) {
        if block.header.kind == BlockKind::Mark {
            return;
        }
        let at = block.header.at;
        for ((entry, body), frame) in block.bodies().zip(frames) {
            match frame {
                Ok(Some(frame)) => self.frame(entry, &frame, (at, body)),
                Ok(None) if self.lowers_fence(entry) => {}
                Ok(None) => self.state.apply(entry, at, body),
                Err(damage) => {
                    if entry.kind == EntryKind::Frame {
                        self.bad(entry, &damage.to_string());
                    }
                    self.damage.push(damage);
                }
            }
        }
    }

    /// A fence below the known one was never written: the block is not what it says.
    fn lowers_fence(&mut self, entry: &Entry) -> bool {
        let shard = entry.extent.shard;
        let lower = entry.kind == EntryKind::Fence && entry.epoch < self.state.fence(shard);
        if lower {
            tracing::error!(
                "shard {shard} has a fence {} behind a higher one",
                entry.epoch
            );
        }
        lower
    }

    /// A frame must continue its extent; if it does not, frames before it were in a damaged block.
    fn frame(&mut self, entry: &Entry, frame: &Frame, (at, body): (Position, u64)) {
        match self.state.extents.get(&entry.extent) {
            Some(extent) if extent.end == entry.lsn && extent.last_crc == frame.prev_crc => {
                self.suspects.remove(&entry.extent);
            }
            _ => {
                let suspicion = self
                    .suspects
                    .get(&entry.extent)
                    .or(self.state.doubt.as_ref());
                let why = suspicion.cloned();
                let why = why.unwrap_or_else(|| format!("frame {} follows a gap", entry.lsn));
                self.bad(entry, &why);
            }
        }
        self.state.apply(entry, at, body);
    }

    /// The extent is in limbo from a frame on, or from where it ended before it.
    fn bad(&mut self, entry: &Entry, why: &str) {
        let extents = &mut self.state.extents;
        let extent = extents.entry(entry.extent).or_insert_with(|| {
            // Its open was in the damaged block: nothing is known of it.
            Extent::opened(Lsn(0), entry.epoch)
        });
        let from = extent.end.min(entry.lsn);
        extent.doubt_from(from, why);
    }

    /// Damage that may have held anything: frames of any extent, opens, fences.
    fn lose(&mut self, damage: Damage) {
        let why = damage.to_string();
        for shard in self.state.shards.values_mut() {
            shard.trust = Trust::None;
        }
        for id in self.state.extents.keys() {
            self.suspects.entry(*id).or_insert_with(|| why.clone());
        }
        self.state.doubt.get_or_insert(why);
        self.damage.push(damage);
    }

    /// Checks every frame of closed segments. Gives the bytes of those that were to be checked and were not.
    pub(super) fn verify_closed(&mut self, depth: Depth) -> io::Result<u64> {
        let (mut left, mut unverified) = (depth.bytes_max(), 0);
        let wanted = self.wanted(depth);
        let segments = self.segments;
        for number in wanted.into_iter().rev() {
            let Some(slot) = segments.get(&number).filter(|_| Some(number) != self.tail) else {
                continue;
            };
            match left.checked_sub(slot.bytes) {
                Some(after) => {
                    left = after;
                    self.verify_segment(number, slot)?;
                }
                None => {
                    left = 0;
                    unverified += slot.bytes;
                }
            }
        }
        Ok(unverified)
    }

    /// Segments with frames of each shard's newest extent, or of any.
    fn wanted(&self, depth: Depth) -> BTreeSet<u64> {
        if depth == Depth::Everything {
            return self.state.frames_in.keys().copied().collect();
        }
        let extents = self.state.extents.iter();
        let newest: BTreeMap<_, _> = extents.map(|(id, extent)| (id.shard, extent)).collect();
        let pieces = newest.values().flat_map(|extent| &extent.pieces);
        pieces.map(|piece| piece.segment).collect()
    }

    fn verify_segment(&mut self, number: u64, slot: &Slot) -> io::Result<()> {
        let pieces = self.state.pieces_of(number);
        let mut expected: BTreeMap<ExtentId, (Lsn, Lsn)> = pieces
            .map(|(id, p)| (id, (p.points[0].lsn, p.end)))
            .collect();
        let start = Position {
            segment: number,
            offset: 0,
        };
        let mut scan = Scan::new(&slot.segment_file, self.secret, start, 0);
        let mut damage = Vec::new();
        loop {
            match scan.step()? {
                Step::Block(block) => {
                    for (entry, frame) in block.entries.iter().zip(scan.frames(&block)?) {
                        match (frame, expected.get_mut(&entry.extent)) {
                            (Ok(Some(_)), Some((next, _))) if *next == entry.lsn => {
                                *next = entry.lsn.next();
                            }
                            (Err(bad), _) if entry.kind != EntryKind::Frame => damage.push(bad),
                            (Err(bad), Some(_)) => damage.push(bad),
                            _ => {}
                        }
                    }
                    // An index is no end: a crash right behind it has the next life go on in this segment.
                }
                Step::Damage(bad) => damage.push(bad),
                Step::End => break,
            }
        }
        let why = if damage.is_empty() {
            format!("{} ends early", slot.segment_file.name)
        } else {
            in_words(&damage)
        };
        for (id, (next, end)) in expected {
            if let Some(extent) = self.state.extents.get_mut(&id).filter(|_| next < end) {
                extent.doubt_from(next, &why);
            }
        }
        self.damage.append(&mut damage);
        Ok(())
    }
}

/// Where the pieces of an extent of a checkpoint stop covering it.
fn gap(extent: &Extent) -> Option<Lsn> {
    let mut covered = extent.first;
    for piece in &extent.pieces {
        if piece.points[0].lsn != covered {
            return Some(covered);
        }
        covered = piece.end;
    }
    (covered != extent.end).then_some(covered)
}
