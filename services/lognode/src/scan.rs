//! Walks a segment's blocks and tells a torn tail from rot.

use std::io;

use tidemark_journal::Frame;

use crate::damage::Damage;
use crate::format::{BlockHeader, EntryKind, Position};
use crate::view::SegmentFile;
use crate::window::{Block, Window, checked, frame};

const CHUNK_BYTES: usize = 1 << 20;

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Step {
    /// A block whose header and table are intact.
    Block(Block),
    /// Damage below the synced mark: a later block proves that this was synced once (J5).
    Damage(Damage),
    /// Nothing more that was proven synced. New blocks go to [`Scan::at`].
    End,
}

/// A walk over one segment.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    pub(crate) segment: &'a SegmentFile,
    window: Window<'a>,
    secret: u64,
    /// Where the next block is looked for.
    pub(crate) at: Position,
    /// The lowest sequence it may have.
    pub(crate) sequence: u64,
}

impl<'a> Scan<'a> {
    /// A walk from `at` on, over blocks of at least this `sequence`.
    pub(crate) fn new(segment: &'a SegmentFile, secret: u64, at: Position, sequence: u64) -> Self {
        Self {
            segment,
            window: Window::new(&*segment.file, CHUNK_BYTES),
            secret,
            at,
            sequence,
        }
    }

    pub(crate) fn step(&mut self) -> io::Result<Step> {
        let block = self.window.block(self.secret, self.at)?;
        if let Some(block) = block.filter(|b| b.header.sequence >= self.sequence) {
            self.at.offset += u64::from(block.header.block_bytes);
            self.sequence = block.header.sequence + 1;
            return Ok(Step::Block(block));
        }
        let from = self.at.offset;
        match self.proof(self.at)? {
            Some(later) => {
                self.at = later.at;
                let why = "no intact block".to_owned();
                Ok(Step::Damage(self.damage(from, later.at.offset, why)))
            }
            None => Ok(Step::End),
        }
    }

    /// J5: the first later block, if its mark proves that `at` was synced before it was written. Without
    /// such a block, what is bad at `at` was never proven synced and is cut.
    /// Breaks: `a_frame_that_rotted_below_the_mark_is_limbo_and_names_its_bytes`.
    pub(crate) fn proof(&mut self, at: Position) -> io::Result<Option<BlockHeader>> {
        let later = self.window.later(self.secret, at, self.sequence)?;
        Ok(later.filter(|later| later.synced > at))
    }

    /// Bytes of this segment that are damaged.
    pub(crate) fn damage(&self, from: u64, to: u64, why: String) -> Damage {
        let file = self.segment.name.to_string();
        Damage {
            file,
            from,
            to,
            why,
        }
    }

    /// Every body of a block, checked in full. What is no frame gives `None`.
    pub(crate) fn frames(
        &mut self,
        block: &Block,
    ) -> io::Result<Vec<Result<Option<Frame>, Damage>>> {
        let mut out = Vec::with_capacity(block.entries.len());
        for (entry, offset) in block.bodies() {
            let body = self.window.body(entry, offset)?;
            let intact = match entry.kind {
                EntryKind::Frame => frame(entry, &body).map(Some),
                EntryKind::Checkpoint | EntryKind::Index => {
                    checked(entry, entry.kind, &body).map(|()| None)
                }
                EntryKind::Open | EntryKind::Fence | EntryKind::Release => Ok(None),
            };
            let end = offset + u64::from(entry.bytes);
            out.push(intact.map_err(|e| self.damage(offset, end, e.to_string())));
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemark_runtime::Entropy;

    use super::*;
    use crate::disk::Disk;
    use crate::format::{BLOCK_ALIGN, BlockBuilder, BlockKind};
    use crate::sim::SimDisk;

    const SECRET: u64 = 7;

    fn at(offset: u64) -> Position {
        let segment = 3;
        Position { segment, offset }
    }

    /// J5: what is bad *below* a later block's mark was synced and is damage; what is bad at the mark or above it was
    /// never proven to be and is the end. Comparing otherwise, or not at all, fails here.
    #[test]
    fn a_bad_block_is_judged_by_the_mark_of_the_next() {
        let page = BLOCK_ALIGN;
        for (mark, damaged) in [
            (at(0), false),
            (at(page), false),
            (at(page + 1), true),
            (at(2 * page), true),
        ] {
            let disk = SimDisk::new(&Entropy::seeded(1));
            let file = disk.create("wal", 16 * page).unwrap();
            let write = |sequence, offset, synced| {
                let header = BlockHeader {
                    kind: BlockKind::Group,
                    secret: SECRET,
                    at: at(offset),
                    sequence,
                    synced,
                    block_bytes: 0,
                    body_bytes: 0,
                    entries: 0,
                    table_crc: 0,
                };
                BlockBuilder::default().write(&*file, header).unwrap();
            };
            write(10, 0, at(0));
            // The block of sequence 11 at the second page is bad: nothing of it is there.
            write(12, 2 * page, mark);
            let segment = SegmentFile {
                name: "wal".into(),
                file: Arc::clone(&file),
            };
            let mut scan = Scan::new(&segment, SECRET, at(0), 10);
            assert!(matches!(scan.step().unwrap(), Step::Block(_)));
            match scan.step().unwrap() {
                Step::Damage(found) => {
                    assert!(damaged, "{mark:?}");
                    assert_eq!((found.from, found.to), (page, 2 * page));
                    assert!(matches!(scan.step().unwrap(), Step::Block(_)));
                }
                Step::End => {
                    assert!(!damaged, "{mark:?}");
                    assert_eq!(scan.at, at(page), "new blocks go where the bad one was");
                }
                Step::Block(block) => panic!("{block:?}"),
            }
        }
    }
}
