//! Snappy in the framing of Java's snappy library (xerial), which Kafka's clients write, and bare blocks,
//! which some others do.
//!
//! Framing: `82 53 4e 41 50 50 59 00`, two big-endian `u32` versions, then blocks of a big-endian `u32` length
//! and that many bytes of snappy.

use bytes::Bytes;

use super::Compression;
use crate::BatchError;

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const FRAMING_HEADER_BYTES: usize = 16;
/// Plain bytes per block when encoding; Kafka's clients use the same.
const BLOCK_BYTES: usize = 32 << 10;
/// Snappy's densest element copies 64 bytes for three; claims beyond 64 per byte are lies.
const EXPANSION_MAX: usize = 64;

pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::with_capacity(FRAMING_HEADER_BYTES + plain.len() / 2);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&1_u32.to_be_bytes());
    out.extend_from_slice(&1_u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(BLOCK_BYTES) {
        let packed = encoder
            .compress_vec(block)
            .map_err(|e| BatchError::Encode(format!("snappy: {e}")))?;
        let len = u32::try_from(packed.len())
            .map_err(|_| BatchError::Encode("snappy: block over 4 GiB".to_owned()))?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

pub(super) fn decompress(packed: &[u8], budget: usize) -> Result<Bytes, BatchError> {
    let mut out = Vec::new();
    if !packed.starts_with(MAGIC) {
        block(packed, budget, &mut out)?;
        return Ok(out.into());
    }
    let Some((_, mut rest)) = packed.split_at_checked(FRAMING_HEADER_BYTES) else {
        return Err(failed("framing header cut short"));
    };
    while !rest.is_empty() {
        let Some((len, after)) = rest.split_first_chunk::<4>() else {
            return Err(failed("block length cut short"));
        };
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let Some((packed_block, after)) = after.split_at_checked(len) else {
            return Err(failed("block cut short"));
        };
        block(packed_block, budget, &mut out)?;
        rest = after;
    }
    Ok(out.into())
}

/// Appends one block's plain bytes to `out`, which may grow to `budget`.
fn block(packed: &[u8], budget: usize, out: &mut Vec<u8>) -> Result<(), BatchError> {
    let claimed = snap::raw::decompress_len(packed).map_err(failed)?;
    if claimed > packed.len().saturating_mul(EXPANSION_MAX) {
        return Err(failed("length that the block cannot hold"));
    }
    if claimed > budget.saturating_sub(out.len()) {
        return Err(BatchError::OverBudget { budget });
    }
    let from = out.len();
    out.resize(from + claimed, 0);
    let written = snap::raw::Decoder::new()
        .decompress(packed, &mut out[from..])
        .map_err(failed)?;
    out.truncate(from + written);
    Ok(())
}

fn failed(why: impl ToString) -> BatchError {
    BatchError::Decompress {
        codec: Compression::Snappy.name(),
        why: why.to_string(),
    }
}
