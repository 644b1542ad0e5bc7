//! The 61-byte header of a v2 batch.
//!
//! | at | field | bytes |
//! |---|---|---|
//! | 0 | base offset | 8 |
//! | 8 | length of what follows this field | 4 |
//! | 12 | partition leader epoch | 4 |
//! | 16 | magic, 2 | 1 |
//! | 17 | CRC32C of everything from 21 on | 4 |
//! | 21 | attributes | 2 |
//! | 23 | last offset delta | 4 |
//! | 27 | base timestamp | 8 |
//! | 35 | max timestamp | 8 |
//! | 43 | producer id | 8 |
//! | 51 | producer epoch | 2 |
//! | 53 | base sequence | 4 |
//! | 57 | record count | 4 |

use tidemark_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::{BatchError, Compression};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 61;
/// Bytes before the part that the length field counts.
pub(crate) const LENGTH_END: usize = 12;
/// First byte that the CRC covers.
pub(crate) const CRC_FROM: usize = 21;
pub(crate) const CRC_AT: usize = 17;
pub(crate) const MAGIC_AT: usize = 16;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
pub(crate) const MAGIC: i8 = 2;

const COMPRESSION_BITS: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;
const DELETE_HORIZON_BIT: i16 = 0x40;
const KNOWN_BITS: i16 = 0x7f;

/// Whose clock a batch's timestamps come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TimestampType {
    /// The producer's: each record has its own.
    #[default]
    CreateTime,
    /// The log's: every record has the batch's max timestamp.
    LogAppendTime,
}

/// The attributes' bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::Compression`] for a code that does not exist.
    pub fn compression(self) -> Result<Compression, BatchError> {
        let code = (self.0 & COMPRESSION_BITS).to_be_bytes()[1];
        Compression::from_code(code).ok_or(BatchError::Compression { code })
    }

    /// Whose clock the timestamps come from.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL_BIT != 0
    }

    /// A transaction marker or another control batch; never handed to readers as data.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }

    /// The base timestamp is a delete horizon (KIP-534); set by compaction only.
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON_BIT != 0
    }

    /// Whether a bit is set that the format does not define.
    #[must_use]
    pub const fn has_unknown_bits(self) -> bool {
        self.0 & !KNOWN_BITS != 0
    }

    pub(crate) const fn with_compression(self, compression: Compression) -> Self {
        Self((self.0 & !COMPRESSION_BITS) | compression.code() as i16)
    }

    pub(crate) const fn with_log_append_time(self) -> Self {
        Self(self.0 | LOG_APPEND_TIME_BIT)
    }

    pub(crate) const fn with_delete_horizon(self) -> Self {
        Self(self.0 | DELETE_HORIZON_BIT)
    }

    pub(crate) const fn with_transactional(self) -> Self {
        Self(self.0 | TRANSACTIONAL_BIT)
    }

    pub(crate) const fn with_control(self) -> Self {
        Self(self.0 | CONTROL_BIT)
    }
}

/// A batch's header as stored. Parsing checks lengths and the magic byte, not the CRC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes of the whole batch, the twelve before the length field's count included.
    pub size: usize,
    /// Leader epoch it was appended under; −1 from clients.
    pub leader_epoch: LeaderEpoch,
    /// CRC32C of the bytes from 21 on, as stated.
    pub crc: u32,
    /// Compression, timestamp type and flags.
    pub attributes: Attributes,
    /// Offset of the last record minus the first's. Kept by compaction when records go.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, ms since the Unix epoch.
    pub base_timestamp: i64,
    /// Largest timestamp, ms since the Unix epoch.
    pub max_timestamp: i64,
    /// Idempotent producer, or −1.
    pub producer_id: ProducerId,
    /// Its epoch, or −1.
    pub producer_epoch: ProducerEpoch,
    /// Sequence number of the first record, or −1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `buf`, which may go on behind the batch.
    ///
    /// # Errors
    /// [`BatchError::Magic`] for another message format, else `Truncated` or `Length`. That `buf` holds the
    /// whole batch is not checked.
    pub fn parse(buf: &[u8]) -> Result<Self, BatchError> {
        check_magic(buf)?;
        let Some((head, _)) = buf.split_first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Truncated {
                needed: HEADER_BYTES,
                have: buf.len(),
            });
        };
        let length = i32::from_be_bytes(field(head, 8));
        Ok(Self {
            base_offset: Offset(i64::from_be_bytes(field(head, 0))),
            size: size_from_length(length)?,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(head, LENGTH_END))),
            crc: u32::from_be_bytes(field(head, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(head, CRC_FROM))),
            last_offset_delta: i32::from_be_bytes(field(head, 23)),
            base_timestamp: i64::from_be_bytes(field(head, 27)),
            max_timestamp: i64::from_be_bytes(field(head, MAX_TIMESTAMP_AT)),
            producer_id: ProducerId(i64::from_be_bytes(field(head, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(head, 51))),
            base_sequence: i32::from_be_bytes(field(head, 53)),
            record_count: i32::from_be_bytes(field(head, 57)),
        })
    }

    /// Writes the header's bytes, magic included.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let length = i32::try_from(self.size - LENGTH_END).unwrap_or(i32::MAX);
        out[..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[MAGIC_AT] = MAGIC.to_be_bytes()[0];
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .0
                .saturating_add(self.last_offset_delta as i64),
        )
    }

    /// Offset after the last record.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`BatchError::Compression`] for a code that does not exist; never for a parsed [`crate::Batch`].
    pub fn compression(&self) -> Result<Compression, BatchError> {
        self.attributes.compression()
    }

    /// Sequence number of the last record; wraps from `i32::MAX` to 0 as Kafka's does.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }
}

/// Refuses another message format; the magic byte is at the same place in all of them.
pub(crate) fn check_magic(buf: &[u8]) -> Result<(), BatchError> {
    match buf.get(MAGIC_AT).map(|b| i8::from_be_bytes([*b])) {
        Some(magic) if magic != MAGIC => Err(BatchError::Magic { magic }),
        _ => Ok(()),
    }
}

/// The whole batch's size from its length field.
pub(crate) fn size_from_length(length: i32) -> Result<usize, BatchError> {
    match usize::try_from(length) {
        Ok(n) if n + LENGTH_END >= HEADER_BYTES => Ok(n + LENGTH_END),
        _ => Err(BatchError::Length { length }),
    }
}

fn field<const N: usize>(head: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    head[at..at + N]
        .try_into()
        .expect("a field lies inside the header")
}
