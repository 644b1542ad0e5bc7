//! Applies the last checkpoint and every block behind it.

use std::collections::BTreeMap;
use std::io;

use tidemark_journal::{ExtentId, Frame};
use tidemark_types::Lsn;

use super::index::pieces;
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
    damage: Vec<String>,
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
                lost.push(format!("segment {} is gone", live.segment));
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
            lost.join("; ")
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
            let first = Scan::new(file, self.secret, start, self.sequence + 1).proof(start)?;
            // Without a later block the torn first one is a switch that never happened.
            if let Some(first) = first {
                self.lose(format!("{} bytes 0..{}", file.name, first.at.offset));
                tail = Some(self.segment(first.at)?);
            }
        }
        self.tail = tail.map(|at| at.segment);
        Ok(tail)
    }

    pub(super) fn finish(mut self) -> (State, u64, Vec<String>) {
        for (id, why) in self.suspects {
            if let Some(extent) = self.state.extents.get_mut(&id) {
                let end = extent.end;
                extent.doubt_from(end, &why);
            }
        }
        (self.state, self.sequence, self.damage)
    }

    fn segment(&mut self, at: Position) -> io::Result<Position> {
        let segments = self.segments;
        let file = &segments[&at.segment].segment_file;
        let mut scan = Scan::new(file, self.secret, at, self.sequence + 1);
        loop {
            match scan.step()? {
                Step::Block(block) => {
                    let frames = scan.frames(&block)?;
                    let torn = frames.iter().any(Result::is_err);
                    if torn && scan.proof(block.header.at)?.is_none() {
                        return Ok(block.header.at);
                    }
                    self.sequence = block.header.sequence;
                    self.block(&block, frames);
                }
                Step::Damage { from, to } => self.lose(format!("{} bytes {from}..{to}", file.name)),
                Step::End => return Ok(scan.at),
            }
        }
    }

    fn block(&mut self, block: &Block, frames: Vec<Result<Option<Frame>, String>>) {
        if block.header.kind == BlockKind::Mark {
            return;
        }
        let at = block.header.at;
        for (entry, frame) in block.entries.iter().zip(frames) {
            match frame {
                Ok(Some(frame)) => self.frame(entry, &frame, at),
                Ok(None) => self.state.apply(entry, at),
                Err(why) => {
                    let why = format!("damaged below the synced mark: {why}");
                    self.bad(entry, &why);
                    self.damage.push(why);
                }
            }
        }
    }

    /// A frame must continue its extent; if it does not, frames before it were in a damaged block.
    fn frame(&mut self, entry: &Entry, frame: &Frame, at: Position) {
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
        self.state.apply(entry, at);
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
    fn lose(&mut self, range: String) {
        let why = format!("damaged below the synced mark: {range}");
        for shard in self.state.shards.values_mut() {
            shard.trust = Trust::None;
        }
        for id in self.state.extents.keys() {
            self.suspects.entry(*id).or_insert_with(|| why.clone());
        }
        self.state.doubt.get_or_insert_with(|| why.clone());
        self.damage.push(why);
    }

    /// Checks every frame of the newest closed segments, as many as fit the budget.
    pub(super) fn verify_closed(&mut self, bytes_max: u64) -> io::Result<()> {
        let mut left = bytes_max;
        let segments = self.segments;
        for (number, slot) in segments.iter().rev() {
            if Some(*number) == self.tail || !self.state.frames_in.contains_key(number) {
                continue;
            }
            let Some(after) = left.checked_sub(slot.bytes) else {
                break;
            };
            left = after;
            self.verify_segment(*number, slot)?;
        }
        Ok(())
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
                            (Err(why), Some(_)) => damage.push(why),
                            _ => {}
                        }
                    }
                    if block.entries.iter().any(|e| e.kind == EntryKind::Index) {
                        break;
                    }
                }
                Step::Damage { from, to } => {
                    damage.push(format!("{} bytes {from}..{to}", slot.segment_file.name));
                }
                Step::End => break,
            }
        }
        let why = if damage.is_empty() {
            format!("{} ends early", slot.segment_file.name)
        } else {
            damage.join("; ")
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
