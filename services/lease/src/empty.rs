//! Empty extents given up early (J1, ADR 0012).
//!
//! An extent that was sealed before its checkpoint was complete counts as empty: it carries no data, and a takeover walks
//! past it. What was written of its checkpoint holds space on the log nodes all the same, and at full disks that may be the
//! very space which the next checkpoint needs. So what is behind the newest extent known to have a checkpoint is read, and
//! what has none is given up without waiting for a later one.
//!
//! # Crash consistency
//! As in [`crate::release`]: the rows go first.

use tidemark_journal::Reader;
use tidemark_meta::keys::cold::TierKey;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow};
use tidemark_meta::{Mode, TransactError, Transaction, keys, transact};
use tidemark_types::{ExtentIdx, Ownership};

use crate::leases::Inner;
use crate::release::is_tiered;
use crate::walk::{SealedRow, has_checkpoint, sealed_extents};
use crate::{NotOwner, OwnerError, TakeError, require};

/// Rows cleared in one transaction.
const CHUNK: usize = 100;

/// See [`crate::Leases::give_up_empty`].
pub(crate) async fn give_up(
    inner: &Inner,
    ownership: Ownership,
) -> Result<Vec<ExtentIdx>, TakeError> {
    let rows = sealed_extents(inner, ownership.shard, None).await?;
    // Without a mark nothing is known to be replayed from, and what there is stays.
    let Some(marked) = rows.iter().rposition(|sealed| sealed.row.ckpt) else {
        return Ok(Vec::new());
    };
    let reader = Reader::mutated(inner.nodes.clone(), inner.config.mutation);
    let mut empty: Vec<(ExtentKey, ExtentRow)> = Vec::new();
    for SealedRow { index, row, sealed } in rows.into_iter().skip(marked + 1) {
        // What an operator gave up of it may have been its checkpoint.
        if row.lost.is_none() && !has_checkpoint(&reader, &sealed).await? {
            let shard = ownership.shard;
            empty.push((ExtentKey { shard, index }, row));
        }
    }
    let mut gone = Vec::with_capacity(empty.len());
    for some in empty.chunks(CHUNK) {
        let cleared = transact::<_, NotOwner>(
            inner.store.as_ref(),
            &inner.clock,
            &inner.entropy,
            move |tx| Box::pin(clear(tx, ownership, some)),
        );
        let (cleared, _) = cleared
            .await
            .map_err(|error| match OwnerError::from(error) {
                OwnerError::NotOwner(why) => TakeError::Lost(why),
                OwnerError::Store(error) => TakeError::Store(error),
            })?;
        inner.note_commit();
        gone.extend(cleared);
    }
    Ok(gone)
}

/// Clears the rows that are still as they were read, and tiered: a sealed extent never changes (J8), but it may have been
/// given up, or marked.
async fn clear(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    rows: &[(ExtentKey, ExtentRow)],
) -> Result<Vec<ExtentIdx>, TransactError<NotOwner>> {
    require::<NotOwner>(tx, &ownership).await?;
    let tier = keys::get(tx, &TierKey(ownership.shard), Mode::Serializable).await?;
    let tier = tier.unwrap_or_default();
    let mut cleared = Vec::new();
    for (key, row) in rows {
        let stored = keys::get(tx, key, Mode::Serializable).await?;
        if stored.as_ref() == Some(row) && is_tiered(row, tier) {
            keys::clear(tx, key);
            cleared.push(key.index);
        }
    }
    Ok(cleared)
}
