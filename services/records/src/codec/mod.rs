//! The five codecs, both ways. Decompression stops at a budget: a bomb costs its budget, never its claim.

mod snappy;

use std::io::{Read, Write};

use bytes::Bytes;

use crate::BatchError;

/// Address space a decoder may reserve besides its output, bytes: zstd's window at its library limit of 2²⁷
/// (touched only as far as output is written), lz4's two 4 MiB blocks and gzip's 32 KiB stay far below.
pub const CODEC_WORKING_BYTES_MAX: usize = (128 << 20) + (1 << 20);

/// How a batch's records are compressed; the numbers are the attributes' three low bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks, in the framing of Java's snappy library or bare.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// RFC 8878; KIP-110.
    Zstd = 4,
}

impl Compression {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of a code, if there is one.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The codec's code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The codec's name, as in Kafka's `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Compresses `plain`.
    pub(crate) fn compress(self, plain: &[u8]) -> Result<Vec<u8>, BatchError> {
        let failed = |e: std::io::Error| BatchError::Encode(format!("{}: {e}", self.name()));
        match self {
            Self::None => Ok(plain.to_vec()),
            Self::Gzip => {
                let mut to =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                to.write_all(plain).map_err(failed)?;
                to.finish().map_err(failed)
            }
            Self::Snappy => snappy::compress(plain),
            Self::Lz4 => {
                let mut to = lz4_flex::frame::FrameEncoder::new(Vec::new());
                to.write_all(plain).map_err(failed)?;
                to.finish()
                    .map_err(|e| BatchError::Encode(format!("lz4: {e}")))
            }
            Self::Zstd => zstd::stream::encode_all(plain, 0).map_err(failed),
        }
    }

    /// Decompresses `packed` to at most `budget` bytes. Uncompressed bytes are shared, not copied, and free.
    pub(crate) fn decompress(self, packed: &Bytes, budget: usize) -> Result<Bytes, BatchError> {
        let from = packed.as_ref();
        match self {
            Self::None => Ok(packed.clone()),
            Self::Gzip => self.drain(flate2::read::MultiGzDecoder::new(from), budget),
            Self::Snappy => snappy::decompress(from, budget),
            Self::Lz4 => self.drain(lz4_flex::frame::FrameDecoder::new(from), budget),
            Self::Zstd => {
                let from = zstd::stream::read::Decoder::with_buffer(from)
                    .map_err(|e| self.failed(e.to_string()))?;
                self.drain(from, budget)
            }
        }
    }

    fn drain(self, from: impl Read, budget: usize) -> Result<Bytes, BatchError> {
        let mut out = Vec::new();
        let limit = u64::try_from(budget).unwrap_or(u64::MAX).saturating_add(1);
        from.take(limit)
            .read_to_end(&mut out)
            .map_err(|e| self.failed(e.to_string()))?;
        if out.len() > budget {
            return Err(BatchError::OverBudget { budget });
        }
        Ok(out.into())
    }

    fn failed(self, why: String) -> BatchError {
        BatchError::Decompress {
            codec: self.name(),
            why,
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
