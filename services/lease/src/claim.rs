//! T1: raise the epoch and become the owner, still RECOVERING.

use async_trait::async_trait;
use tidemark_journal::Mutation;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow};
use tidemark_meta::keys::node::{HeartbeatKey, NodeKey};
use tidemark_meta::keys::shard::{ShardKey, ShardRow, ShardState};
use tidemark_meta::{MetaError, Mode, TransactError, Transaction, keys};
use tidemark_types::{Epoch, ExtentIdx, NodeId, OwnerId, Ownership, ShardId};

use crate::TakeError;
use crate::leases::Inner;
use crate::settle::{Body, Settled, settle};

/// What T1 stored and read, in one transaction (J8).
#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) ownership: Ownership,
    /// The newest extent as it was when the epoch was raised; `None` for a shard without extents.
    pub(crate) newest: Option<(ExtentIdx, ExtentRow)>,
}

/// Runs T1 with a fresh nonce. Its unknown outcome is settled by the nonce: a row that carries it is ours (J9).
pub(crate) async fn claim(inner: &Inner, shard: ShardId) -> Result<Claimed, TakeError> {
    claim_from(inner, shard, &[]).await
}

/// As [`claim`], where also the nodes `silent` are known to be dead while their heartbeats stand at these values.
pub(crate) async fn claim_from(
    inner: &Inner,
    shard: ShardId,
    silent: &[(NodeId, u64)],
) -> Result<Claimed, TakeError> {
    let me = OwnerId {
        node: inner.node,
        incarnation: inner.incarnation,
        nonce: inner.entropy.next_u64(),
    };
    // Fixed before the first try, so that T1 requires exactly what was observed (B1).
    let mut dead = inner.dead_nodes();
    dead.extend_from_slice(silent);
    let settled = settle(
        inner,
        &T1 {
            inner,
            shard,
            me,
            dead,
            stale: stale_newest(inner, shard).await?,
        },
    )
    .await;
    match settled {
        Settled::Done(claimed) => Ok(claimed),
        Settled::Refused(why) => Err(why),
        Settled::NotCommitted(e) | Settled::Unknown(e) => Err(TakeError::Store(e)),
    }
}

struct T1<'a> {
    inner: &'a Inner,
    shard: ShardId,
    me: OwnerId,
    dead: Vec<(NodeId, u64)>,
    /// J8 broken: the extent as an earlier transaction saw it.
    stale: Option<(ExtentIdx, ExtentRow)>,
}

/// The newest extent, read outside of T1; only when J8 is broken on purpose.
async fn stale_newest(
    inner: &Inner,
    shard: ShardId,
) -> Result<Option<(ExtentIdx, ExtentRow)>, MetaError> {
    if inner.config.mutation != Some(Mutation::StaleExtentRead) {
        return Ok(None);
    }
    let mut tx = inner.store.begin();
    let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await?;
    match row.and_then(|row| row.newest) {
        Some(index) => Ok(Some((index, extent_row(tx.as_mut(), shard, index).await?))),
        None => Ok(None),
    }
}

#[async_trait]
impl Body for T1<'_> {
    type Done = Claimed;
    type Refused = TakeError;

    async fn run(&self, tx: &mut dyn Transaction) -> Result<Claimed, TransactError<TakeError>> {
        let (shard, me) = (self.shard, self.me);
        let key = ShardKey(shard);
        let row = keys::get(tx, &key, Mode::Serializable).await?;
        let row = row.unwrap_or(ShardRow {
            epoch: Epoch(0),
            owner: None,
            state: ShardState::Released,
            newest: None,
        });
        let mut epoch = row.epoch;
        if row.owner != Some(me) {
            may_take(tx, self, row.owner).await?;
            epoch = row.epoch.next();
            let taken = ShardRow {
                epoch,
                owner: Some(me),
                state: ShardState::Recovering,
                newest: row.newest,
            };
            keys::put(tx, &key, &taken);
        }
        let ownership = Ownership {
            shard,
            epoch,
            owner: me,
        };
        let newest = match row.newest {
            Some(_) if self.stale.is_some() => self.stale.clone(),
            // J8: with conflict, so that a roll cannot slip in between.
            Some(index) => Some((index, extent_row(tx, shard, index).await?)),
            None => None,
        };
        Ok(Claimed { ownership, newest })
    }
}

/// A row that another row says exists.
pub(crate) async fn extent_row(
    tx: &mut dyn Transaction,
    shard: ShardId,
    index: ExtentIdx,
) -> Result<ExtentRow, MetaError> {
    let row = keys::get(tx, &ExtentKey { shard, index }, Mode::Serializable).await?;
    row.ok_or_else(|| {
        MetaError::Corrupt(format!(
            "shard {shard} names extent {index}, which has no row"
        ))
    })
}

/// Whether the owner's time is over. Only liveness depends on it: fencing makes any taking safe.
async fn may_take(
    tx: &mut dyn Transaction,
    t1: &T1<'_>,
    owner: Option<OwnerId>,
) -> Result<(), TransactError<TakeError>> {
    let (inner, shard) = (t1.inner, t1.shard);
    let me = keys::get(tx, &NodeKey(inner.node), Mode::Serializable).await?;
    if me.is_some_and(|row| row.incarnation > inner.incarnation) {
        let node = inner.node;
        return Err(TransactError::Refused(TakeError::Superseded {
            shard,
            node,
        }));
    }
    let Some(owner) = owner else { return Ok(()) };
    // A restart of this node: the earlier incarnation is gone, or it is fenced now.
    if owner.node == inner.node && owner.incarnation <= inner.incarnation {
        return Ok(());
    }
    let registered = keys::get(tx, &NodeKey(owner.node), Mode::Serializable).await?;
    if registered.is_some_and(|row| row.draining) && inner.may_take_early(shard) {
        return Ok(());
    }
    // B1: the heartbeat is a conflicting read, and must stand where it was observed to stand still.
    let beat = keys::get(tx, &HeartbeatKey(owner.node), Mode::Serializable).await?;
    let stands = (owner.node, beat.unwrap_or_default().0);
    if t1.dead.contains(&stands) {
        return Ok(());
    }
    Err(TransactError::Refused(TakeError::Owned { shard, owner }))
}
