//! Segment files: made, found, recycled.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::format::{BLOCK_ALIGN, BlockHeader, BlockKind, LiveSegment, Position, aligned, crc32c};
use crate::view::SegmentFile;

const PREFIX: &str = "wal-";
/// Suffix of a file that is being prepared.
const UNFINISHED: &str = ".new";
/// Zeros written at a time.
pub(crate) const ZERO_BYTES: usize = 256 << 10;

/// A segment file that belongs to the pool.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) segment_file: SegmentFile,
    pub(crate) bytes: u64,
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

/// Makes a segment file: reserved, zero-written as far as `go_on` allows (overwriting written blocks syncs faster
/// than writing reserved ones), with a header that says it is unused, under its final name.
pub(crate) fn prepare(
    disk: &dyn Disk,
    name: &str,
    bytes: u64,
    secret: u64,
    go_on: impl FnMut() -> bool,
) -> io::Result<Slot> {
    let bytes = aligned(bytes);
    let unfinished = format!("{name}{UNFINISHED}");
    let file = disk.create(&unfinished, bytes)?;
    let fill = || {
        zero(&*file, bytes, go_on)?;
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
    })
}

/// Writes zeros for as long as `go_on` says so before each piece.
fn zero(file: &dyn DiskFile, bytes: u64, mut go_on: impl FnMut() -> bool) -> io::Result<()> {
    const PAGE: usize = 4096;
    static ZEROS: [u8; ZERO_BYTES + PAGE] = [0; ZERO_BYTES + PAGE];
    // Aligned, so that nothing is copied on the way to the disk.
    let from = ZEROS.as_ptr().align_offset(PAGE);
    let zeros = &ZEROS[from..from + ZERO_BYTES];
    let mut at = 0;
    while at < bytes && go_on() {
        let n = usize::try_from(bytes - at).map_or(ZERO_BYTES, |left| left.min(ZERO_BYTES));
        file.write_at(at, &[IoSlice::new(&zeros[..n])])?;
        at += n as u64;
    }
    Ok(())
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
