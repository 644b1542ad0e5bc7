//! Encoding of records, and of a batch around them.

use bytes::{BufMut, BytesMut};
use tidemark_types::limits;

use crate::checksum::crc32c;
use crate::header::{CRC_AT, CRC_FROM};
use crate::varint::{put_varlong, varlong_len};
use crate::{Batch, BatchError, BatchHeader, Compression, HEADER_BYTES, Header};

/// A record relative to its batch.
pub(crate) struct Relative<'a> {
    pub(crate) time_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [Header],
}

/// The records of a batch before compression, behind the header's place.
#[derive(Debug)]
pub(crate) struct Plain(BytesMut);

impl Plain {
    pub(crate) fn new() -> Self {
        Self(BytesMut::zeroed(HEADER_BYTES))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a record; refuses, with nothing added, one that takes the batch over `limits::BATCH_BYTES_MAX`.
    pub(crate) fn push(&mut self, record: &Relative<'_>) -> Result<(), BatchError> {
        let Relative {
            time_delta,
            key,
            value,
            headers,
            ..
        } = *record;
        let offset_delta = i64::from(record.offset_delta);
        let header_bytes = headers.iter().fold(0_usize, |sum, h| {
            sum.saturating_add(part_len(Some(&h.key)) + part_len(h.value.as_deref()))
        });
        let body = (1 + varlong_len(time_delta) + varlong_len(offset_delta))
            .saturating_add(part_len(key))
            .saturating_add(part_len(value))
            .saturating_add(varlong_len(to_i64(headers.len())))
            .saturating_add(header_bytes);
        let all = body.saturating_add(varlong_len(to_i64(body)));
        if all > limits::BATCH_BYTES_MAX - self.len().min(limits::BATCH_BYTES_MAX) {
            return Err(BatchError::Encode(format!(
                "a record of {body} bytes takes the batch over {} bytes",
                limits::BATCH_BYTES_MAX
            )));
        }
        let out = &mut self.0;
        out.reserve(all);
        put_varlong(out, to_i64(body));
        out.put_u8(0);
        put_varlong(out, time_delta);
        put_varlong(out, offset_delta);
        put_part(out, key);
        put_part(out, value);
        put_varlong(out, to_i64(headers.len()));
        for h in headers {
            put_part(out, Some(&h.key));
            put_part(out, h.value.as_deref());
        }
        Ok(())
    }

    /// Compresses as the header says, fills in its size and sum, and gives the batch.
    pub(crate) fn into_batch(self, mut header: BatchHeader) -> Result<Batch, BatchError> {
        let compression = header.compression()?;
        let mut bytes = if compression == Compression::None {
            self.0
        } else {
            let packed = compression.compress(&self.0[HEADER_BYTES..])?;
            let mut bytes = BytesMut::with_capacity(HEADER_BYTES + packed.len());
            bytes.put_bytes(0, HEADER_BYTES);
            bytes.put_slice(&packed);
            bytes
        };
        if bytes.len() > limits::BATCH_BYTES_MAX {
            return Err(BatchError::Encode(format!(
                "{} bytes compressed, {} allowed",
                bytes.len(),
                limits::BATCH_BYTES_MAX
            )));
        }
        header.size = bytes.len();
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        let crc = crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        // What it grew through is given back: batches are kept.
        let mut exact = Vec::from(bytes);
        exact.shrink_to_fit();
        Batch::parse_trusted(exact.into())
    }
}

fn put_part(out: &mut BytesMut, part: Option<&[u8]>) {
    match part {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_varlong(out, to_i64(bytes.len()));
            out.put_slice(bytes);
        }
    }
}

fn part_len(part: Option<&[u8]>) -> usize {
    part.map_or(1, |bytes| varlong_len(to_i64(bytes.len())) + bytes.len())
}

/// Lengths of slices fit: none is over `isize::MAX`.
fn to_i64(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}
