//! A frame: one entry of a shard's journal, and its bytes.
//!
//! All integers big-endian:
//!
//! | at | field | bytes |
//! |---|---|---|
//! | 0 | magic `td` | 2 |
//! | 2 | format version, 1 | 1 |
//! | 3 | kind | 1 |
//! | 4 | shard | 4 |
//! | 8 | extent | 8 |
//! | 16 | LSN | 8 |
//! | 24 | writer epoch | 8 |
//! | 32 | CRC of the previous frame of the extent, 0 for its first | 4 |
//! | 36 | head length | 4 |
//! | 40 | number of payload parts | 4 |
//! | 44 | payload length | 4 |
//! | 48 | CRC32C of bytes 0..48, the part table and the head | 4 |
//! | 52 | part table: length, skip, CRC32C of the part's bytes from `skip` on | 12 each |
//! | … | head (the owner's format), then the parts | |
//!
//! The payload is not covered by the frame's own CRC but by its parts', which for a record batch is the
//! batch's own CRC32C: the bytes are summed once, at the door. The `skip` leading bytes of a part that no CRC
//! covers (a batch's first 21) must be reproducible from the head, and readers reproduce them.

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_types::{DecodeError, Epoch, ExtentIdx, Lsn, Reader, ShardId, limits};

use crate::ExtentId;

/// Bytes of a frame before its part table.
pub const FRAME_HEADER_BYTES: usize = 52;
const PART_BYTES: usize = 12;
const MAGIC: u16 = 0x7464;
const VERSION: u8 = 1;

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// Record batches and other changes of the shard's state.
    Data = 1,
    /// A part of the extent's checkpoint; more follow (J12).
    Checkpoint = 2,
    /// The checkpoint's last part: from here on the extent counts as non-empty (J1, J12).
    CheckpointEnd = 3,
}

/// One payload part and how it is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The bytes, verbatim.
    pub bytes: Bytes,
    /// Leading bytes that `crc` does not cover.
    pub skip: u32,
    /// CRC32C of `bytes[skip..]`.
    pub crc: u32,
}

/// What an owner puts into a frame; the journal adds the address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameBody {
    /// What it holds.
    pub kind: FrameKind,
    /// The owner's header section.
    pub head: Bytes,
    /// The payload.
    pub parts: Vec<Part>,
}

/// A frame with its address. Immutable: the same (shard, extent, LSN) never has other bytes (J7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The extent it belongs to.
    pub extent: ExtentId,
    /// Its sequence number.
    pub lsn: Lsn,
    /// The epoch of the owner that first wrote it.
    pub writer_epoch: Epoch,
    /// CRC of the frame before it in the extent, 0 for the first.
    pub prev_crc: u32,
    /// Its own CRC (header, part table, head).
    pub crc: u32,
    /// Its content.
    pub body: FrameBody,
    prefix: Bytes,
}

impl Frame {
    /// Packs a body at an address.
    ///
    /// # Panics
    /// When the body is over `limits::FRAME_BYTES_MAX`: owners bound what they gather.
    #[must_use]
    pub fn pack(
        extent: ExtentId,
        lsn: Lsn,
        writer_epoch: Epoch,
        prev_crc: u32,
        body: FrameBody,
    ) -> Self {
        let payload: usize = body.parts.iter().map(|p| p.bytes.len()).sum();
        let before_payload = FRAME_HEADER_BYTES + body.parts.len() * PART_BYTES + body.head.len();
        assert!(
            before_payload + payload <= limits::FRAME_BYTES_MAX,
            "frame over its bound"
        );
        let mut out = BytesMut::with_capacity(before_payload);
        out.put_u16(MAGIC);
        out.put_u8(VERSION);
        out.put_u8(body.kind as u8);
        out.put_u32(extent.shard.0);
        out.put_u64(extent.index.0);
        out.put_u64(lsn.0);
        out.put_u64(writer_epoch.0);
        out.put_u32(prev_crc);
        out.put_u32(len_u32(body.head.len()));
        out.put_u32(len_u32(body.parts.len()));
        out.put_u32(len_u32(payload));
        out.put_u32(0);
        for part in &body.parts {
            out.put_u32(len_u32(part.bytes.len()));
            out.put_u32(part.skip);
            out.put_u32(part.crc);
        }
        out.put_slice(&body.head);
        let crc = frame_crc(&out);
        out[48..52].copy_from_slice(&crc.to_be_bytes());
        Self {
            extent,
            lsn,
            writer_epoch,
            prev_crc,
            crc,
            body,
            prefix: out.freeze(),
        }
    }

    /// The encoded frame as slices to write in order: everything before the payload, then the parts.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.prefix).chain(self.body.parts.iter().map(|p| &p.bytes))
    }

    /// Bytes of the encoded frame.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.chunks().map(Bytes::len).sum()
    }

    /// Reads one frame off the start of `bytes` (more may follow) and checks its own CRC, not its payload's.
    /// Never trusts a length: nothing is allocated that `bytes` does not hold.
    ///
    /// # Errors
    /// When the bytes are too few, of another format, or fail the CRC.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u16("frame magic")? != MAGIC {
            return Err(DecodeError::invalid("frame magic", "not a frame"));
        }
        let version = r.u8("frame version")?;
        if version != VERSION {
            return Err(DecodeError::invalid(
                "frame version",
                format!("{version} is unknown, this build reads 1"),
            ));
        }
        let kind = match r.u8("frame kind")? {
            1 => FrameKind::Data,
            2 => FrameKind::Checkpoint,
            3 => FrameKind::CheckpointEnd,
            other => {
                return Err(DecodeError::invalid(
                    "frame kind",
                    format!("{other} is unknown"),
                ));
            }
        };
        let shard = ShardId(r.u32("frame shard")?);
        let extent = ExtentId {
            shard,
            index: ExtentIdx(r.u64("frame extent")?),
        };
        let lsn = Lsn(r.u64("frame lsn")?);
        let writer_epoch = Epoch(r.u64("frame writer epoch")?);
        let prev_crc = r.u32("frame previous crc")?;
        let head_len = r.u32("frame head length")? as usize;
        let part_count = r.u32("frame part count")? as usize;
        let payload_len = r.u32("frame payload length")? as usize;
        let crc = r.u32("frame crc")?;
        let table = r.take(part_count.saturating_mul(PART_BYTES), "frame part table")?;
        let head_at = r.position();
        r.take(head_len, "frame head")?;
        let payload_at = r.position();
        if frame_crc(&bytes[..payload_at]) != crc {
            return Err(DecodeError::invalid(
                "frame crc",
                "does not match the header",
            ));
        }
        r.take(payload_len, "frame payload")?;
        let parts = decode_parts(table, bytes.slice(payload_at..payload_at + payload_len))?;
        let head = bytes.slice(head_at..payload_at);
        let body = FrameBody { kind, head, parts };
        Ok(Self {
            extent,
            lsn,
            writer_epoch,
            prev_crc,
            crc,
            body,
            prefix: bytes.slice(..payload_at),
        })
    }

    /// The same frame in memory of its own, for one that is a small part of what was read.
    #[must_use]
    pub fn copied(&self) -> Self {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        for chunk in self.chunks() {
            out.put_slice(chunk);
        }
        let all = out.freeze();
        let mut at = self.prefix.len();
        let head = all.slice(at - self.body.head.len()..at);
        let parts = self.body.parts.iter().map(|part| {
            let from = at;
            at += part.bytes.len();
            Part {
                bytes: all.slice(from..at),
                ..*part
            }
        });
        Self {
            body: FrameBody {
                kind: self.body.kind,
                head,
                parts: parts.collect(),
            },
            prefix: all.slice(..self.prefix.len()),
            ..*self
        }
    }

    /// Checks the CRC of every payload part.
    ///
    /// # Errors
    /// Names the first part that fails.
    pub fn verify_payload(&self) -> Result<(), DecodeError> {
        for (i, part) in self.body.parts.iter().enumerate() {
            let covered = part.bytes.get(part.skip as usize..).unwrap_or_default();
            if crc32c(covered) != part.crc {
                return Err(DecodeError::invalid(
                    "frame payload",
                    format!("part {i} fails its crc"),
                ));
            }
        }
        Ok(())
    }
}

fn decode_parts(table: &[u8], payload: Bytes) -> Result<Vec<Part>, DecodeError> {
    let mut r = Reader::new(table);
    let mut at = 0usize;
    let mut parts = Vec::with_capacity(table.len() / PART_BYTES);
    while r.remaining() > 0 {
        let len = r.u32("part length")? as usize;
        let skip = r.u32("part skip")?;
        let crc = r.u32("part crc")?;
        let end = at.checked_add(len).filter(|end| *end <= payload.len());
        let end =
            end.ok_or_else(|| DecodeError::invalid("part length", "passes the payload's end"))?;
        parts.push(Part {
            bytes: payload.slice(at..end),
            skip,
            crc,
        });
        at = end;
    }
    if at != payload.len() {
        return Err(DecodeError::invalid(
            "part table",
            "does not cover the payload",
        ));
    }
    Ok(parts)
}

/// CRC of everything before the payload, with the CRC field itself left out.
fn frame_crc(prefix: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&prefix[..48]);
    digest.update(&prefix[52..]);
    low_u32(digest.finalize())
}

/// CRC32C (Castagnoli), as in Kafka's record batches.
#[must_use]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    low_u32(crc_fast::checksum(
        crc_fast::CrcAlgorithm::Crc32Iscsi,
        bytes,
    ))
}

#[expect(clippy::cast_possible_truncation, reason = "a 32-bit CRC in a u64")]
const fn low_u32(crc: u64) -> u32 {
    crc as u32
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("bounded by FRAME_BYTES_MAX")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Frame {
        let bytes = Bytes::from_static(b"xxpayload");
        let part = Part {
            crc: crc32c(&bytes[2..]),
            skip: 2,
            bytes,
        };
        let body = FrameBody {
            kind: FrameKind::Data,
            head: Bytes::from_static(b"head"),
            parts: vec![part],
        };
        let extent = ExtentId {
            shard: ShardId(3),
            index: ExtentIdx(7),
        };
        Frame::pack(extent, Lsn(42), Epoch(5), 0xfeed, body)
    }

    fn encoded(frame: &Frame) -> Bytes {
        frame
            .chunks()
            .fold(BytesMut::new(), |mut out, c| {
                out.put_slice(c);
                out
            })
            .freeze()
    }

    #[test]
    fn decodes_what_it_packed_and_checks_the_payload() {
        let frame = sample();
        let decoded = Frame::decode(&encoded(&frame)).unwrap();
        assert_eq!(decoded, frame);
        decoded.verify_payload().unwrap();
    }

    #[test]
    fn every_flipped_bit_outside_the_skipped_bytes_is_noticed() {
        let good = encoded(&sample());
        let skipped = good.len() - 9..good.len() - 7;
        for at in (0..good.len()).filter(|at| !skipped.contains(at)) {
            let mut bad = good.to_vec();
            bad[at] ^= 0x10;
            let noticed = Frame::decode(&Bytes::from(bad))
                .and_then(|f| f.verify_payload())
                .is_err();
            assert!(noticed, "bit flip at {at}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let good = encoded(&sample());
        for len in 0..good.len() {
            assert!(Frame::decode(&good.slice(..len)).is_err(), "length {len}");
        }
    }
}
