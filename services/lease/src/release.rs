//! Release of hot extents that the object store holds (DESIGN section 4, J1, J12).
//!
//! # Crash consistency
//! The rows go first, in the transaction that decides; then the log nodes forget the frames. A crash in between leaves
//! frames that no row names: the next release or takeover forgets them.

use tidemark_journal::{ExtentId, Mutation, Release, Replica, ReplicaError};
use tidemark_meta::keys::cold::{TierKey, TierRow};
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::{Mode, TransactError, Transaction, keys, transact};
use tidemark_types::{ExtentIdx, Ownership, ShardId};

use crate::leases::Inner;
use crate::{NotOwner, OwnerError, require};

/// Extents looked at in one transaction.
const PAGE: usize = 200;

/// Clears the rows of what may go, up to and with `last`. Answers the first extent that is retained. Idempotent.
pub(crate) async fn release(
    inner: &Inner,
    ownership: Ownership,
    last: Option<ExtentIdx>,
) -> Result<ExtentIdx, OwnerError> {
    let (first, _) = transact::<_, NotOwner>(
        inner.store.as_ref(),
        &inner.clock,
        &inner.entropy,
        move |tx| Box::pin(clear_rows(tx, ownership, last, inner.config.mutation)),
    )
    .await?;
    inner.note_commit();
    Ok(first)
}

/// Decides by what is stored, at the moment of the release: an extent goes only if it is SEALED, tiered to its end, and a
/// later one has a committed checkpoint, so a takeover never needs it (J1, J12).
async fn clear_rows(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    last: Option<ExtentIdx>,
    mutation: Option<Mutation>,
) -> Result<ExtentIdx, TransactError<NotOwner>> {
    require::<NotOwner>(tx, &ownership).await?;
    let shard = ownership.shard;
    let tier = keys::get(tx, &TierKey(shard), Mode::Serializable).await?;
    let tiered = tier.unwrap_or_default();
    let range = ExtentKey::of_shard(shard);
    let rows: Vec<(ExtentKey, ExtentRow)> = keys::scan(tx, range, PAGE, Mode::Serializable).await?;
    let checkpoint = rows.iter().rev().find(|(_, row)| row.ckpt);
    let before = checkpoint.map_or(ExtentIdx(0), |(key, _)| key.index);
    let goes = |key: &ExtentKey, row: &ExtentRow| {
        let asked = last.is_some_and(|last| key.index <= last);
        let later = key.index < before || mutation == Some(Mutation::ReleaseBeforeCheckpoint);
        let tiered = is_tiered(row, tiered) || mutation == Some(Mutation::ReleaseUntiered);
        asked && later && tiered
    };
    for (key, row) in &rows {
        if !goes(key, row) {
            return Ok(key.index);
        }
        keys::clear(tx, key);
    }
    // The newest extent always stays, so only a shard without any gets here.
    Ok(ExtentIdx(0))
}

pub(crate) fn is_tiered(row: &ExtentRow, tiered: TierRow) -> bool {
    matches!(row.state, ExtentState::Sealed(end) if end <= tiered.tiered_lsn)
}

/// Has every log node forget what it holds of the shard's extents that have no row any more; `false`: some could not be
/// reached, or the rows could not be read, and may still hold them. The fence stays (J4).
pub(crate) async fn forget(inner: &Inner, ownership: &Ownership) -> bool {
    let mut all = true;
    for node in inner.nodes.ids() {
        let Some(replica) = inner.nodes.get(node) else {
            continue;
        };
        if let Err(error) = forget_on(inner, ownership, &*replica).await {
            let shard: ShardId = ownership.shard;
            tracing::debug!(%shard, %node, "forget released extents: {error}");
            all = false;
        }
    }
    all
}

/// Why a log node may still hold what was given up.
#[derive(Debug, thiserror::Error)]
enum ForgetError {
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    #[error(transparent)]
    Rows(#[from] OwnerError),
}

async fn forget_on(
    inner: &Inner,
    ownership: &Ownership,
    replica: &dyn Replica,
) -> Result<(), ForgetError> {
    let (shard, epoch) = (ownership.shard, ownership.epoch);
    let held = replica.extents().await?;
    let held = held.iter().map(|info| info.extent);
    let held: Vec<ExtentIdx> = held.filter(|e| e.shard == shard).map(|e| e.index).collect();
    for some in held.chunks(PAGE) {
        let asked = transact::<_, NotOwner>(
            inner.store.as_ref(),
            &inner.clock,
            &inner.entropy,
            move |tx| Box::pin(without_row(tx, *ownership, some)),
        );
        let (gone, _) = asked.await.map_err(OwnerError::from)?;
        for index in gone {
            let extent = ExtentId { shard, index };
            replica.release(Release { extent, epoch }).await?;
        }
    }
    Ok(())
}

/// Those of `held` that were given up. Rows never come back, and one that is not written yet is of an extent after the newest.
async fn without_row(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    held: &[ExtentIdx],
) -> Result<Vec<ExtentIdx>, TransactError<NotOwner>> {
    let shard = ownership.shard;
    let owned = require::<NotOwner>(tx, &ownership).await?;
    let mut gone = Vec::new();
    for index in held.iter().copied().filter(|i| Some(*i) < owned.newest) {
        let row = keys::get(tx, &ExtentKey { shard, index }, Mode::Serializable).await?;
        if row.is_none() {
            gone.push(index);
        }
    }
    Ok(gone)
}
