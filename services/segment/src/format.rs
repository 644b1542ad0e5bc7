//! The fixed parts: header and trailer, and the checksum.

use bytes::{BufMut, BytesMut};
use tidemark_types::{DecodeError, Epoch, Lsn, ObjectId, Offset, Reader, ShardId};

/// Bytes of the header, at the object's start.
pub const HEADER_BYTES: usize = 52;
/// Bytes of the trailer, at the object's end.
pub const TRAILER_BYTES: usize = 36;
const MAGIC: [u64; 2] = [
    u64::from_be_bytes(*b"tidemkL0"),
    u64::from_be_bytes(*b"tidemkL1"),
];
const TRAILER_MAGIC: [u32; 2] = [u32::from_be_bytes(*b"tdL0"), u32::from_be_bytes(*b"tdL1")];
const VERSION: u8 = 1;

/// What an object stands for. Ends are exclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Covers {
    /// Level 0: the committed frames of a shard, of all its partitions.
    Frames {
        /// First LSN.
        first: Lsn,
        /// The LSN after the last.
        end: Lsn,
    },
    /// Level 1: offsets of one partition, whether or not a record is left at each of them.
    Offsets {
        /// First offset.
        first: Offset,
        /// The offset after the last.
        end: Offset,
    },
}

impl Covers {
    /// 0 or 1, also the number in the format.
    #[must_use]
    pub const fn level(&self) -> u32 {
        match self {
            Self::Frames { .. } => 0,
            Self::Offsets { .. } => 1,
        }
    }

    const fn words(&self) -> [u64; 2] {
        match self {
            Self::Frames { first, end } => [first.0, end.0],
            Self::Offsets { first, end } => [first.0.cast_unsigned(), end.0.cast_unsigned()],
        }
    }
}

/// Which object it is and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its id: an object under a wrong name is noticed.
    pub object: ObjectId,
    /// What it stands for.
    pub covers: Covers,
}

impl Header {
    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(HEADER_BYTES);
        out.put_u64(MAGIC[self.covers.level() as usize]);
        out.put_u32(u32::from(VERSION) << 24);
        self.encode_fields(&mut out);
        out.put_u32(crc32c(&out));
        out
    }

    pub(crate) fn encode_fields(&self, out: &mut BytesMut) {
        out.put_u32(self.object.shard.0);
        out.put_u64(self.object.epoch.0);
        out.put_u32(self.object.number);
        out.put_u32(self.covers.level());
        for word in self.covers.words() {
            out.put_u64(word);
        }
    }

    /// Reads the object's first [`HEADER_BYTES`] bytes.
    ///
    /// # Errors
    /// When they are not a header this program knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let magic = r.u64("segment magic")?;
        if !MAGIC.contains(&magic) {
            return Err(DecodeError::invalid("segment magic", "not a cold segment"));
        }
        check_version(r.u32("segment version")?)?;
        let header = Self::decode_fields(&mut r)?;
        if magic != MAGIC[header.covers.level() as usize] {
            return Err(DecodeError::invalid("segment magic", "of another level"));
        }
        let covered = &bytes[..r.position()];
        check_crc("segment header", covered, r.u32("segment header crc")?)?;
        r.finish("segment header")?;
        Ok(header)
    }

    pub(crate) fn decode_fields(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let object = ObjectId {
            shard: ShardId(r.u32("segment shard")?),
            epoch: Epoch(r.u64("segment epoch")?),
            number: r.u32("segment number")?,
        };
        let covers = match r.u32("segment level")? {
            0 => Covers::Frames {
                first: Lsn(r.u64("segment first lsn")?),
                end: Lsn(r.u64("segment end lsn")?),
            },
            1 => Covers::Offsets {
                first: Offset(r.i64("segment first offset")?),
                end: Offset(r.i64("segment end offset")?),
            },
            other => {
                let why = format!("{other} is unknown, this build reads 0 and 1");
                return Err(DecodeError::invalid("segment level", why));
            }
        };
        Ok(Self { object, covers })
    }
}

/// Where the index is and what it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trailer {
    /// 0 or 1.
    pub(crate) level: u32,
    pub(crate) index_at: u64,
    pub(crate) index_bytes: u32,
    pub(crate) index_crc: u32,
    pub(crate) partitions: u32,
    pub(crate) blocks: u32,
}

impl Trailer {
    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(TRAILER_BYTES);
        out.put_u32(TRAILER_MAGIC[self.level as usize]);
        out.put_u32(u32::from(VERSION) << 24);
        out.put_u64(self.index_at);
        out.put_u32(self.index_bytes);
        out.put_u32(self.index_crc);
        out.put_u32(self.partitions);
        out.put_u32(self.blocks);
        out.put_u32(crc32c(&out));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let magic = r.u32("segment trailer magic")?;
        let level = (0u32..).zip(TRAILER_MAGIC).find(|(_, m)| *m == magic);
        let Some((level, _)) = level else {
            let why = "not the end of a cold segment";
            return Err(DecodeError::invalid("segment trailer magic", why));
        };
        check_version(r.u32("segment trailer version")?)?;
        let trailer = Self {
            level,
            index_at: r.u64("segment index position")?,
            index_bytes: r.u32("segment index length")?,
            index_crc: r.u32("segment index crc")?,
            partitions: r.u32("segment partition count")?,
            blocks: r.u32("segment block count")?,
        };
        let covered = &bytes[..r.position()];
        check_crc("segment trailer", covered, r.u32("segment trailer crc")?)?;
        r.finish("segment trailer")?;
        Ok(trailer)
    }
}

/// The version is the highest byte; the rest is zero.
fn check_version(word: u32) -> Result<(), DecodeError> {
    if word == u32::from(VERSION) << 24 {
        return Ok(());
    }
    let why = format!("{} is unknown, this build reads 1", word >> 24);
    Err(DecodeError::invalid("segment version", why))
}

pub(crate) fn check_crc(
    what: &'static str,
    covered: &[u8],
    stated: u32,
) -> Result<(), DecodeError> {
    if crc32c(covered) == stated {
        return Ok(());
    }
    Err(DecodeError::invalid(what, "fails its crc"))
}

/// Checks a block's bytes.
///
/// # Errors
/// When they are not the ones that were written.
pub fn verify(block: &crate::Block, bytes: &[u8]) -> Result<(), DecodeError> {
    check_crc("segment block", bytes, block.crc)
}

/// CRC32C (Castagnoli), as in Kafka's record batches.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    low_u32(crc_fast::checksum(
        crc_fast::CrcAlgorithm::Crc32Iscsi,
        bytes,
    ))
}

#[expect(clippy::cast_possible_truncation, reason = "a 32-bit CRC in a u64")]
pub(crate) const fn low_u32(crc: u64) -> u32 {
    crc as u32
}
