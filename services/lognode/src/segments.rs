//! Segment files: made, found, recycled.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use tidemark_direct::ALIGN;

use crate::disk::{Disk, DiskFile};
use crate::format::{BLOCK_ALIGN, BlockHeader, BlockKind, LiveSegment, Position, aligned, crc32c};
use crate::view::SegmentFile;

const PREFIX: &str = "wal-";
/// Suffix of a file that is being prepared.
const UNFINISHED: &str = ".new";
/// How far ahead of small blocks a segment is written, bytes.
const AHEAD_BYTES: usize = 128 << 10;
/// At most so much of a segment.
const AHEAD_PART: u64 = 8;
/// So many small blocks fit what is written ahead of them, at the least.
const AHEAD_BLOCKS: u64 = 4;

/// A segment file that belongs to the pool.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) segment_file: SegmentFile,
    pub(crate) bytes: u64,
    /// What was written of it since it was found or made, from its start on.
    pub(crate) written: u64,
}

impl Slot {
    /// Has a block of `bytes` at `at` overwrite zeros, unless it is large or something was written there before. What is only
    /// reserved the file system has to call written, in metadata of its own that goes to the disk with every sync: as much
    /// work as a small block itself. A log of large ones, which syncs megabytes at a time, does not pay for every byte twice.
    pub(crate) fn write_ahead(&mut self, at: u64, bytes: u64) -> io::Result<()> {
        static ZEROS: [u8; AHEAD_BYTES + ALIGN] = [0; AHEAD_BYTES + ALIGN];
        let ahead = aligned((AHEAD_BYTES as u64).min(self.bytes / AHEAD_PART));
        if at + bytes <= self.written || bytes > ahead / AHEAD_BLOCKS {
            return Ok(());
        }
        let end = (at + ahead).min(self.bytes);
        let len = usize::try_from(end - at).expect("at most AHEAD_BYTES");
        // Aligned, so that nothing is copied on the way to the disk.
        let from = ZEROS.as_ptr().align_offset(ALIGN);
        let zeros = IoSlice::new(&ZEROS[from..from + len]);
        self.segment_file.file.write_at(at, &[zeros])?;
        self.written = end;
        Ok(())
    }
}

/// A closed segment.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) slot: Slot,
    pub(crate) live: LiveSegment,
}

/// The files that are not written right now.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Ready for use. One is kept in reserve for when the disk is full.
    pub(crate) free: Vec<Slot>,
    /// Closed segments with frames of live extents, by number.
    pub(crate) closed: BTreeMap<u64, Closed>,
    /// A slot whose first block was begun when the disk turned full, which also refused to have it taken back.
    pub(crate) begun: Option<Slot>,
    /// The next segment's number. Never reused, not even when its first block was torn.
    pub(crate) next_segment: u64,
    /// The next file's number.
    pub(crate) next_file: u64,
}

impl Pool {
    /// Bytes of all files in the pool.
    pub(crate) fn bytes(&self) -> u64 {
        let free: u64 = self.free.iter().chain(&self.begun).map(|s| s.bytes).sum();
        free + self.closed_bytes()
    }

    pub(crate) fn closed_bytes(&self) -> u64 {
        self.closed.values().map(|c| c.slot.bytes).sum()
    }

    /// Moves closed segments without live frames to the free ones and gives their numbers.
    pub(crate) fn recycle(&mut self, frames_in: &BTreeMap<u64, u32>) -> Vec<u64> {
        let dead: Vec<u64> = self.closed.keys().copied().collect();
        let dead = dead.into_iter().filter(|n| !frames_in.contains_key(n));
        let dead: Vec<u64> = dead.collect();
        for number in &dead {
            self.free
                .extend(self.closed.remove(number).map(|closed| closed.slot));
        }
        dead
    }

    pub(crate) fn name_next(&mut self) -> String {
        self.next_file += 1;
        format!("{PREFIX}{:06}", self.next_file)
    }
}

/// The number in a segment file's name.
pub(crate) fn file_number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Whether a crash left this file half prepared.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(UNFINISHED)
}

/// Makes a segment file: reserved, with a header that says it is unused, under its final name.
pub(crate) fn prepare(disk: &dyn Disk, name: &str, bytes: u64, secret: u64) -> io::Result<Slot> {
    let bytes = aligned(bytes);
    let unfinished = format!("{name}{UNFINISHED}");
    let file = disk.create(&unfinished, bytes)?;
    let fill = || {
        file.write_at(0, &[IoSlice::new(&spare_block(secret))])?;
        file.sync()?;
        disk.rename(&unfinished, name)?;
        disk.sync_dir()
    };
    if let Err(error) = fill() {
        let _ = disk.remove(&unfinished);
        return Err(error);
    }
    let name = Arc::from(name);
    let segment_file = SegmentFile { name, file };
    Ok(Slot {
        segment_file,
        bytes,
        written: BLOCK_ALIGN,
    })
}

fn spare_block(secret: u64) -> Vec<u8> {
    let header = BlockHeader {
        kind: BlockKind::Spare,
        secret,
        at: Position::default(),
        sequence: 0,
        synced: Position::default(),
        block_bytes: u32::try_from(BLOCK_ALIGN).expect("a page"),
        body_bytes: 0,
        entries: 0,
        table_crc: crc32c(&[]),
    };
    let mut block = Vec::new();
    header.encode(&mut block);
    block.resize(usize::try_from(BLOCK_ALIGN).expect("a page"), 0);
    block
}

/// Makes a slot whose first block may be half written say again that it is unused. To be synced.
pub(crate) fn disown(file: &dyn DiskFile, secret: u64) -> io::Result<()> {
    file.write_at(0, &[IoSlice::new(&spare_block(secret))])
}
