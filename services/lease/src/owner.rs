//! What an owner writes about its shard, and how it proves that it still is one.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tidemark_journal::{Extent, Probe, ReplicaError};
use tidemark_meta::keys::extent::{ExtentKey, ExtentState};
use tidemark_meta::keys::shard::{ShardKey, ShardRow, ShardState};
use tidemark_meta::{MetaError, Mode, TransactError, keys, transact};
use tidemark_types::{ExtentIdx, Lsn, Ownership};

use crate::claim::extent_row;
use crate::leases::Inner;
use crate::ownership::not_owner;
use crate::{NotOwner, OwnerError, ProbeError, require};

/// J12: `ckpt` is set only after the checkpoint's commit, under the epoch that wrote it or a later one that found it complete.
pub(crate) async fn mark_checkpoint(
    inner: &Inner,
    ownership: Ownership,
    index: ExtentIdx,
) -> Result<(), OwnerError> {
    transact::<_, NotOwner>(
        inner.store.as_ref(),
        &inner.clock,
        &inner.entropy,
        move |tx| {
            Box::pin(async move {
                require::<NotOwner>(tx, &ownership).await?;
                let shard = ownership.shard;
                let mut row = extent_row(tx, shard, index).await?;
                if !row.ckpt {
                    row.ckpt = true;
                    keys::put(tx, &ExtentKey { shard, index }, &row);
                }
                Ok(())
            })
        },
    )
    .await?;
    inner.note_commit();
    Ok(())
}

pub(crate) async fn mark_serving(inner: &Inner, ownership: Ownership) -> Result<(), OwnerError> {
    transact::<_, NotOwner>(
        inner.store.as_ref(),
        &inner.clock,
        &inner.entropy,
        move |tx| {
            Box::pin(async move {
                let row = require::<NotOwner>(tx, &ownership).await?;
                let state = ShardState::Serving;
                keys::put(tx, &ShardKey(ownership.shard), &ShardRow { state, ..row });
                Ok(())
            })
        },
    )
    .await?;
    inner.note_commit();
    Ok(())
}

/// Seals the newest extent at `end`, with no other behind it: the next taker makes that. The writer has stopped and
/// nothing beyond `end` was acked, so the end is decided without a fence. Idempotent.
pub(crate) async fn seal_last(
    inner: &Inner,
    ownership: Ownership,
    index: ExtentIdx,
    end: Lsn,
) -> Result<(), OwnerError> {
    transact::<_, NotOwner>(
        inner.store.as_ref(),
        &inner.clock,
        &inner.entropy,
        move |tx| {
            Box::pin(async move {
                let shard = ownership.shard;
                let owned = require::<NotOwner>(tx, &ownership).await?;
                let mut row = extent_row(tx, shard, index).await?;
                if row.state == ExtentState::Sealed(end) {
                    return Ok(());
                }
                // J8: a sealed end never moves.
                if row.state != ExtentState::Open || owned.newest != Some(index) || end < row.first
                {
                    let why =
                        format!("extent {index} of shard {shard} is not to be sealed at {end}");
                    return Err(TransactError::Store(MetaError::Corrupt(why)));
                }
                row.state = ExtentState::Sealed(end);
                keys::put(tx, &ExtentKey { shard, index }, &row);
                Ok(())
            })
        },
    )
    .await?;
    inner.note_commit();
    Ok(())
}

/// Idempotent: a released row under the same epoch is this call's earlier success.
pub(crate) async fn release(inner: &Inner, ownership: Ownership) -> Result<(), OwnerError> {
    transact::<_, NotOwner>(
        inner.store.as_ref(),
        &inner.clock,
        &inner.entropy,
        move |tx| {
            Box::pin(async move {
                let key = ShardKey(ownership.shard);
                let row = keys::get(tx, &key, Mode::Serializable).await?;
                let Some(row) = row.filter(|row| row.epoch == ownership.epoch) else {
                    let why = not_owner(&ownership, None);
                    return Err(TransactError::Refused(why));
                };
                if row.owner.is_none() {
                    return Ok(());
                }
                require::<NotOwner>(tx, &ownership).await?;
                let released = ShardRow {
                    owner: None,
                    state: ShardState::Released,
                    ..row
                };
                keys::put(tx, &key, &released);
                Ok(())
            })
        },
    )
    .await?;
    Ok(())
}

/// K1: A replicas answer, after this call began, that nobody fenced them above this epoch. A newer owner needs F fenced
/// ones before it moves the end, and any A meet any F.
pub(crate) async fn probe(
    inner: &Inner,
    ownership: &Ownership,
    extent: &Extent,
) -> Result<(), ProbeError> {
    let needed = extent.replicas.ack_quorum();
    let asked = extent.replicas.nodes().iter().map(|&node| async move {
        let unknown = || ReplicaError::Unreachable(format!("log node {node} is not known here"));
        let replica = inner.nodes.get(node).ok_or_else(unknown)?;
        let request = Probe { extent: extent.id };
        match tokio::time::timeout(inner.config.recover.call_timeout, replica.probe(request)).await
        {
            Ok(answer) => answer,
            Err(_) => Err(unknown()),
        }
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut answered = 0;
    while answered < needed {
        match asked.next().await {
            None => return Err(ProbeError::Unproven { needed, answered }),
            Some(Ok(probed)) if probed.fence > ownership.epoch => {
                return Err(ProbeError::Fenced {
                    fence: probed.fence,
                });
            }
            Some(Ok(_)) => answered += 1,
            Some(Err(_)) => {}
        }
    }
    Ok(())
}
