//! Block header and entry table.

use bytes::BufMut;
use tidemark_journal::ExtentId;
use tidemark_types::{DecodeError, Epoch, ExtentIdx, Lsn, Reader, ShardId};

use super::{BLOCK_ALIGN, ENTRY_BYTES, HEADER_BYTES, VERSION, crc32c};

const MAGIC: u32 = 0x7464_776c;

/// A place in the WAL. Ordered as written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Position {
    /// Segment number.
    pub(crate) segment: u64,
    /// Byte offset in the segment.
    pub(crate) offset: u64,
}

/// What a block is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub(crate) enum BlockKind {
    /// First block of a prepared segment file that was never used.
    Spare = 0,
    /// First block of a segment: holds the checkpoint.
    First = 1,
    /// A group commit.
    Group = 2,
    /// Written when the WAL falls idle: carries a mark and nothing else (J5).
    Mark = 3,
    /// The segment's index, written when it is closed.
    Index = 4,
}

/// A decoded block header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockHeader {
    pub(crate) kind: BlockKind,
    pub(crate) secret: u64,
    pub(crate) at: Position,
    pub(crate) sequence: u64,
    /// Everything before this was synced before the block was written (J5).
    pub(crate) synced: Position,
    pub(crate) block_bytes: u32,
    pub(crate) body_bytes: u32,
    pub(crate) entries: u32,
    pub(crate) table_crc: u32,
}

/// Why bytes are no block header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum HeaderError {
    /// Not a header, or a damaged one.
    NotABlock,
    /// An intact header of another version.
    Version(u16),
}

impl BlockHeader {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(self.kind as u16);
        out.put_u64(self.secret);
        out.put_u64(self.at.segment);
        out.put_u64(self.at.offset);
        out.put_u64(self.sequence);
        out.put_u64(self.synced.segment);
        out.put_u64(self.synced.offset);
        out.put_u32(self.block_bytes);
        out.put_u32(self.body_bytes);
        out.put_u32(self.entries);
        out.put_u32(self.table_crc);
        out.put_u32(0);
        let crc = crc32c(&out[start..]);
        out.put_u32(crc);
    }

    /// Reads a header off the start of `bytes` and checks its CRC and that its lengths agree.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(HeaderError::NotABlock)?;
        let (covered, crc) = bytes.split_at(HEADER_BYTES - 4);
        if bytes[..4] != MAGIC.to_be_bytes() || crc != crc32c(covered).to_be_bytes() {
            return Err(HeaderError::NotABlock);
        }
        let version = u16::from_be_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let header = Self::fields(&bytes[6..]).map_err(|_| HeaderError::NotABlock)?;
        let needed = HEADER_BYTES as u64
            + u64::from(header.entries) * ENTRY_BYTES as u64
            + u64::from(header.body_bytes);
        let fits = u64::from(header.block_bytes) >= needed
            && u64::from(header.block_bytes).is_multiple_of(BLOCK_ALIGN)
            && header.at.offset.is_multiple_of(BLOCK_ALIGN);
        fits.then_some(header).ok_or(HeaderError::NotABlock)
    }

    fn fields(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let kind = match r.u16("block kind")? {
            0 => BlockKind::Spare,
            1 => BlockKind::First,
            2 => BlockKind::Group,
            3 => BlockKind::Mark,
            4 => BlockKind::Index,
            other => return Err(DecodeError::invalid("block kind", format!("{other}"))),
        };
        let secret = r.u64("block secret")?;
        let at = position(&mut r)?;
        let sequence = r.u64("block sequence")?;
        let synced = position(&mut r)?;
        Ok(Self {
            kind,
            secret,
            at,
            sequence,
            synced,
            block_bytes: r.u32("block length")?,
            body_bytes: r.u32("block body length")?,
            entries: r.u32("block entry count")?,
            table_crc: r.u32("block table crc")?,
        })
    }

    /// Reads the entry table, which follows the header, off `bytes` and checks it.
    ///
    /// # Errors
    /// When `bytes` are too few, fail the CRC, or lengths do not add up.
    pub(crate) fn table(&self, bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
        let mut r = Reader::new(bytes);
        let table = r.take(self.entries as usize * ENTRY_BYTES, "block table")?;
        if crc32c(table) != self.table_crc {
            return Err(DecodeError::invalid("block table", "fails its crc"));
        }
        let mut r = Reader::new(table);
        let mut entries = Vec::with_capacity(self.entries as usize);
        let mut body_bytes = 0u64;
        while r.remaining() > 0 {
            let entry = Entry::decode(&mut r)?;
            body_bytes += u64::from(entry.bytes);
            entries.push(entry);
        }
        if body_bytes != u64::from(self.body_bytes) {
            return Err(DecodeError::invalid(
                "block table",
                "does not cover the bodies",
            ));
        }
        Ok(entries)
    }
}

/// Each of the entries of the block at `block` of its segment, with the offset of its body there.
pub(crate) fn bodies(entries: &[Entry], block: u64) -> impl Iterator<Item = (&Entry, u64)> {
    let mut at = block + (HEADER_BYTES + entries.len() * ENTRY_BYTES) as u64;
    entries.iter().map(move |entry| {
        let from = at;
        at += u64::from(entry.bytes);
        (entry, from)
    })
}

fn position(r: &mut Reader<'_>) -> Result<Position, DecodeError> {
    Ok(Position {
        segment: r.u64("segment number")?,
        offset: r.u64("segment offset")?,
    })
}

/// What an entry records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum EntryKind {
    Frame = 1,
    Open = 2,
    Fence = 3,
    Release = 4,
    Checkpoint = 5,
    Index = 6,
}

/// One entry of a block's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: EntryKind,
    pub(crate) extent: ExtentId,
    pub(crate) lsn: Lsn,
    pub(crate) epoch: Epoch,
    /// Bytes of its body.
    pub(crate) bytes: u32,
    pub(crate) crc: u32,
}

impl Entry {
    /// An entry that is about no extent, with a body.
    pub(crate) fn of_node(kind: EntryKind, body: &[u8]) -> Self {
        let (shard, index) = (ShardId(0), ExtentIdx(0));
        Self {
            kind,
            extent: ExtentId { shard, index },
            lsn: Lsn(0),
            epoch: Epoch(0),
            bytes: super::len_u32(body.len()),
            crc: crc32c(body),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(self.kind as u8);
        out.put_bytes(0, 3);
        out.put_u32(self.extent.shard.0);
        out.put_u64(self.extent.index.0);
        out.put_u64(self.lsn.0);
        out.put_u64(self.epoch.0);
        out.put_u32(self.bytes);
        out.put_u32(self.crc);
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = match r.u8("entry kind")? {
            1 => EntryKind::Frame,
            2 => EntryKind::Open,
            3 => EntryKind::Fence,
            4 => EntryKind::Release,
            5 => EntryKind::Checkpoint,
            6 => EntryKind::Index,
            other => return Err(DecodeError::invalid("entry kind", format!("{other}"))),
        };
        r.take(3, "entry padding")?;
        let shard = ShardId(r.u32("entry shard")?);
        let index = ExtentIdx(r.u64("entry extent")?);
        Ok(Self {
            kind,
            extent: ExtentId { shard, index },
            lsn: Lsn(r.u64("entry lsn")?),
            epoch: Epoch(r.u64("entry epoch")?),
            bytes: r.u32("entry length")?,
            crc: r.u32("entry crc")?,
        })
    }
}
