//! The index a closed segment ends with: where each extent's frames lie in it.
//!
//! Count 4, then per extent: shard 4, extent 8, end LSN 8, bytes of frames 8, number of points 4, and per
//! point LSN 8, block offset 8. Ends are exclusive; the first point is the first frame.

use bytes::BufMut;
use tidemark_journal::ExtentId;
use tidemark_types::{DecodeError, ExtentIdx, Lsn, Reader, ShardId};

use super::len_u32;
use crate::state::{Piece, Point};

/// One extent's part of a segment.
pub(crate) type IndexPiece = (ExtentId, Piece);

pub(crate) fn encode_index<'a>(pieces: impl Iterator<Item = (ExtentId, &'a Piece)>) -> Vec<u8> {
    let mut out = vec![0; 4];
    let mut count = 0u32;
    for (extent, piece) in pieces {
        count += 1;
        out.put_u32(extent.shard.0);
        out.put_u64(extent.index.0);
        out.put_u64(piece.end.0);
        out.put_u64(piece.bytes);
        out.put_u32(len_u32(piece.points.len()));
        for point in &piece.points {
            out.put_u64(point.lsn.0);
            out.put_u64(point.offset);
        }
    }
    out[..4].copy_from_slice(&count.to_be_bytes());
    out
}

/// # Errors
/// When the bytes are cut or left over. Nothing is allocated that the bytes do not hold.
pub(crate) fn decode_index(bytes: &[u8], segment: u64) -> Result<Vec<IndexPiece>, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut pieces = Vec::new();
    for _ in 0..r.u32("index count")? {
        let shard = ShardId(r.u32("index shard")?);
        let index = ExtentIdx(r.u64("index extent")?);
        let end = Lsn(r.u64("index end")?);
        let bytes = r.u64("index bytes")?;
        let mut points = Vec::new();
        for _ in 0..r.u32("index points")? {
            let lsn = Lsn(r.u64("point lsn")?);
            let offset = r.u64("point offset")?;
            points.push(Point {
                lsn,
                offset,
                body: None,
            });
        }
        if points.is_empty() || points.iter().any(|p| p.lsn >= end) {
            return Err(DecodeError::invalid(
                "index points",
                "do not lie below the end",
            ));
        }
        let piece = Piece {
            segment,
            end,
            bytes,
            unindexed_bytes: 0,
            points,
        };
        pieces.push((ExtentId { shard, index }, piece));
    }
    r.finish("index")?;
    Ok(pieces)
}
