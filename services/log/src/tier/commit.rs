//! The transactions of an object's life: intent, commit, condemnation. Each begins with the owner's guard (J9).

use futures_util::FutureExt;
use tidemark_lease::{NotOwner, require};
use tidemark_meta::keys::cold::{
    GarbageRow, Level0Key, PendingKey, PendingRow, TierKey, TierRow, condemn,
};
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_meta::{MetaError, Mode, TransactError, Transaction, keys, transact};
use tidemark_types::{Lsn, ObjectId, Ownership};

use super::rows::Level0;
use crate::Mutation;
use crate::env::Env;

/// Objects condemned in one transaction at the most.
pub(crate) const CONDEMN_MAX: usize = 100;

/// Why a transaction of tiering did not commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Someone else owns the shard.
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    /// `tiered_lsn` is not where this owner left it, or the intent is gone: read the rows again.
    #[error("commit a cold segment: the rows are not as this owner left them")]
    Changed,
    /// The store failed. What it did is decided by running the same again (T1).
    #[error("commit a cold segment: {0}")]
    Store(#[from] MetaError),
}

impl From<TransactError<CommitError>> for CommitError {
    fn from(error: TransactError<CommitError>) -> Self {
        match error {
            TransactError::Refused(why) => why,
            TransactError::Store(error) => Self::Store(error),
        }
    }
}

pub(super) type Run<T> = Result<T, TransactError<CommitError>>;

/// Writes the intent. Idempotent.
pub(crate) async fn intend(
    env: &Env,
    ownership: Ownership,
    object: ObjectId,
) -> Result<(), CommitError> {
    let made_ms = env.clock.wall_ms();
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        async move {
            require::<CommitError>(tx, &ownership).await?;
            keys::put(tx, &PendingKey(object), &PendingRow { made_ms });
            Ok(())
        }
        .boxed()
    })
    .await?;
    Ok(())
}

/// Clears the intent of an object that becomes part of the log in this transaction.
///
/// T1: one that the collector cleared must not be committed, since the object may be gone; `lenient` is the mutation that does.
pub(super) async fn take_intent(
    tx: &mut dyn Transaction,
    object: ObjectId,
    lenient: bool,
) -> Run<()> {
    let pending = PendingKey(object);
    let intent = keys::get(tx, &pending, Mode::Serializable).await?;
    if intent.is_none() && !lenient {
        return Err(TransactError::Refused(CommitError::Changed));
    }
    keys::clear(tx, &pending);
    Ok(())
}

/// Moves `tiered_lsn` from `first` to `end`, and makes the object part of the log when there is one.
pub(crate) async fn advance(
    env: &Env,
    ownership: Ownership,
    (first, end): (Lsn, Lsn),
    segment: Option<Level0>,
) -> Result<(), CommitError> {
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        let lenient = env.config.breaks(Mutation::UnconditionalCommit);
        advance_in(tx, ownership, (first, end), segment, lenient).boxed()
    })
    .await?;
    Ok(())
}

async fn advance_in(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    (first, end): (Lsn, Lsn),
    segment: Option<Level0>,
    lenient: bool,
) -> Run<()> {
    if !lenient {
        require::<CommitError>(tx, &ownership).await?;
    }
    let key = TierKey(ownership.shard);
    let stored = keys::get(tx, &key, Mode::Serializable).await?;
    let tiered = stored.unwrap_or_default().tiered_lsn;
    // T1: under the same epoch nobody else moves it, so this is our own earlier success.
    if tiered >= end {
        return Ok(());
    }
    if tiered != first {
        return Err(TransactError::Refused(CommitError::Changed));
    }
    if let Some(Level0 { end, row }) = segment {
        take_intent(tx, row.object, lenient).await?;
        let shard = ownership.shard;
        keys::put(tx, &Level0Key { shard, end }, &row);
    }
    keys::put(tx, &key, &TierRow { tiered_lsn: end });
    Ok(())
}

/// Has the shard's state row name another object, and condemns the one before. Idempotent.
pub(crate) async fn name_state(
    env: &Env,
    ownership: Ownership,
    new: StateRow,
    not_before_ms: i64,
) -> Result<(), CommitError> {
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        name_state_in(tx, ownership, new, not_before_ms).boxed()
    })
    .await?;
    Ok(())
}

async fn name_state_in(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    new: StateRow,
    not_before_ms: i64,
) -> Run<()> {
    require::<CommitError>(tx, &ownership).await?;
    let key = StateKey(ownership.shard);
    let stored = keys::get(tx, &key, Mode::Serializable).await?;
    // T1: an id has one object, so this is our own earlier success.
    if stored == Some(new) {
        return Ok(());
    }
    let tier = keys::get(tx, &TierKey(ownership.shard), Mode::Serializable).await?;
    // A state beyond what is tiered would count frames that a rebuild cannot give back.
    let covered = tier.unwrap_or_default().tiered_lsn >= new.lsn;
    let newer = stored.is_none_or(|stored| stored.lsn < new.lsn);
    if !covered || !newer {
        return Err(TransactError::Refused(CommitError::Changed));
    }
    take_intent(tx, new.object, false).await?;
    keys::put(tx, &key, &new);
    if let Some(StateRow { object, .. }) = stored {
        condemn(tx, 0, &GarbageRow::new(object, not_before_ms));
    }
    Ok(())
}

/// Takes at most [`CONDEMN_MAX`] segments out of the log: their rows go, conditional on their identity, and the collector
/// deletes them after the grace. Idempotent: a row that is gone was condemned before.
pub(crate) async fn remove(
    env: &Env,
    ownership: Ownership,
    segments: &[Level0],
    not_before_ms: i64,
) -> Result<(), CommitError> {
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        let lives = env.config.breaks(Mutation::CondemnLive);
        remove_in(tx, ownership, segments, not_before_ms, lives).boxed()
    })
    .await?;
    Ok(())
}

async fn remove_in(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    segments: &[Level0],
    not_before_ms: i64,
    lives: bool,
) -> Run<()> {
    require::<CommitError>(tx, &ownership).await?;
    for (order, segment) in (0u16..).zip(segments) {
        let key = Level0Key {
            shard: ownership.shard,
            end: segment.end,
        };
        let stored = keys::get(tx, &key, Mode::Serializable).await?;
        if stored.is_some_and(|row| row.object == segment.row.object) {
            if !lives {
                keys::clear(tx, &key);
            }
            let object = segment.row.object;
            condemn(tx, order, &GarbageRow::new(object, not_before_ms));
        }
    }
    Ok(())
}
