//! The node's small state, at the start of every segment: nothing before the segment is needed to know what
//! the node holds, so older segments are recycled independently.
//!
//! | field | bytes |
//! |---|---|
//! | doubt: length and text, empty for none (J5) | 4 + n |
//! | number of shards; each: shard, fence, trust (0 none, 1 fenced, 2 from an extent), that extent | 4 + (4 8 1 8) each |
//! | number of extents; each: shard, extent, first, end, CRC of the last frame, flag and writer's epoch, epoch of the open, bytes, flag and limbo's first LSN, length and text of its reason | 4 + (4 8 8 8 4 1 8 8 8 1 8 4 n) each |
//! | number of closed segments with live frames; each: number, index offset, index bytes (0 for none) | 4 + (8 8 8) each |

use std::collections::BTreeMap;

use bytes::BufMut;
use tidemark_journal::ExtentId;
use tidemark_types::{DecodeError, Epoch, ExtentIdx, Lsn, Reader, ShardId};

use super::len_u32;
use crate::state::{Extent, Limbo, Shard, State, Trust};

/// A closed segment that holds frames of live extents, and where its index block lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LiveSegment {
    pub(crate) segment: u64,
    pub(crate) index_at: u64,
    /// Bytes of the index block, 0 when it has none.
    pub(crate) index_bytes: u64,
}

/// A decoded checkpoint. The extents have no pieces yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    pub(crate) segments: Vec<LiveSegment>,
}

impl Checkpoint {
    pub(crate) fn encode(state: &State, segments: &[LiveSegment]) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + state.extents.len() * 80);
        text(&mut out, state.doubt.as_deref().unwrap_or_default());
        out.put_u32(len_u32(state.shards.len()));
        for (id, shard) in &state.shards {
            let (tag, from) = match shard.trust {
                Trust::None => (0, 0),
                Trust::Fenced => (1, 0),
                Trust::From(index) => (2, index.0),
            };
            out.put_u32(id.0);
            out.put_u64(shard.fence.0);
            out.put_u8(tag);
            out.put_u64(from);
        }
        out.put_u32(len_u32(state.extents.len()));
        for (id, extent) in &state.extents {
            encode_extent(&mut out, *id, extent);
        }
        out.put_u32(len_u32(segments.len()));
        for live in segments {
            out.put_u64(live.segment);
            out.put_u64(live.index_at);
            out.put_u64(live.index_bytes);
        }
        out
    }

    /// # Errors
    /// When the bytes are cut, left over, or hold a value out of range.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let doubt = Some(read_text(&mut r)?).filter(|why| !why.is_empty());
        let mut shards = BTreeMap::new();
        for _ in 0..r.u32("checkpoint shards")? {
            let id = ShardId(r.u32("checkpoint shard")?);
            let fence = Epoch(r.u64("checkpoint fence")?);
            let tag = r.u8("checkpoint trust")?;
            let from = ExtentIdx(r.u64("checkpoint trust extent")?);
            let trust = match tag {
                0 => Trust::None,
                1 => Trust::Fenced,
                2 => Trust::From(from),
                other => return Err(DecodeError::invalid("checkpoint trust", format!("{other}"))),
            };
            shards.insert(id, Shard { fence, trust });
        }
        let mut extents = BTreeMap::new();
        for _ in 0..r.u32("checkpoint extents")? {
            let (id, extent) = decode_extent(&mut r)?;
            extents.insert(id, extent);
        }
        let mut segments = Vec::new();
        for _ in 0..r.u32("checkpoint segments")? {
            segments.push(LiveSegment {
                segment: r.u64("checkpoint segment")?,
                index_at: r.u64("checkpoint index offset")?,
                index_bytes: r.u64("checkpoint index bytes")?,
            });
        }
        r.finish("checkpoint")?;
        let state = State {
            shards,
            extents,
            doubt,
            frames_in: BTreeMap::new(),
        };
        Ok(Self { state, segments })
    }
}

fn encode_extent(out: &mut Vec<u8>, id: ExtentId, extent: &Extent) {
    out.put_u32(id.shard.0);
    out.put_u64(id.index.0);
    out.put_u64(extent.first.0);
    out.put_u64(extent.end.0);
    out.put_u32(extent.last_crc);
    out.put_u8(u8::from(extent.writer.is_some()));
    out.put_u64(extent.writer.unwrap_or_default().0);
    out.put_u64(extent.opened.0);
    out.put_u64(extent.bytes);
    out.put_u8(u8::from(extent.limbo.is_some()));
    out.put_u64(extent.limbo.as_ref().map_or(0, |l| l.from.0));
    text(out, extent.limbo.as_ref().map_or("", |l| &l.why));
}

fn decode_extent(r: &mut Reader<'_>) -> Result<(ExtentId, Extent), DecodeError> {
    let shard = ShardId(r.u32("extent shard")?);
    let index = ExtentIdx(r.u64("extent index")?);
    let first = Lsn(r.u64("extent first")?);
    let end = Lsn(r.u64("extent end")?);
    let last_crc = r.u32("extent last crc")?;
    let has_writer = r.u8("extent has writer")? != 0;
    let writer = Some(Epoch(r.u64("extent writer")?)).filter(|_| has_writer);
    let opened = Epoch(r.u64("extent opened")?);
    let bytes = r.u64("extent bytes")?;
    let has_limbo = r.u8("extent has limbo")? != 0;
    let from = Some(Lsn(r.u64("extent limbo")?)).filter(|_| has_limbo);
    let why = read_text(r)?;
    let extent = Extent {
        first,
        end,
        last_crc,
        writer,
        opened,
        bytes,
        limbo: from.map(|from| Limbo { from, why }),
        pieces: Vec::new(),
    };
    Ok((ExtentId { shard, index }, extent))
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.put_u32(len_u32(text.len()));
    out.put_slice(text.as_bytes());
}

fn read_text(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let len = r.u32("text length")? as usize;
    let bytes = r.take(len, "text")?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}
