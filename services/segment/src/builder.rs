//! Gathers a shard's batches and gives the object, without copying them.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidemark_types::{Lsn, ObjectId, Offset, PartitionId};

use crate::format::{Covers, HEADER_BYTES, Header, low_u32};
use crate::index::{Block, Entry, Index};

/// A block closes once it has this many bytes: what a lookup reads at least.
const BLOCK_BYTES_TARGET: u64 = 64 << 10;
/// A partition's data at the most: block positions are 32 bits wide.
const PARTITION_BYTES_MAX: u64 = 1 << 31;

/// What a batch covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchSpan {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last.
    pub end: Offset,
    /// Its largest timestamp, ms since the Unix epoch.
    pub max_timestamp: i64,
}

/// A batch does not follow what was pushed before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutOfOrder {
    /// The partition.
    pub partition: PartitionId,
    /// The batch.
    pub span: BatchSpan,
    /// End of what is there.
    pub end: Offset,
}

impl std::fmt::Display for OutOfOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            partition,
            span,
            end,
        } = self;
        write!(
            f,
            "gather batch {}..{} of partition {partition}: it follows offset {end}",
            span.base, span.end
        )
    }
}

impl std::error::Error for OutOfOrder {}

#[derive(Debug)]
struct Gathered {
    chunks: Vec<Bytes>,
    bytes: u64,
    base: Offset,
    end: Offset,
    blocks: Vec<Block>,
    block_bytes: u64,
    digest: crc_fast::Digest,
}

/// Where what the object covers begins.
#[derive(Clone, Copy, Debug)]
enum First {
    Frame(Lsn),
    Offset(Offset),
}

/// An object being gathered. Holds references to the batches' memory, and little else.
#[derive(Debug)]
pub struct Builder {
    object: ObjectId,
    first: First,
    partitions: BTreeMap<PartitionId, Gathered>,
    bytes: u64,
    max_timestamp: i64,
}

/// A finished object.
#[derive(Debug)]
pub struct Built {
    /// Its bytes, in order.
    pub chunks: Vec<Bytes>,
    /// How many they are.
    pub bytes: u64,
    /// Where the footer index begins.
    pub index_at: u64,
    /// The largest timestamp of any batch, ms since the Unix epoch.
    pub max_timestamp: i64,
    /// What a reader will find in the footer.
    pub index: Index,
}

impl Builder {
    /// A level 0 object, for the frames from `first` on.
    #[must_use]
    pub const fn new(object: ObjectId, first: Lsn) -> Self {
        Self::starting(object, First::Frame(first))
    }

    /// A level 1 object, for one partition's offsets from `first` on.
    #[must_use]
    pub const fn of_partition(object: ObjectId, first: Offset) -> Self {
        Self::starting(object, First::Offset(first))
    }

    const fn starting(object: ObjectId, first: First) -> Self {
        Self {
            object,
            first,
            partitions: BTreeMap::new(),
            bytes: 0,
            max_timestamp: i64::MIN,
        }
    }

    /// Bytes of batches so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it holds no batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Adds a batch: its first bytes with offset and leader epoch in place, and the rest of it.
    ///
    /// # Errors
    /// When it does not lie behind the partition's batches so far; nothing was added.
    ///
    /// # Panics
    /// When one partition's data passes 2 GiB: callers close objects long before.
    pub fn push(
        &mut self,
        partition: PartitionId,
        span: BatchSpan,
        prefix: Bytes,
        rest: Bytes,
    ) -> Result<(), OutOfOrder> {
        let bytes = (prefix.len() + rest.len()) as u64;
        let known = self.partitions.get(&partition).map(|g| g.end);
        if span.base.0 < 0 || span.end <= span.base || known.is_some_and(|end| span.base < end) {
            return Err(OutOfOrder {
                partition,
                span,
                end: known.unwrap_or(Offset(0)),
            });
        }
        let gathered = self
            .partitions
            .entry(partition)
            .or_insert_with(|| Gathered::new(span.base));
        assert!(
            gathered.bytes + bytes <= PARTITION_BYTES_MAX,
            "a partition of a segment over its bound"
        );
        gathered.push(span, prefix, rest);
        self.bytes += bytes;
        self.max_timestamp = self.max_timestamp.max(span.max_timestamp);
        Ok(())
    }

    /// The level 0 object, holding the frames below `end`.
    ///
    /// # Panics
    /// When it was begun as a level 1 object.
    #[must_use]
    pub fn finish(self, end: Lsn) -> Built {
        let First::Frame(first) = self.first else {
            panic!("a level 1 object ends at an offset");
        };
        self.seal(Covers::Frames { first, end })
    }

    /// The level 1 object, standing for the offsets below `end`.
    ///
    /// # Panics
    /// When it was begun as a level 0 object, or holds other than one partition's batches within those offsets.
    #[must_use]
    pub fn finish_partition(self, end: Offset) -> Built {
        let First::Offset(first) = self.first else {
            panic!("a level 0 object ends at a frame");
        };
        let fits = |g: &Gathered| g.base >= first && g.end <= end;
        assert!(
            self.partitions.len() == 1 && self.partitions.values().all(fits),
            "a level 1 object holds one partition's batches, within its offsets"
        );
        self.seal(Covers::Offsets { first, end })
    }

    fn seal(self, covers: Covers) -> Built {
        let header = Header {
            object: self.object,
            covers,
        };
        let mut chunks = vec![header.encode().freeze()];
        let mut at = HEADER_BYTES as u64;
        let mut entries = Vec::with_capacity(self.partitions.len());
        let mut blocks = Vec::new();
        for (partition, mut gathered) in self.partitions {
            gathered.close_block();
            entries.push(Entry {
                partition,
                at,
                bytes: gathered.bytes,
                base: gathered.base,
                end: gathered.end,
                first_block: blocks.len(),
                blocks: gathered.blocks.len(),
            });
            at += gathered.bytes;
            blocks.append(&mut gathered.blocks);
            chunks.append(&mut gathered.chunks);
        }
        let index = Index {
            header,
            entries,
            blocks,
        };
        let tail = index.encode(at).freeze();
        let bytes = at + tail.len() as u64;
        chunks.push(tail);
        Built {
            chunks,
            bytes,
            index_at: at,
            max_timestamp: self.max_timestamp,
            index,
        }
    }
}

impl Gathered {
    fn new(base: Offset) -> Self {
        Self {
            chunks: Vec::new(),
            bytes: 0,
            base,
            end: base,
            blocks: Vec::new(),
            block_bytes: 0,
            digest: digest(),
        }
    }

    fn push(&mut self, span: BatchSpan, prefix: Bytes, rest: Bytes) {
        if self.block_bytes == 0 {
            self.blocks.push(Block {
                at: u32::try_from(self.bytes).expect("below PARTITION_BYTES_MAX"),
                base: span.base,
                max_timestamp: i64::MIN,
                crc: 0,
            });
        }
        if let Some(block) = self.blocks.last_mut() {
            block.max_timestamp = block.max_timestamp.max(span.max_timestamp);
        }
        for chunk in [prefix, rest] {
            self.digest.update(&chunk);
            self.block_bytes += chunk.len() as u64;
            self.bytes += chunk.len() as u64;
            self.chunks.push(chunk);
        }
        self.end = span.end;
        if self.block_bytes >= BLOCK_BYTES_TARGET {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        if self.block_bytes == 0 {
            return;
        }
        let done = std::mem::replace(&mut self.digest, digest());
        if let Some(block) = self.blocks.last_mut() {
            block.crc = low_u32(done.finalize());
        }
        self.block_bytes = 0;
    }
}

fn digest() -> crc_fast::Digest {
    crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi)
}
