//! What every piece of work on an owned shard's cold segments is given, and the steps that each takes: an intent, a put, a
//! commit, all of them again and again until it is known what became of them.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use tidemark_blob::{BlobError, BlobErrorKind, Put, Remedy};
use tidemark_journal::ReadError as JournalReadError;
use tidemark_runtime::Backoff;
use tidemark_types::{ObjectId, Ownership};

use super::Tier;
use super::build::BuildError;
use super::commit::{CommitError, intend};
use super::counters::count;
use super::objects::object_key;
use super::swap::abandon;
use crate::env::Env;
use crate::shard::Shard;

/// Longest pause after something failed that passes by itself.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Pause after something failed that waits for an operator.
pub(super) const OPERATOR_PAUSE: Duration = Duration::from_secs(30);

/// Why work ended early; what it committed stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    #[error("the shard is owned by someone else")]
    NotOwner,
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{0}")]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Commit(CommitError),
    #[error("read the state to save: {0}")]
    Read(#[from] JournalReadError),
}

impl RoundError {
    /// Another's object has the name: it must not be deleted.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::Blob(error) if error.kind() == BlobErrorKind::AlreadyExists)
    }
}

impl From<CommitError> for RoundError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotOwner(_) => Self::NotOwner,
            other => Self::Commit(other),
        }
    }
}

/// A shard's work under one ownership.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) env: &'a Env,
    pub(crate) tier: &'a Tier,
    pub(crate) shard: &'a Shard,
    pub(crate) ownership: Ownership,
}

impl Job<'_> {
    /// The id of an object that this ownership makes: no other has it, ever.
    pub(super) fn new_object(self) -> ObjectId {
        ObjectId {
            shard: self.shard.id,
            epoch: self.ownership.epoch,
            number: self.shard.cold.number(),
        }
    }

    fn still_owned(self) -> Result<(), RoundError> {
        match self.shard.ownership() {
            Ok(now) if now == self.ownership => Ok(()),
            _ => Err(RoundError::NotOwner),
        }
    }

    /// T1: until the store says what became of a transaction, the same is run again and again, while the shard is owned.
    /// Every try that failed is counted.
    pub(super) async fn until_known<F>(
        self,
        failures: &AtomicU64,
        run: impl Fn() -> F,
    ) -> Result<(), RoundError>
    where
        F: Future<Output = Result<(), CommitError>>,
    {
        let mut backoff = retries();
        while let Err(error) = run().await {
            match error {
                CommitError::Store(error) if error.is_retriable() => {
                    count(failures);
                    backoff.wait(&self.env.clock, &self.env.entropy).await;
                    self.still_owned()?;
                }
                other => return Err(other.into()),
            }
        }
        Ok(())
    }

    /// Writes the intent, then the object, again until it is there.
    pub(super) async fn put(self, object: ObjectId, chunks: &[Bytes]) -> Result<(), RoundError> {
        let Job {
            env,
            tier,
            shard,
            ownership,
        } = self;
        // The same intent again: another one would leave this one behind until the next epoch, should it have been written.
        self.until_known(&tier.counters.failures, || intend(env, ownership, object))
            .await?;
        let key = object_key(object).map_err(BlobError::from)?;
        let put = Put::new(key, chunks.to_vec(), &env.entropy);
        let mut backoff = retries();
        loop {
            let Err(error) = tier.objects.store().put(put.clone()).await else {
                return Ok(());
            };
            count(&tier.counters.failures);
            self.still_owned()?;
            match error.remedy() {
                Remedy::Retry => {
                    tracing::debug!(shard = %shard.id, "put again: {error}");
                    if let Some(wait) = error.retry_after() {
                        env.clock.sleep(wait.min(OPERATOR_PAUSE)).await;
                    }
                }
                Remedy::Operator => {
                    tracing::warn!(shard = %shard.id, "tiering waits: {error}. {}", error.kind().hint());
                    env.clock.sleep(OPERATOR_PAUSE).await;
                }
                Remedy::Final => return Err(error.into()),
            }
            backoff.wait(&env.clock, &env.entropy).await;
        }
    }

    /// As [`Job::put`]; when the object is refused for good nothing of it stays behind.
    pub(super) async fn put_or_give_up(
        self,
        object: ObjectId,
        chunks: &[Bytes],
    ) -> Result<(), RoundError> {
        let outcome = self.put(object, chunks).await;
        if let Err(error) = &outcome
            && !matches!(error, RoundError::NotOwner)
        {
            self.give_up(object, error.is_foreign()).await;
        }
        outcome
    }

    /// Takes back the intent of an object that will not be: as long as this epoch lasts nobody else does, and every try writes
    /// another one.
    pub(super) async fn give_up(self, object: ObjectId, is_foreign: bool) {
        if let Err(error) = abandon(self.env, self.ownership, object, is_foreign).await {
            // The next epoch collects it.
            tracing::debug!(shard = %self.shard.id, "abandon {object}: {error}");
        }
    }
}

pub(super) const fn retries() -> Backoff {
    Backoff::new(Duration::from_millis(100), RETRY_CAP, u32::MAX)
}
