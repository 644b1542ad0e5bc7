//! The footer index: which bytes hold which offsets of which partition.

use std::ops::Range;

use bytes::{BufMut, BytesMut};
use tidemark_types::{DecodeError, Offset, PartitionId, PartitionIndex, Reader, TopicId};

use crate::format::{Covers, HEADER_BYTES, Header, TRAILER_BYTES, Trailer, check_crc, crc32c};

const PARTITION_BYTES: usize = 48;
const BLOCK_BYTES: usize = 24;

/// A run of whole batches of one partition, read and checked as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Where it begins, relative to its partition's data, bytes.
    pub(crate) at: u32,
    /// Base offset of its first batch.
    pub base: Offset,
    /// The largest timestamp of its batches, ms since the Unix epoch.
    pub max_timestamp: i64,
    /// CRC32C of its bytes.
    pub crc: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) partition: PartitionId,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    /// Its first block in the index.
    pub(crate) first_block: usize,
    pub(crate) blocks: usize,
}

/// What a cold segment holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Index {
    /// The object it belongs to.
    pub header: Header,
    pub(crate) entries: Vec<Entry>,
    pub(crate) blocks: Vec<Block>,
}

/// One partition's part of a cold segment.
#[derive(Clone, Copy, Debug)]
pub struct Partition<'a> {
    entry: &'a Entry,
    blocks: &'a [Block],
}

impl Index {
    /// Index and trailer, as they end the object whose data ends at `index_at`.
    pub(crate) fn encode(&self, index_at: u64) -> BytesMut {
        let bytes = 36 + self.entries.len() * PARTITION_BYTES + self.blocks.len() * BLOCK_BYTES;
        let mut out = BytesMut::with_capacity(bytes + TRAILER_BYTES);
        self.header.encode_fields(&mut out);
        for entry in &self.entries {
            out.put_u64(entry.partition.topic.0);
            out.put_i32(entry.partition.index.0);
            out.put_u64(entry.at);
            out.put_u64(entry.bytes);
            out.put_i64(entry.base.0);
            out.put_i64(entry.end.0);
            out.put_u32(count_u32(entry.blocks));
        }
        for block in &self.blocks {
            out.put_u32(block.at);
            out.put_i64(block.base.0);
            out.put_i64(block.max_timestamp);
            out.put_u32(block.crc);
        }
        let trailer = Trailer {
            level: self.header.covers.level(),
            index_at,
            index_bytes: count_u32(out.len()),
            index_crc: crc32c(&out),
            partitions: count_u32(self.entries.len()),
            blocks: count_u32(self.blocks.len()),
        };
        out.put_slice(&trailer.encode());
        out
    }

    /// Reads the index out of an object's bytes from `index_at` to its end.
    ///
    /// # Errors
    /// When anything contradicts: a length, an order, a range outside the object, a checksum.
    pub fn decode(tail: &[u8], index_at: u64) -> Result<Self, DecodeError> {
        let split = tail.len().checked_sub(TRAILER_BYTES);
        let (index, trailer) = tail.split_at(split.ok_or_else(|| too_short(tail.len()))?);
        let trailer = Trailer::decode(trailer)?;
        if trailer.index_at != index_at || trailer.index_bytes as usize != index.len() {
            let why = "is not where the object's row and trailer say";
            return Err(DecodeError::invalid("segment index", why));
        }
        check_crc("segment index", index, trailer.index_crc)?;
        let mut r = Reader::new(index);
        let header = Header::decode_fields(&mut r)?;
        if header.covers.level() != trailer.level {
            let why = "is of another level than its trailer";
            return Err(DecodeError::invalid("segment index", why));
        }
        let tables = (trailer.partitions as usize)
            .saturating_mul(PARTITION_BYTES)
            .saturating_add((trailer.blocks as usize).saturating_mul(BLOCK_BYTES));
        if tables != r.remaining() {
            let why = format!("{tables} bytes of tables in {}", r.remaining());
            return Err(DecodeError::invalid("segment index", why));
        }
        let entries = decode_entries(&mut r, trailer.partitions as usize)?;
        let blocks = decode_blocks(&mut r, trailer.blocks as usize)?;
        r.finish("segment index")?;
        let index = Self {
            header,
            entries,
            blocks,
        };
        index.check(index_at)?;
        Ok(index)
    }

    /// Every range inside the object, one after the other; offsets ascending.
    fn check(&self, index_at: u64) -> Result<(), DecodeError> {
        let mut at = HEADER_BYTES as u64;
        let mut blocks = 0usize;
        for (i, entry) in self.entries.iter().enumerate() {
            let ordered = i == 0 || self.entries[i - 1].partition < entry.partition;
            let placed = entry.at == at && entry.first_block == blocks;
            if !ordered || !placed || entry.base.0 < 0 || entry.end <= entry.base {
                return Err(bad(entry, "is out of order or out of place"));
            }
            blocks = blocks.saturating_add(entry.blocks);
            at = at.saturating_add(entry.bytes);
            let of_entry = self.blocks.get(entry.first_block..blocks);
            let of_entry = of_entry.ok_or_else(|| bad(entry, "names blocks that are not there"))?;
            check_blocks(entry, of_entry)?;
        }
        if at != index_at || blocks != self.blocks.len() {
            let why = "does not cover the object";
            return Err(DecodeError::invalid("segment index", why));
        }
        if let Covers::Offsets { first, end } = self.header.covers {
            let fits = |e: &Entry| e.base >= first && e.end <= end;
            if self.entries.len() != 1 || !self.entries.iter().all(fits) {
                let why = "of level 1 is not of one partition within its offsets";
                return Err(DecodeError::invalid("segment index", why));
            }
        }
        Ok(())
    }

    /// A partition's part.
    #[must_use]
    pub fn find(&self, partition: PartitionId) -> Option<Partition<'_>> {
        let at = self
            .entries
            .binary_search_by_key(&partition, |entry| entry.partition);
        Some(self.part(&self.entries[at.ok()?]))
    }

    /// Every partition's part, in the order of their ids.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = Partition<'_>> {
        self.entries.iter().map(|entry| self.part(entry))
    }

    fn part<'a>(&'a self, entry: &'a Entry) -> Partition<'a> {
        let blocks = &self.blocks[entry.first_block..entry.first_block + entry.blocks];
        Partition { entry, blocks }
    }

    /// Memory it takes, bytes, about.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.blocks.capacity() * size_of::<Block>()
    }
}

impl Partition<'_> {
    /// Whose it is.
    #[must_use]
    pub const fn id(&self) -> PartitionId {
        self.entry.partition
    }

    /// First offset.
    #[must_use]
    pub const fn base(&self) -> Offset {
        self.entry.base
    }

    /// End of the offsets, exclusive.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.entry.end
    }

    /// Bytes of the batches.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.entry.bytes
    }

    /// The largest timestamp, ms since the Unix epoch.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        let all = self.blocks.iter().map(|b| b.max_timestamp);
        all.max().unwrap_or(i64::MIN)
    }

    /// Its blocks, in offset order, at least one.
    #[must_use]
    pub const fn blocks(&self) -> &[Block] {
        self.blocks
    }

    /// The block that holds `offset`, or the first when the offset lies before it.
    #[must_use]
    pub fn seek(&self, offset: Offset) -> usize {
        let after = self.blocks.partition_point(|b| b.base <= offset);
        after.saturating_sub(1)
    }

    /// The first block, from `from` on, that has a timestamp at or after `ms`.
    #[must_use]
    pub fn seek_time(&self, from: usize, ms: i64) -> Option<usize> {
        let found = self.blocks.iter().skip(from);
        let at = found.into_iter().position(|b| b.max_timestamp >= ms)?;
        Some(from + at)
    }

    /// The blocks that begin in the same window of `bytes` bytes of the partition's data as block `block` does: neighbours to
    /// be read together. Windows never overlap.
    #[must_use]
    pub fn window(&self, block: usize, bytes: u32) -> Range<usize> {
        let number = |b: &Block| b.at / bytes.max(1);
        let Some(wanted) = self.blocks.get(block).map(number) else {
            return block..block;
        };
        let start = self.blocks.partition_point(|b| number(b) < wanted);
        let end = self.blocks.partition_point(|b| number(b) <= wanted);
        start..end
    }

    /// Where blocks `blocks` lie in the object, bytes. Empty when there are no such blocks.
    #[must_use]
    pub fn range(&self, blocks: Range<usize>) -> Range<u64> {
        self.edge(blocks.start)..self.edge(blocks.end.max(blocks.start))
    }

    fn edge(&self, block: usize) -> u64 {
        let within = self.blocks.get(block).map(|b| u64::from(b.at));
        self.entry.at + within.unwrap_or(self.entry.bytes)
    }
}

fn decode_entries(r: &mut Reader<'_>, count: usize) -> Result<Vec<Entry>, DecodeError> {
    let mut entries = Vec::with_capacity(count);
    let mut first_block = 0usize;
    for _ in 0..count {
        let partition = PartitionId {
            topic: TopicId(r.u64("segment topic")?),
            index: PartitionIndex(r.i32("segment partition index")?),
        };
        let entry = Entry {
            partition,
            at: r.u64("segment data position")?,
            bytes: r.u64("segment data length")?,
            base: Offset(r.i64("segment base offset")?),
            end: Offset(r.i64("segment end offset")?),
            first_block,
            blocks: r.u32("segment blocks")? as usize,
        };
        first_block = first_block.saturating_add(entry.blocks);
        entries.push(entry);
    }
    Ok(entries)
}

fn decode_blocks(r: &mut Reader<'_>, count: usize) -> Result<Vec<Block>, DecodeError> {
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        blocks.push(Block {
            at: r.u32("segment block position")?,
            base: Offset(r.i64("segment block offset")?),
            max_timestamp: r.i64("segment block timestamp")?,
            crc: r.u32("segment block crc")?,
        });
    }
    Ok(blocks)
}

fn check_blocks(entry: &Entry, blocks: &[Block]) -> Result<(), DecodeError> {
    let starts = blocks
        .first()
        .is_some_and(|b| b.at == 0 && b.base == entry.base);
    let ends = blocks
        .last()
        .is_some_and(|b| u64::from(b.at) < entry.bytes && b.base < entry.end);
    let ascending = blocks
        .windows(2)
        .all(|pair| pair[0].at < pair[1].at && pair[0].base < pair[1].base);
    if starts && ends && ascending {
        return Ok(());
    }
    Err(bad(entry, "has blocks that do not cover it"))
}

fn bad(entry: &Entry, why: &str) -> DecodeError {
    let why = format!("partition {} {why}", entry.partition);
    DecodeError::invalid("segment index", why)
}

fn too_short(have: usize) -> DecodeError {
    DecodeError::Truncated {
        what: "segment trailer",
        needed: TRAILER_BYTES,
        left: have,
    }
}

fn count_u32(count: usize) -> u32 {
    u32::try_from(count).expect("bounded by the builder's size")
}
