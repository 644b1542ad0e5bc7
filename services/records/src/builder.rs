//! Making batches, for producers that are not Kafka clients and for the log's own.

use tidemark_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::encode::{Plain, Relative};
use crate::header::Attributes;
use crate::{Batch, BatchError, BatchHeader, Compression, Header};

/// Gathers records into one batch with offsets from 0 on.
#[derive(Debug)]
pub struct BatchBuilder {
    compression: Compression,
    attributes: Attributes,
    producer: (ProducerId, ProducerEpoch, i32),
    plain: Plain,
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
            plain: Plain::new(),
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
        self.plain.push(&Relative {
            time_delta: timestamp.wrapping_sub(base),
            offset_delta: self.count,
            key,
            value,
            headers,
        })?;
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
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let header = BatchHeader {
            base_offset: Offset(0),
            size: 0,
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
        self.plain.into_batch(header)
    }
}
