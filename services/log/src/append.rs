//! What an append asks for and what it is answered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tidemark_records::BatchError;
use tidemark_types::{Coded, ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, ShardId};
use tokio::sync::oneshot;

/// A key by which a retried append is recognised, per partition (K5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey {
    /// The client's key, 1 to [`IdempotencyKey::BYTES_MAX`] bytes.
    pub key: Bytes,
    /// A fingerprint of what the client sent: the same key with another fingerprint is refused.
    pub fingerprint: u64,
}

impl IdempotencyKey {
    /// A key's length at the most, bytes.
    pub const BYTES_MAX: usize = 128;
}

/// Conditions of an append. The default has none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AppendOptions {
    /// Append only if the batch's first record gets this offset.
    pub expected_offset: Option<Offset>,
    /// Recognise a retry; checked before `expected_offset` (K5).
    pub idempotency: Option<IdempotencyKey>,
}

/// A durable append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppendAck {
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// The time the log gave its records, ms since the Unix epoch; `None` when the producer's timestamps
    /// stand (`message.timestamp.type=CreateTime`).
    pub log_append_time_ms: Option<i64>,
    /// The partition's first readable offset.
    pub log_start: Offset,
    /// The leader epoch of this owner.
    pub leader_epoch: LeaderEpoch,
    /// The batch was appended before; the offset is that of the first time.
    pub duplicate: bool,
}

/// Why an append was not acked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// This process does not own the shard (yet, or any more). Nothing was appended.
    #[error("append to shard {0}: not its owner")]
    NotLeader(ShardId),
    /// The shard stays closed: its WAL is damaged below a synced mark. Nothing was appended.
    #[error("append to shard {shard}: closed, {why}")]
    Closed {
        /// The shard.
        shard: ShardId,
        /// The damaged range.
        why: String,
    },
    /// The shard holds as many unacked bytes or batches as it may. Nothing was appended.
    #[error("append to shard {0}: too much is waiting for the disk")]
    Overloaded(ShardId),
    /// The shard's extent is as long as it may be and cannot roll: the metadata store is away. Nothing was appended.
    #[error("append to shard {0}: its extent is full and waits for the metadata store")]
    ExtentFull(ShardId),
    /// The topic has no such partition.
    #[error("append to partition: the topic has no such partition")]
    NoSuchPartition,
    /// The batch is over the topic's `max.message.bytes`.
    #[error("append batch of {bytes} bytes: the topic allows {max}")]
    TooLarge {
        /// The batch's bytes.
        bytes: usize,
        /// The topic's limit.
        max: usize,
    },
    /// A record breaks a rule of its topic.
    #[error("append batch: {0}")]
    InvalidRecord(String),
    /// A timestamp is outside the topic's bounds.
    #[error("append batch: timestamp {timestamp_ms} is outside the topic's bounds")]
    InvalidTimestamp {
        /// The timestamp, ms since the Unix epoch.
        timestamp_ms: i64,
    },
    /// The batch's records could not be read.
    #[error("append batch: {0}")]
    Batch(#[from] BatchError),
    /// A transactional batch without a transaction that registered the partition.
    #[error("append transactional batch: no transaction covers the partition")]
    NoTransaction,
    /// The request contradicts itself or a bound.
    #[error("append batch: {0}")]
    InvalidRequest(String),
    /// The producer's batch is not the next one, nor one of its last five.
    #[error("append batch of producer {producer}: sequence {got} follows {last}")]
    OutOfOrderSequence {
        /// The producer.
        producer: ProducerId,
        /// The batch's first sequence number.
        got: i32,
        /// The last one appended; −1 when the epoch has none.
        last: i32,
    },
    /// A newer epoch of this producer has appended.
    #[error("append batch of producer {producer}: epoch {got:?} is older than {current:?}")]
    InvalidProducerEpoch {
        /// The producer.
        producer: ProducerId,
        /// The batch's epoch.
        got: ProducerEpoch,
        /// The newest known.
        current: ProducerEpoch,
    },
    /// The condition does not hold. Nothing was appended.
    #[error("append at offset {expected}: the next offset is {next}")]
    ExpectedOffset {
        /// Asked for.
        expected: Offset,
        /// What the batch would have got.
        next: Offset,
    },
    /// The idempotency key was used for other content.
    #[error("append batch: the idempotency key was used for another request")]
    KeyReused,
    /// The disk is full or failed; the batch may or may not be kept.
    #[error("append to shard {shard}: {why}")]
    Storage {
        /// The shard.
        shard: ShardId,
        /// The failure.
        why: String,
    },
    /// The owner was fenced or stopped before the commit was known (K5).
    #[error("append to shard {0}: outcome unknown")]
    OutcomeUnknown(ShardId),
}

impl Coded for AppendError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader(_) => ErrorCode::NotLeader,
            Self::Closed { .. } | Self::Storage { .. } => ErrorCode::StorageError,
            Self::Overloaded(_) | Self::ExtentFull(_) => ErrorCode::Overloaded,
            Self::NoSuchPartition => ErrorCode::UnknownTopicOrPartition,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::InvalidRecord(_) => ErrorCode::InvalidRecord,
            Self::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
            Self::Batch(e) => e.code(),
            Self::NoTransaction => ErrorCode::InvalidTxnState,
            Self::InvalidRequest(_) | Self::KeyReused => ErrorCode::InvalidRequest,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequence,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::ExpectedOffset { .. } => ErrorCode::ExpectedOffsetMismatch,
            Self::OutcomeUnknown(_) => ErrorCode::OutcomeUnknown,
        }
    }
}

/// The result of an append to come. The append itself was enqueued when this was made: dropping it undoes
/// nothing (J7).
#[derive(Debug)]
#[must_use = "an append's result says whether it is durable"]
pub struct AppendFuture(Waiting);

#[derive(Debug)]
enum Waiting {
    Decided(Option<AppendError>),
    Enqueued(ShardId, oneshot::Receiver<Result<AppendAck, AppendError>>),
}

impl AppendFuture {
    pub(crate) const fn refused(error: AppendError) -> Self {
        Self(Waiting::Decided(Some(error)))
    }

    #[allow(dead_code)]
    pub(crate) const fn enqueued(
        shard: ShardId,
        answer: oneshot::Receiver<Result<AppendAck, AppendError>>,
    ) -> Self {
        Self(Waiting::Enqueued(shard, answer))
    }
}

impl Future for AppendFuture {
    type Output = Result<AppendAck, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Waiting::Decided(error) => Poll::Ready(Err(error
                .take()
                .expect("a future is not polled after it completed"))),
            // An owner that ends without an answer leaves the outcome open (K5).
            Waiting::Enqueued(shard, answer) => Pin::new(answer)
                .poll(cx)
                .map(|r| r.unwrap_or(Err(AppendError::OutcomeUnknown(*shard)))),
        }
    }
}
