//! The WAL's format, version 1.
//!
//! A segment file is a sequence of blocks at multiples of [`BLOCK_ALIGN`]; its first block is of kind
//! `First` and holds the node's checkpoint. All integers big-endian.
//!
//! | at | block header field | bytes |
//! |---|---|---|
//! | 0 | magic `tdwl` | 4 |
//! | 4 | format version | 2 |
//! | 6 | kind | 2 |
//! | 8 | the disk's secret | 8 |
//! | 16 | segment number | 8 |
//! | 24 | this block's offset in the segment | 8 |
//! | 32 | sequence, dense over the disk's life | 8 |
//! | 40 | position known synced before this block was written (J5): segment, offset | 16 |
//! | 56 | bytes of the block with padding | 4 |
//! | 60 | bytes of the bodies | 4 |
//! | 64 | number of entries | 4 |
//! | 68 | CRC32C of the entry table | 4 |
//! | 72 | zero | 4 |
//! | 76 | CRC32C of bytes 0..76 | 4 |
//! | 80 | entry table | 40 each |
//! | … | bodies in the table's order, then zeros up to a multiple of 4096 | |
//!
//! Magic, version, secret and header CRC stay where they are in every later version. Segment numbers are
//! never reused, so a number is also the generation of a recycled file: blocks of its former life name
//! another one. The secret keeps a client from forging a block inside its payload.
//!
//! | at | entry field | bytes |
//! |---|---|---|
//! | 0 | kind: 1 frame, 2 open, 3 fence, 4 release, 5 checkpoint, 6 index | 1 |
//! | 1 | zero | 3 |
//! | 4 | shard | 4 |
//! | 8 | extent | 8 |
//! | 16 | LSN: of the frame, or first of the opened extent | 8 |
//! | 24 | epoch: of the frame's writer, of the open, of the fence, of the release | 8 |
//! | 32 | bytes of the body | 4 |
//! | 36 | the frame's own CRC; CRC32C of the body for checkpoint and index; 0 without one | 4 |
//!
//! No CRC here covers a frame's payload: the frame's parts carry theirs, so the bytes are summed once.

mod builder;
mod checkpoint;
mod cookie;
mod header;
mod index;

pub(crate) use builder::BlockBuilder;
pub(crate) use checkpoint::{Checkpoint, LiveSegment};
pub(crate) use cookie::Cookie;
pub(crate) use header::{BlockHeader, BlockKind, Entry, EntryKind, HeaderError, Position, bodies};
pub(crate) use index::{IndexPiece, decode_index, encode_index};

/// Blocks begin and end at multiples of this, bytes: a page, and at least a device's sector.
pub(crate) const BLOCK_ALIGN: u64 = 4096;
/// Bytes of a block header.
pub(crate) const HEADER_BYTES: usize = 80;
/// Bytes of one entry of a block's table.
pub(crate) const ENTRY_BYTES: usize = 40;
/// The version this build reads and writes.
pub(crate) const VERSION: u16 = 1;

/// `bytes` rounded up to whole blocks.
pub(crate) const fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_ALIGN)
}

/// CRC32C (Castagnoli).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("a 32-bit CRC")
}

pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("bounded by the segment's size")
}

#[cfg(test)]
mod tests;
