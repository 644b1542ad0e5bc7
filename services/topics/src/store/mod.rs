//! Topics in the metadata store: the transactions, each idempotent, each within the bounds of one.

mod alter;
mod chunk;
mod create;
mod delete;
mod grow;
mod read;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidemark_meta::{Committed, MetaError, MetaStore, TransactError, Transaction, transact};
use tidemark_runtime::{Backoff, Clock, Entropy};
use tidemark_types::{ShardId, TenantId, TopicId};

pub(crate) use alter::Altering;
pub(crate) use chunk::Progress;
pub(crate) use create::{Created, Creating};
pub(crate) use grow::Growing;
pub(crate) use read::Stored;

use crate::{Placement, TopicError};

/// What a run of a transaction's closure answers.
pub(crate) type Run<T> = Result<T, TransactError<Refusal>>;

/// Why a transaction was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The caller is told.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// An earlier change of the topic is unfinished: finish it, then try again.
    #[error("an earlier change of topic {0} is unfinished")]
    Unfinished(TopicId),
}

impl From<TopicError> for TransactError<Refusal> {
    fn from(error: TopicError) -> Self {
        Self::Refused(Refusal::Topic(error))
    }
}

/// Tries of a read, and the longest wait between two: a lookup answers within a quarter second when the
/// store is down.
const READ_TRIES: u32 = 6;
const READ_WAIT_CAP: Duration = Duration::from_millis(50);

/// The metadata store with what transactions on it need.
#[derive(Clone, Debug)]
pub(crate) struct TopicStore {
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) shards: u32,
}

impl TopicStore {
    /// Runs a change to its end; unknown outcomes are resolved by running it again (J9).
    pub(crate) async fn change<'env, T>(
        &self,
        body: impl for<'t> FnMut(&'t mut (dyn Transaction + 'env)) -> BoxFuture<'t, Run<T>> + Send,
    ) -> Result<(T, Committed), Refusal> {
        transact(self.meta.as_ref(), &self.clock, &self.entropy, body)
            .await
            .map_err(|e| match e {
                TransactError::Refused(refusal) => refusal,
                TransactError::Store(e) => Refusal::Topic(TopicError::Store(e)),
            })
    }

    /// Runs a read, again a few times while the store cannot answer.
    pub(crate) async fn read<'env, T>(
        &self,
        mut body: impl for<'t> FnMut(
            &'t mut (dyn Transaction + 'env),
        ) -> BoxFuture<'t, Result<T, MetaError>>
        + Send,
    ) -> Result<T, TopicError> {
        let mut backoff = Backoff::new(Duration::from_millis(2), READ_WAIT_CAP, READ_TRIES);
        loop {
            let mut tx = self.meta.begin();
            match body(tx.as_mut()).await {
                Err(e) if e.is_retriable() => {
                    if !backoff.wait(&self.clock, &self.entropy).await {
                        return Err(TopicError::Store(e));
                    }
                }
                decided => return Ok(decided?),
            }
        }
    }
}

/// Where partition `index` of `topic` is placed: the partitions of one topic go round the shards, from a shard that
/// depends on the topic. Written to the partition's row, so this function may change (K10).
pub(crate) fn place(topic: TopicId, index: u32, shards: u32) -> Placement {
    let spread = topic.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let shard = (spread + u64::from(index)) % u64::from(shards.max(1));
    Placement {
        shard: ShardId(u32::try_from(shard).unwrap_or(0)),
        leader_epoch_base: 0,
    }
}

/// A topic by its full address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Address {
    pub(crate) tenant: TenantId,
    pub(crate) topic: TopicId,
}
