//! The transactions that replace segments. Each begins with the owner's guard (J9) and is conditional on
//! the identity of the rows it replaces.

use futures_util::FutureExt;
use tidemark_lease::require;
use tidemark_meta::keys::cold::{GarbageRow, Level0Key, PendingKey, condemn};
use tidemark_meta::keys::cold1::Level1Key;
use tidemark_meta::{Mode, TransactError, Transaction, keys, transact};
use tidemark_types::{ObjectId, Ownership, PartitionId};

use super::commit::{CommitError, Run, take_intent};
use super::rows::{Level0, Level1};
use crate::Mutation;
use crate::env::Env;

/// What becomes of a partition's rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swap<'a> {
    pub(crate) partition: PartitionId,
    /// Neighbours that go; none: the new one comes behind all there are.
    pub(crate) gone: &'a [Level1],
    /// What covers the same offsets, or the next ones.
    pub(crate) new: Level1,
    /// When the objects that go may be deleted.
    pub(crate) not_before_ms: i64,
}

/// Replaces some of a partition's rows by one, whose intent becomes part of the log; the objects that go are condemned.
/// Idempotent: run again after an unknown outcome it finds its own row.
pub(crate) async fn swap(
    env: &Env,
    ownership: Ownership,
    swap: Swap<'_>,
) -> Result<(), CommitError> {
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        let lenient = env.config.breaks(Mutation::UnconditionalSwap);
        swap_in(tx, ownership, swap, lenient).boxed()
    })
    .await?;
    Ok(())
}

fn object(row: &Level1) -> Option<ObjectId> {
    row.row.object.map(|object| object.object)
}

async fn swap_in(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    swap: Swap<'_>,
    lenient: bool,
) -> Run<()> {
    if !lenient {
        require::<CommitError>(tx, &ownership).await?;
    }
    let key = |row: &Level1| Level1Key {
        shard: ownership.shard,
        partition: swap.partition,
        end: row.end,
    };
    let new = swap.new;
    if keys::get(tx, &key(&new), Mode::Serializable).await? == Some(new.row) {
        return Ok(());
    }
    let mut order = 0;
    for gone in swap.gone {
        let stored = keys::get(tx, &key(gone), Mode::Serializable).await?;
        if stored != Some(gone.row) && !lenient {
            return Err(TransactError::Refused(CommitError::Changed));
        }
        keys::clear(tx, &key(gone));
        if let Some(object) = object(gone).filter(|id| object(&new) != Some(*id)) {
            let not_before_ms = swap.not_before_ms;
            condemn(tx, order, &GarbageRow::new(object, not_before_ms));
            order += 1;
        }
    }
    let is_new = |id: &ObjectId| !swap.gone.iter().any(|gone| object(gone) == Some(*id));
    if let Some(id) = object(&new).filter(is_new) {
        take_intent(tx, id, lenient).await?;
    }
    keys::put(tx, &key(&new), &new.row);
    Ok(())
}

/// Replaces neighbours of level 0 by one whose LSN range is all of theirs, or by nothing when nothing of them is left to read.
/// Idempotent as [`swap`].
pub(crate) async fn squeeze(
    env: &Env,
    ownership: Ownership,
    gone: &[Level0],
    new: Option<Level0>,
    not_before_ms: i64,
) -> Result<(), CommitError> {
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        let lenient = env.config.breaks(Mutation::UnconditionalSwap);
        squeeze_in(tx, ownership, (gone, new), not_before_ms, lenient).boxed()
    })
    .await?;
    Ok(())
}

async fn squeeze_in(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    (gone, new): (&[Level0], Option<Level0>),
    not_before_ms: i64,
    lenient: bool,
) -> Run<()> {
    if !lenient {
        require::<CommitError>(tx, &ownership).await?;
    }
    let key = |segment: &Level0| Level0Key {
        shard: ownership.shard,
        end: segment.end,
    };
    let mut left = 0;
    for (order, segment) in (0u16..).zip(gone) {
        if keys::get(tx, &key(segment), Mode::Serializable).await? != Some(segment.row) {
            continue;
        }
        left += 1;
        keys::clear(tx, &key(segment));
        let object = segment.row.object;
        condemn(tx, order, &GarbageRow::new(object, not_before_ms));
    }
    // All are there, or this was done before; otherwise someone else was faster.
    let Some(new) = new else {
        return Ok(());
    };
    if left == 0 && keys::get(tx, &key(&new), Mode::Serializable).await? == Some(new.row) {
        return Ok(());
    }
    if left < gone.len() && !lenient {
        return Err(TransactError::Refused(CommitError::Changed));
    }
    take_intent(tx, new.row.object, lenient).await?;
    keys::put(tx, &key(&new), &new.row);
    Ok(())
}

/// Gives an intent of this epoch up, so that its object does not stay behind until the next one: the intent goes first, which
/// kills a late commit (T1). What was committed has none, and stays; so does the object when it is another's.
pub(crate) async fn abandon(
    env: &Env,
    ownership: Ownership,
    object: ObjectId,
    is_foreign: bool,
) -> Result<(), CommitError> {
    let not_before_ms = env.clock.wall_ms();
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        async move {
            require::<CommitError>(tx, &ownership).await?;
            let pending = PendingKey(object);
            if keys::get(tx, &pending, Mode::Serializable).await?.is_some() {
                keys::clear(tx, &pending);
                if !is_foreign {
                    condemn(tx, 0, &GarbageRow::new(object, not_before_ms));
                }
            }
            Ok(())
        }
        .boxed()
    })
    .await?;
    Ok(())
}

/// Takes rows out of the log, at most [`super::commit::CONDEMN_MAX`]. Idempotent: a row that is not as given is left alone.
pub(crate) async fn remove_own(
    env: &Env,
    ownership: Ownership,
    rows: &[(PartitionId, Level1)],
    not_before_ms: i64,
) -> Result<(), CommitError> {
    transact::<_, CommitError>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        remove_in(tx, ownership, rows, not_before_ms).boxed()
    })
    .await?;
    Ok(())
}

async fn remove_in(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    rows: &[(PartitionId, Level1)],
    not_before_ms: i64,
) -> Run<()> {
    require::<CommitError>(tx, &ownership).await?;
    for (order, (partition, row)) in (0u16..).zip(rows) {
        let key = Level1Key {
            shard: ownership.shard,
            partition: *partition,
            end: row.end,
        };
        if keys::get(tx, &key, Mode::Serializable).await? != Some(row.row) {
            continue;
        }
        keys::clear(tx, &key);
        if let Some(object) = object(row) {
            condemn(tx, order, &GarbageRow::new(object, not_before_ms));
        }
    }
    Ok(())
}
