//! Making batches, for producers that are not Kafka clients and for the log's own.

use bytes::{BufMut, BytesMut};
use tidemark_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, limits};

use crate::checksum::crc32c;
use crate::header::{Attributes, CRC_AT, CRC_FROM};
use crate::varint::{put_varlong, varlong_len};
use crate::{Batch, BatchError, BatchHeader, Compression, HEADER_BYTES, Header};

/// Gathers records into one batch with offsets from 0 on.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    attributes: Attributes,
    producer: (ProducerId, ProducerEpoch, i32),
    /// The header's place, then the records as they are before compression.
    plain: BytesMut,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            attributes: Attributes::default(),
            producer: (ProducerId::NONE, ProducerEpoch(-1), -1),
            plain: BytesMut::zeroed(HEADER_BYTES),
            count: 0,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
        }
    }

    /// Makes it an idempotent producer's batch.
    #[must_use]
    pub const fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, sequence: i32) -> Self {
        self.producer = (id, epoch, sequence);
        self
    }

    /// Makes it part of a transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.attributes = self.attributes.with_transactional();
        self
    }

    /// Makes it a control batch. Clients may not write such.
    #[must_use]
    pub const fn control(mut self) -> Self {
        self.attributes = self.attributes.with_control();
        self
    }

    /// Records gathered.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count.unsigned_abs() as usize
    }

    /// Whether no record was gathered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.plain.len()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`BatchError::Encode`], with nothing added, when the batch would pass `limits::BATCH_BYTES_MAX` before
    /// compression.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Result<(), BatchError> {
        let base = if self.count == 0 {
            timestamp
        } else {
            self.base_timestamp
        };
        let time_delta = timestamp.wrapping_sub(base);
        let header_bytes = headers.iter().fold(0_usize, |sum, h| {
            sum.saturating_add(part_len(Some(&h.key)) + part_len(h.value.as_deref()))
        });
        let body = (1 + varlong_len(time_delta) + varlong_len(i64::from(self.count)))
            .saturating_add(part_len(key))
            .saturating_add(part_len(value))
            .saturating_add(varlong_len(to_i64(headers.len())))
            .saturating_add(header_bytes);
        let all = body.saturating_add(varlong_len(to_i64(body)));
        if all > limits::BATCH_BYTES_MAX - self.plain.len().min(limits::BATCH_BYTES_MAX) {
            return Err(BatchError::Encode(format!(
                "a record of {body} bytes takes the batch over {} bytes",
                limits::BATCH_BYTES_MAX
            )));
        }
        let out = &mut self.plain;
        out.reserve(all);
        put_varlong(out, to_i64(body));
        out.put_u8(0);
        put_varlong(out, time_delta);
        put_varlong(out, i64::from(self.count));
        put_part(out, key);
        put_part(out, value);
        put_varlong(out, to_i64(headers.len()));
        for h in headers {
            put_part(out, Some(&h.key));
            put_part(out, h.value.as_deref());
        }
        self.base_timestamp = base;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
        Ok(())
    }

    /// Compresses, sums and gives the batch.
    ///
    /// # Errors
    /// [`BatchError::Encode`] when it is empty or does not compress into `limits::BATCH_BYTES_MAX`.
    pub fn build(self) -> Result<Batch, BatchError> {
        if self.count == 0 {
            return Err(BatchError::Encode("no records".to_owned()));
        }
        let mut bytes = if self.compression == Compression::None {
            self.plain
        } else {
            let packed = self.compression.compress(&self.plain[HEADER_BYTES..])?;
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
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let header = BatchHeader {
            base_offset: Offset(0),
            size: bytes.len(),
            leader_epoch: LeaderEpoch(-1),
            crc: 0,
            attributes: self.attributes.with_compression(self.compression),
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count: self.count,
        };
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        let crc = crc32c(&bytes[CRC_FROM..]);
        bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        Batch::parse_trusted(bytes.freeze())
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
