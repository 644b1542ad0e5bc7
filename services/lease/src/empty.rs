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
use crate::{NotOwner, TakeError, require};

/// Rows cleared in one transaction.
const CHUNK: usize = 100;

/// See [`crate::Leases::give_up_empty`].
pub(crate) async fn give_up(
    inner: &Inner,
    ownership: Ownership,
) -> Result<Vec<ExtentIdx>, TakeError> {
    let shard = ownership.shard;
    let rows = sealed_extents(inner, shard, None).await?;
    // Without a mark nothing is known to be replayed from, and what there is stays.
    let marked = rows.iter().rposition(|sealed| sealed.row.ckpt);
    let behind = marked.map_or(rows.len(), |at| at + 1);
    let mut left: Vec<ExtentIdx> = rows.iter().map(|sealed| sealed.index).collect();
    let reader = Reader::mutated(inner.nodes.clone(), inner.config.mutation);
    let mut empty: Vec<(ExtentKey, ExtentRow)> = Vec::new();
    for SealedRow { index, row, sealed } in rows.into_iter().skip(behind) {
        // What an operator gave up of it may have been its checkpoint.
        if row.lost.is_none() && !has_checkpoint(&reader, &sealed).await? {
            empty.push((ExtentKey { shard, index }, row));
        }
    }
    for some in empty.chunks(CHUNK) {
        let cleared = transact::<_, NotOwner>(
            inner.store.as_ref(),
            &inner.clock,
            &inner.entropy,
            move |tx| Box::pin(clear(tx, ownership, some)),
        );
        let (cleared, _) = cleared.await?;
        inner.note_commit();
        left.retain(|index| !cleared.contains(index));
    }
    Ok(left)
}

/// Clears the rows that are still as they were read, and tiered: a sealed extent never changes (J8), but it may have been
/// marked. Answers which are gone. Idempotent: one that is gone already was cleared by an earlier try.
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
        let goes = stored.as_ref() == Some(row) && is_tiered(row, tier);
        if goes {
            keys::clear(tx, key);
        }
        if goes || stored.is_none() {
            cleared.push(key.index);
        }
    }
    Ok(cleared)
}
