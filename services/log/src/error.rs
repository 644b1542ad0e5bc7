//! Why a read was refused.

use tidemark_types::{Coded, ErrorCode, Offset, ShardId};

/// Why a fetch, an offset lookup or an epoch lookup failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// This process does not own the shard (yet, or any more).
    #[error("read shard {0}: not its owner")]
    NotLeader(ShardId),
    /// The shard stays closed: its WAL is damaged below a synced mark.
    #[error("read shard {shard}: closed, {why}")]
    Closed {
        /// The shard.
        shard: ShardId,
        /// The damaged range.
        why: String,
    },
    /// The topic has no such partition.
    #[error("read partition: the topic has no such partition")]
    NoSuchPartition,
    /// The client's leader epoch is older than ours.
    #[error("read partition: the request's leader epoch is old")]
    FencedLeaderEpoch,
    /// The client's leader epoch is newer than ours.
    #[error("read partition: the request's leader epoch is newer than this owner's")]
    UnknownLeaderEpoch,
    /// The offset is below log_start, or above the high watermark of a proven owner (K2).
    #[error("read offset {offset}: the log covers {log_start} to {high_watermark}")]
    OffsetOutOfRange {
        /// Asked for.
        offset: Offset,
        /// First readable offset.
        log_start: Offset,
        /// End of the readable log, exclusive.
        high_watermark: Offset,
    },
    /// The end of the log could not be proven just now (K1, K2).
    #[error("read the end of shard {0}: ownership is not proven")]
    EndNotProven(ShardId),
    /// The object store does not give a cold segment just now: retry.
    #[error("read cold batches: {0}")]
    ColdUnavailable(String),
    /// The journal or a stored batch could not be read.
    #[error("read stored batches: {0}")]
    Storage(String),
}

impl Coded for ReadError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader(_) => ErrorCode::NotLeader,
            Self::Closed { .. } | Self::Storage(_) | Self::ColdUnavailable(_) => {
                ErrorCode::StorageError
            }
            Self::NoSuchPartition => ErrorCode::UnknownTopicOrPartition,
            Self::FencedLeaderEpoch => ErrorCode::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch => ErrorCode::UnknownLeaderEpoch,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::EndNotProven(_) => ErrorCode::OffsetNotAvailable,
        }
    }
}
