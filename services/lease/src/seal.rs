//! T2: seal the open extent at its decided end and create the next one.

use async_trait::async_trait;
use tidemark_journal::Mutation;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::shard::{ShardKey, ShardRow};
use tidemark_meta::{MetaError, TransactError, Transaction, keys};
use tidemark_runtime::{Invariant, check_invariant};
use tidemark_types::{ExtentIdx, Lsn, NodeId, Ownership};

use crate::claim::{Claimed, extent_row};
use crate::leases::Inner;
use crate::settle::{Body, Settled, settle};
use crate::{NotOwner, require};

/// The extent that follows, as it is to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NextExtent {
    pub(crate) first: Lsn,
    pub(crate) replicas: Vec<NodeId>,
    pub(crate) ack_quorum: u8,
}

/// Why T2 or a roll refused.
#[derive(Debug)]
pub(crate) enum SealRefused {
    /// Someone else owns the shard.
    NotOwner(NotOwner),
    /// The extent is not as T1 saw it (J8): start over from T1.
    Changed,
}

impl SealRefused {
    /// Why the work under `ownership` is over, where it cannot start over.
    pub(crate) fn loss(self, ownership: &Ownership) -> NotOwner {
        match self {
            Self::NotOwner(why) => why,
            Self::Changed => same_owner(ownership),
        }
    }
}

/// Nobody else owns the shard, but the rows are others under this very epoch: whoever found that is not up to date.
pub(crate) const fn same_owner(ownership: &Ownership) -> NotOwner {
    NotOwner {
        shard: ownership.shard,
        ours: ownership.epoch,
        epoch: ownership.epoch,
        owner: Some(ownership.owner),
    }
}

impl From<NotOwner> for SealRefused {
    fn from(why: NotOwner) -> Self {
        Self::NotOwner(why)
    }
}

/// Runs T2 for what `claimed` holds. The answer is the stored row of the new extent, replicas included (J9).
pub(crate) async fn seal(
    inner: &Inner,
    claimed: &Claimed,
    next: &NextExtent,
) -> Settled<(ExtentIdx, ExtentRow), SealRefused> {
    let open = claimed.newest.as_ref().map(|(index, _)| *index);
    seal_and_create(inner, &claimed.ownership, open, next).await
}

/// Requires the ownership and `open` to be the newest extent and OPEN; seals it at `next.first` and creates the next.
pub(crate) async fn seal_and_create(
    inner: &Inner,
    ownership: &Ownership,
    open: Option<ExtentIdx>,
    next: &NextExtent,
) -> Settled<(ExtentIdx, ExtentRow), SealRefused> {
    let t2 = T2 {
        ownership,
        open,
        next,
        unchecked: inner.config.mutation == Some(Mutation::StaleExtentRead),
    };
    settle(inner, &t2).await
}

struct T2<'a> {
    ownership: &'a Ownership,
    open: Option<ExtentIdx>,
    next: &'a NextExtent,
    unchecked: bool,
}

#[async_trait]
impl Body for T2<'_> {
    type Done = (ExtentIdx, ExtentRow);
    type Refused = SealRefused;

    async fn run(
        &self,
        tx: &mut dyn Transaction,
    ) -> Result<(ExtentIdx, ExtentRow), TransactError<SealRefused>> {
        let Self {
            ownership,
            open,
            next,
            unchecked,
        } = *self;
        let shard = ownership.shard;
        let row: ShardRow = require::<SealRefused>(tx, ownership).await?;
        let index = open.map_or(ExtentIdx(0), ExtentIdx::next);
        if row.newest == Some(index) {
            // An earlier try of this very call: only this owner creates extents under this epoch (J9).
            let stored = extent_row(tx, shard, index).await?;
            if stored.writer_epoch == ownership.epoch && stored.first == next.first {
                return Ok((index, stored));
            }
        }
        if row.newest != open && !unchecked {
            return Err(TransactError::Refused(SealRefused::Changed));
        }
        if let Some(open) = open {
            seal_row(tx, ownership, open, next.first, unchecked).await?;
        }
        let created = ExtentRow {
            first: next.first,
            state: ExtentState::Open,
            replicas: next.replicas.clone(),
            ack_quorum: next.ack_quorum,
            writer_epoch: ownership.epoch,
            ckpt: false,
            lost: None,
        };
        keys::put(tx, &ExtentKey { shard, index }, &created);
        let row = ShardRow {
            newest: Some(index),
            ..row
        };
        keys::put(tx, &ShardKey(shard), &row);
        Ok((index, created))
    }
}

async fn seal_row(
    tx: &mut dyn Transaction,
    ownership: &Ownership,
    index: ExtentIdx,
    end: Lsn,
    unchecked: bool,
) -> Result<(), TransactError<SealRefused>> {
    let shard = ownership.shard;
    let mut sealed = extent_row(tx, shard, index).await?;
    match sealed.state {
        ExtentState::Open => {}
        // Already sealed there (an unclean seal, a shard given up after a seal): only the next one is missing.
        ExtentState::Sealed(at) if at == end => return Ok(()),
        ExtentState::Sealed(_) if unchecked => {}
        // J8: a sealed end never moves.
        ExtentState::Sealed(_) => return Err(TransactError::Refused(SealRefused::Changed)),
    }
    check_invariant!(
        Invariant::OneOpenExtent,
        end >= sealed.first,
        "extent {index} of shard {shard} ends at {end} before it begins"
    );
    if end < sealed.first {
        let why = format!("extent {index} of shard {shard} ends before it begins");
        return Err(TransactError::Store(MetaError::Corrupt(why)));
    }
    sealed.state = ExtentState::Sealed(end);
    keys::put(tx, &ExtentKey { shard, index }, &sealed);
    Ok(())
}
