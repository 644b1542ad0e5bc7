//! Buffered access to a segment's blocks: one read per chunk, slices of it handed out without copying.

use std::io;

use bytes::Bytes;
use tidemark_journal::{ExtentId, Frame};
use tidemark_types::{DecodeError, Lsn};

use crate::disk::DiskFile;
use crate::format::{
    BLOCK_ALIGN, BlockHeader, ENTRY_BYTES, Entry, EntryKind, HEADER_BYTES, HeaderError, Position,
    bodies, crc32c,
};

/// Holds a block's header and a table of a hundred entries: small enough for the page cache, where the next reader finds it.
const HEAD_BYTES: usize = 4096;

/// A sliding buffer over one segment file.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    chunk_bytes: usize,
    /// What a read takes at least: a chunk, or less where most of what follows is not wanted.
    ahead_bytes: usize,
    base: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a dyn DiskFile, chunk_bytes: usize) -> Self {
        Self {
            file,
            chunk_bytes,
            ahead_bytes: chunk_bytes,
            base: 0,
            bytes: Bytes::new(),
        }
    }

    /// Whether the next reads take whole chunks (`dense`), or little more than what is asked for.
    pub(crate) fn expect(&mut self, dense: bool) {
        self.ahead_bytes = if dense { self.chunk_bytes } else { HEAD_BYTES };
    }

    /// Whether reads take whole chunks.
    pub(crate) fn reads_ahead(&self) -> bool {
        self.ahead_bytes > HEAD_BYTES
    }

    /// What the slices handed out since the last read hold: where it begins in the file, and its bytes.
    pub(crate) fn memory(&self) -> (u64, usize) {
        (self.base, self.bytes.len())
    }

    /// The `len` bytes at `offset`, fewer at the end of the file.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let held = self.base + self.bytes.len() as u64;
        let len = self.bounded(offset, len)?;
        if offset < self.base || offset.saturating_add(len as u64) > held {
            self.bytes = self.file.read_at(offset, len.max(self.ahead_bytes))?;
            self.base = offset;
        }
        let from = usize::try_from(offset - self.base).expect("inside the chunk");
        let from = from.min(self.bytes.len());
        Ok(self.bytes.slice(from..self.bytes.len().min(from + len)))
    }

    /// Stretches that lie apart, offsets and lengths: read together, not kept. Each is as [`Self::get`] gives it.
    pub(crate) fn get_many(&self, ranges: &[(u64, usize)]) -> io::Result<Vec<Bytes>> {
        let bounded = |&(offset, len): &(u64, usize)| Ok((offset, self.bounded(offset, len)?));
        let ranges: io::Result<Vec<_>> = ranges.iter().map(bounded).collect();
        self.file.read_many(&ranges?)
    }

    /// A length that came from the disk is not allocated before the file is known to be that long.
    fn bounded(&self, offset: u64, len: usize) -> io::Result<usize> {
        if len <= self.chunk_bytes {
            return Ok(len);
        }
        let left = self.file.bytes()?.saturating_sub(offset);
        Ok(usize::try_from(left).map_or(len, |left| left.min(len)))
    }

    /// The header at `at`, if an intact one of this disk says it belongs there.
    pub(crate) fn header(&mut self, secret: u64, at: Position) -> io::Result<Option<BlockHeader>> {
        let bytes = self.get(at.offset, HEADER_BYTES)?;
        let header = BlockHeader::decode(&bytes).ok();
        Ok(header.filter(|h| h.secret == secret && h.at == at))
    }

    /// The header at the start of the file, whatever it claims.
    pub(crate) fn first_header(&mut self) -> io::Result<Result<BlockHeader, HeaderError>> {
        Ok(BlockHeader::decode(&self.get(0, HEADER_BYTES)?))
    }

    /// An intact header at `offset`, whatever it claims.
    pub(crate) fn any_header(&mut self, offset: u64) -> io::Result<Option<BlockHeader>> {
        Ok(BlockHeader::decode(&self.get(offset, HEADER_BYTES)?).ok())
    }

    /// The block at `at`: its header and entries, if both are intact.
    pub(crate) fn block(&mut self, secret: u64, at: Position) -> io::Result<Option<Block>> {
        let Some(header) = self.header(secret, at)? else {
            return Ok(None);
        };
        let table = self.get(
            at.offset + HEADER_BYTES as u64,
            header.entries as usize * ENTRY_BYTES,
        )?;
        let entries = header.table(&table).ok();
        Ok(entries.map(|entries| Block { header, entries }))
    }

    /// The first block after `at` that is of the same segment, at least this `sequence`, and intact up to its
    /// header. Reads the rest of the segment when there is none.
    pub(crate) fn later(
        &mut self,
        secret: u64,
        at: Position,
        sequence: u64,
    ) -> io::Result<Option<BlockHeader>> {
        let mut at = at;
        loop {
            at.offset += BLOCK_ALIGN;
            if self.get(at.offset, HEADER_BYTES)?.len() < HEADER_BYTES {
                return Ok(None);
            }
            if let Some(header) = self.header(secret, at)?
                && header.sequence >= sequence
            {
                return Ok(Some(header));
            }
        }
    }

    /// The body of an entry that begins at `offset` of the file.
    pub(crate) fn body(&mut self, entry: &Entry, offset: u64) -> io::Result<Bytes> {
        self.get(offset, entry.bytes as usize)
    }
}

/// A block's header and entries.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) entries: Vec<Entry>,
}

impl Block {
    /// Each entry with the offset of its body in the file.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = (&Entry, u64)> {
        bodies(&self.entries, self.header.at.offset)
    }
}

/// The frame in an entry's body, checked in full: address, own CRC, payload.
pub(crate) fn frame(entry: &Entry, body: &Bytes) -> Result<Frame, DecodeError> {
    let frame = frame_at((entry.extent, entry.lsn), body)?;
    if (frame.writer_epoch, frame.crc) != (entry.epoch, entry.crc) {
        return Err(DecodeError::invalid(
            "frame",
            "is not the one its block names",
        ));
    }
    Ok(frame)
}

/// The frame at an address, which is all of `body`, checked in full.
pub(crate) fn frame_at(address: (ExtentId, Lsn), body: &Bytes) -> Result<Frame, DecodeError> {
    let frame = Frame::decode(body)?;
    if (frame.extent, frame.lsn) != address || frame.encoded_len() != body.len() {
        return Err(DecodeError::invalid("frame", "is another one"));
    }
    frame.verify_payload()?;
    Ok(frame)
}

/// Checks the body of a checkpoint or index entry.
pub(crate) fn checked(entry: &Entry, kind: EntryKind, body: &Bytes) -> Result<(), DecodeError> {
    if entry.kind != kind || body.len() != entry.bytes as usize || crc32c(body) != entry.crc {
        return Err(DecodeError::invalid("block body", "fails its crc"));
    }
    Ok(())
}
