//! One checked batch.

use bytes::{Bytes, BytesMut};
use tidemark_types::{LeaderEpoch, Offset};

use crate::checksum::{crc32c, replace_front};
use crate::header::{CRC_AT, CRC_FROM, LENGTH_END, MAGIC_AT, MAX_TIMESTAMP_AT};
use crate::{BatchError, BatchHeader, Compression, HEADER_BYTES, Records};

/// Bytes of a batch that no CRC covers, or that hold it: what a restamp may change.
pub const PREFIX_BYTES: usize = CRC_FROM;

/// A batch whose length, magic byte, CRC, compression code and counts were checked. The bytes are the
/// client's own, verbatim, until one of the two stamps below.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Checks that `bytes` are exactly one batch: length, magic byte, CRC32C (the only pass over the bytes),
    /// compression code, counts that are possible for a batch of the log.
    ///
    /// Control, transactional and compacted batches pass: what a *client* may append is
    /// [`Batch::check_produced`].
    ///
    /// # Errors
    /// What is wrong, see [`BatchError`].
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let batch = Self::parse_trusted(bytes)?;
        let actual = crc32c(&batch.bytes[CRC_FROM..]);
        if actual != batch.header.crc {
            return Err(BatchError::Crc {
                stated: batch.header.crc,
                actual,
            });
        }
        Ok(batch)
    }

    /// As [`Batch::parse`] without the CRC: for bytes that were checked before by whoever hands them on
    /// (a journal frame's part is summed when it is read).
    ///
    /// # Errors
    /// What is wrong, see [`BatchError`].
    pub fn parse_trusted(bytes: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        let have = bytes.len();
        if header.size > have {
            return Err(BatchError::Truncated {
                needed: header.size,
                have,
            });
        }
        if header.size < have {
            return Err(BatchError::Trailing {
                extra: have - header.size,
            });
        }
        header.compression()?;
        if header.last_offset_delta < 0 {
            return Err(BatchError::rule(format!(
                "last offset delta {} is negative",
                header.last_offset_delta
            )));
        }
        let span = i64::from(header.last_offset_delta) + 1;
        if header.record_count < 0 || i64::from(header.record_count) > span {
            return Err(BatchError::rule(format!(
                "{} records in {span} offsets",
                header.record_count
            )));
        }
        Ok(Self { header, bytes })
    }

    /// What Kafka asks of a batch that a client sends, as far as the header tells: at least one record, one
    /// offset per record, a sequence where there is a producer id, no control batch; and no bit that only the
    /// log sets or nobody defined.
    ///
    /// Whether a transactional batch is allowed here is for the caller to judge.
    ///
    /// # Errors
    /// [`BatchError::Rule`].
    pub fn check_produced(&self) -> Result<(), BatchError> {
        let h = &self.header;
        if h.record_count < 1 {
            return Err(BatchError::rule("no records"));
        }
        if i64::from(h.record_count) != i64::from(h.last_offset_delta) + 1 {
            return Err(BatchError::rule(format!(
                "{} records, but a last offset delta of {}",
                h.record_count, h.last_offset_delta
            )));
        }
        if h.attributes.is_control() {
            return Err(BatchError::rule("clients may not write control batches"));
        }
        if h.attributes.has_unknown_bits() || h.attributes.has_delete_horizon() {
            return Err(BatchError::rule(format!(
                "attributes {:#06x} have bits that clients may not set",
                h.attributes.0
            )));
        }
        if h.producer_id.is_some() && (h.base_sequence < 0 || h.producer_epoch.0 < 0) {
            return Err(BatchError::rule(
                "a producer id without a producer epoch and a base sequence",
            ));
        }
        if h.attributes.is_transactional() && !h.producer_id.is_some() {
            return Err(BatchError::rule(
                "a transactional batch without a producer id",
            ));
        }
        Ok(())
    }

    /// Whether the records of an uncompressed batch are as many as the header says, one offset each, and end where the
    /// batch ends (Kafka's INVALID_RECORD otherwise). Reads a few bytes per record and no key or value; right after the
    /// CRC, while the batch is in the processor's cache, it takes a fraction of the time of that.
    ///
    /// Compressed batches pass: what their records say is checked by whoever decodes them ([`Batch::records`]).
    ///
    /// # Errors
    /// [`BatchError::Record`].
    pub fn check_records(&self) -> Result<(), BatchError> {
        if self.compression() != Compression::None {
            return Ok(());
        }
        let count = usize::try_from(self.header.record_count).unwrap_or(0);
        crate::record::check_deltas(&self.bytes[HEADER_BYTES..], count)
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The compressed or plain records behind the header.
    #[must_use]
    pub fn payload(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// How the records are compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.header.compression().unwrap_or(Compression::None)
    }

    /// The first [`PREFIX_BYTES`] bytes with another base offset and leader epoch. They and
    /// `bytes().slice(PREFIX_BYTES..)` are the restamped batch, without a copy.
    #[must_use]
    pub fn patched_prefix(&self, base: Offset, epoch: LeaderEpoch) -> [u8; PREFIX_BYTES] {
        let mut prefix = [0; PREFIX_BYTES];
        prefix.copy_from_slice(&self.bytes[..PREFIX_BYTES]);
        prefix[..8].copy_from_slice(&base.0.to_be_bytes());
        prefix[LENGTH_END..MAGIC_AT].copy_from_slice(&epoch.0.to_be_bytes());
        prefix
    }

    /// Sets base offset and leader epoch: in place when no one else holds the buffer, else in a copy.
    #[must_use]
    pub fn restamp(mut self, base: Offset, epoch: LeaderEpoch) -> Self {
        let prefix = self.patched_prefix(base, epoch);
        self.header.base_offset = base;
        self.header.leader_epoch = epoch;
        self.bytes = overwrite(self.bytes, &prefix);
        self
    }

    /// Makes every record's timestamp `ms` (topics with `message.timestamp.type=LogAppendTime`): sets the
    /// attribute, the max timestamp and the CRC, whose change is computed from the header's bytes alone.
    #[must_use]
    pub fn with_log_append_time(mut self, ms: i64) -> Self {
        const CHANGED_END: usize = MAX_TIMESTAMP_AT + 8;
        let mut front = [0; CHANGED_END];
        front.copy_from_slice(&self.bytes[..CHANGED_END]);
        let attributes = self.header.attributes.with_log_append_time();
        front[CRC_FROM..CRC_FROM + 2].copy_from_slice(&attributes.0.to_be_bytes());
        front[MAX_TIMESTAMP_AT..].copy_from_slice(&ms.to_be_bytes());
        let crc = replace_front(
            self.header.crc,
            &self.bytes[CRC_FROM..CHANGED_END],
            &front[CRC_FROM..],
            self.bytes.len() - CHANGED_END,
        );
        front[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
        self.header.attributes = attributes;
        self.header.max_timestamp = ms;
        self.header.crc = crc;
        self.bytes = overwrite(self.bytes, &front);
        self
    }

    /// The records, decoded one at a time. `budget` bounds, in bytes, what decompression may give.
    ///
    /// # Errors
    /// [`BatchError::Decompress`] or [`BatchError::OverBudget`]; a record's own faults come with it.
    pub fn records(&self, budget: usize) -> Result<Records, BatchError> {
        Records::open(self, budget)
    }
}

/// `bytes` with its first bytes replaced by `front`.
fn overwrite(bytes: Bytes, front: &[u8]) -> Bytes {
    let mut own = bytes
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    own[..front.len()].copy_from_slice(front);
    own.freeze()
}
