//! What an append asks for and what it is answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidemark_records::BatchError;
use tidemark_types::{
    Coded, Epoch, ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, ShardId,
};
use tokio::sync::oneshot;

use crate::backing::Backing;
use crate::env::Env;
use crate::poll::prove;
use crate::shard::Shard;

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
    /// What the batch's bytes are a slice of; absent when they are in memory of their own.
    pub backing: Option<Backing>,
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
    /// The log node's disk is nearly full, and the object store has not taken enough yet. Nothing was appended.
    #[error(
        "append to shard {0}: the log node's disk is nearly full and waits for the object store"
    )]
    DiskNearlyFull(ShardId),
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
    /// Records without a key, in a topic that keeps the latest value of each key.
    #[error("append batch: {total} of its records have no key, which a compacted topic needs")]
    RecordsWithoutKey {
        /// Their places in the batch, from 0: the first [`AppendError::RECORDS_NAMED_MAX`] of them.
        at: Vec<i32>,
        /// How many they are.
        total: usize,
    },
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

impl AppendError {
    /// Records that an error names at the most: an answer is not larger than what it answers.
    pub const RECORDS_NAMED_MAX: usize = 1_000;

    /// Whether nothing was appended for want of room: it may be had by waiting ([`crate::Log::room_within`]).
    #[must_use]
    pub const fn is_pressure(&self) -> bool {
        matches!(self, Self::Overloaded(_) | Self::DiskNearlyFull(_))
    }

    const fn rests_on_the_end(&self) -> bool {
        matches!(
            self,
            Self::ExpectedOffset { .. }
                | Self::OutOfOrderSequence { .. }
                | Self::InvalidProducerEpoch { .. }
                | Self::KeyReused
        )
    }
}

impl Coded for AppendError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader(_) => ErrorCode::NotLeader,
            Self::Closed { .. } | Self::Storage { .. } => ErrorCode::StorageError,
            Self::Overloaded(_) | Self::ExtentFull(_) | Self::DiskNearlyFull(_) => {
                ErrorCode::Overloaded
            }
            Self::NoSuchPartition => ErrorCode::UnknownTopicOrPartition,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::InvalidRecord(_) | Self::RecordsWithoutKey { .. } => ErrorCode::InvalidRecord,
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
#[must_use = "an append's result says whether it is durable"]
pub struct AppendFuture(Waiting);

enum Waiting {
    Decided(Option<AppendError>),
    Enqueued {
        env: Arc<Env>,
        shard: Arc<Shard>,
        /// Of the ownership it was submitted to.
        epoch: Epoch,
        answer: oneshot::Receiver<Result<AppendAck, AppendError>>,
    },
    Proving(BoxFuture<'static, AppendError>),
}

impl std::fmt::Debug for AppendFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppendFuture")
    }
}

impl AppendFuture {
    pub(crate) const fn refused(error: AppendError) -> Self {
        Self(Waiting::Decided(Some(error)))
    }

    pub(crate) const fn enqueued(
        env: Arc<Env>,
        shard: Arc<Shard>,
        epoch: Epoch,
        answer: oneshot::Receiver<Result<AppendAck, AppendError>>,
    ) -> Self {
        Self(Waiting::Enqueued {
            env,
            shard,
            epoch,
            answer,
        })
    }
}

/// K1: a refusal that rests on where the log ends, or on what a producer last wrote, is true only of the owner; one
/// that was replaced must not give it. The proof begins after the decision. Nothing was appended either way.
async fn proven(
    env: Arc<Env>,
    shard: Arc<Shard>,
    epoch: Epoch,
    refusal: AppendError,
) -> AppendError {
    // A later ownership of this process proves nothing about an earlier one's decision.
    let same = shard.ownership().is_ok_and(|o| o.epoch == epoch);
    if same && prove(&env, &shard).await.is_ok() {
        refusal
    } else {
        AppendError::NotLeader(shard.id)
    }
}

impl Future for AppendFuture {
    type Output = Result<AppendAck, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Waiting::Decided(error) => {
                    let error = error.take();
                    return Poll::Ready(Err(
                        error.expect("a future is not polled after it completed")
                    ));
                }
                Waiting::Enqueued {
                    env,
                    shard,
                    epoch,
                    answer,
                } => {
                    let answer = std::task::ready!(Pin::new(answer).poll(cx));
                    // An owner that ends without an answer leaves the outcome open (K5).
                    match answer.unwrap_or(Err(AppendError::OutcomeUnknown(shard.id))) {
                        Err(refusal) if refusal.rests_on_the_end() => {
                            let proof = proven(Arc::clone(env), Arc::clone(shard), *epoch, refusal);
                            self.0 = Waiting::Proving(Box::pin(proof));
                        }
                        decided => return Poll::Ready(decided),
                    }
                }
                Waiting::Proving(proof) => {
                    return Poll::Ready(Err(std::task::ready!(proof.as_mut().poll(cx))));
                }
            }
        }
    }
}
