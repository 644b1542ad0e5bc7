//! Moving where partitions begin: the one thing that retention and DeleteRecords do (K3).

use futures_util::FutureExt;
use tidemark_lease::{NotOwner, require};
use tidemark_meta::keys::partition::PartitionKey;
use tidemark_meta::{MetaError, Mode, TransactError, Transaction, keys, transact};
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode, Offset, Ownership, PartitionId, PartitionIndex};

use crate::Mutation;
use crate::env::Env;
use crate::error::ReadError;
use crate::shard::Shard;

/// Partitions moved in one transaction.
pub(crate) const ROWS_MAX: usize = 256;

/// Why records were not deleted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TruncateError {
    /// The partition cannot be had, or the offset lies outside of it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The topic keeps the latest record of each key: which ones go is not for the client to say.
    #[error("delete records: the topic's cleanup.policy is compact only")]
    Compacted,
    /// The metadata store failed: try again.
    #[error("delete records: {0}")]
    Store(#[from] MetaError),
}

impl Coded for TruncateError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Read(error) => error.code(),
            Self::Compacted => ErrorCode::PolicyViolation,
            Self::Store(_) => ErrorCode::RequestTimedOut,
        }
    }
}

/// Raises where these partitions begin, in their rows first, then for this owner's readers. Idempotent; never lowers.
pub(crate) async fn raise(
    env: &Env,
    shard: &Shard,
    ownership: Ownership,
    starts: &[(PartitionId, Offset)],
) -> Result<(), TruncateError> {
    for some in starts.chunks(ROWS_MAX) {
        transact::<_, NotOwner>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
            let back = env.config.breaks(Mutation::StartMovedBack);
            raise_rows(tx, ownership, some, back).boxed()
        })
        .await
        .map_err(|error| match error {
            TransactError::Refused(_) => ReadError::NotLeader(shard.id).into(),
            TransactError::Store(error) => TruncateError::Store(error),
        })?;
        for (partition, start) in some {
            if let Some(view) = shard.view(*partition) {
                view.raise_log_start(*start);
            }
        }
    }
    Ok(())
}

/// See [`crate::Log::delete_records`].
pub(crate) async fn delete_records(
    env: &Env,
    shard: &Shard,
    topic: &Topic,
    index: PartitionIndex,
    before: Option<Offset>,
) -> Result<Offset, TruncateError> {
    let ownership = shard.ownership()?;
    let policy = topic.config.cleanup_policy;
    if policy.compact && !policy.delete {
        return Err(TruncateError::Compacted);
    }
    let id = topic.partition_id(index);
    let (log_start, high_watermark) = shard.view(id).map_or_else(Default::default, |view| {
        let shown = view.state.read();
        (shown.log_start, shown.high_watermark)
    });
    let before = before.unwrap_or(high_watermark);
    if before.0 < 0 || before > high_watermark {
        return Err(TruncateError::Read(ReadError::OffsetOutOfRange {
            offset: before,
            log_start,
            high_watermark,
        }));
    }
    // Under the epoch, so an owner whose high watermark is old moves nothing.
    raise(env, shard, ownership, &[(id, before)]).await?;
    Ok(before.max(log_start))
}

async fn raise_rows(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    starts: &[(PartitionId, Offset)],
    back: bool,
) -> Result<(), TransactError<NotOwner>> {
    require::<NotOwner>(tx, &ownership).await?;
    for (partition, start) in starts {
        let key = PartitionKey(*partition);
        // A topic that was deleted meanwhile has no row: nothing is to be moved.
        let row = keys::get(tx, &key, Mode::Serializable).await?;
        if let Some(mut row) = row.filter(|row| row.log_start < *start || back) {
            row.log_start = *start;
            keys::put(tx, &key, &row);
        }
    }
    Ok(())
}
