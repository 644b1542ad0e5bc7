//! Shards whose log nodes' disks are gone for good: what lay there, and going on without it, explicitly.
//!
//! # Overview
//! A wiped disk has a new cookie and is a new node, so an extent whose replicas are all unknown answers no fence and no
//! read, ever. [`find_gone`] says which those are. [`Leases::give_up_gone`] notes in their rows that nothing of them can be read and seals
//! the open one where it begins, below which everything was sealed or tiered before; a take then finds no checkpoint to replay, and
//! its caller has the state from the object store.
//!
//! # Consistency
//! Nobody can fence a disk that does not answer, so this rests on an operator's word that no owner writes there any more, and on
//! the owner's heartbeat standing still in T1. The raised epoch is every partition's new leader epoch (K6): readers notice that
//! offsets above what was tiered are given again.
//!
//! # Crash consistency
//! The rows go in order, the newest last and in one transaction with the shard's release. After a crash before that the shard cannot be
//! taken, since its newest extent still answers nothing; the same again goes on. After it there is nothing left to do.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use tidemark_meta::keys::Key;
use tidemark_meta::keys::cold::TierKey;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::node::HeartbeatKey;
use tidemark_meta::keys::shard::{ShardKey, ShardRow, ShardState};
use tidemark_meta::{MetaError, MetaStore, Mode, TransactError, Transaction, keys};
use tidemark_runtime::Clock;
use tidemark_types::{ExtentIdx, Lsn, NodeId, Ownership, ShardId};

use crate::claim::{claim_from, extent_row};
use crate::leases::{Inner, Leases};
use crate::seal::SealRefused;
use crate::settle::{Body, Settled, settle};
use crate::{LostRange, TakeError, require};

/// Rows read, and written, in one transaction.
const PAGE: usize = 200;

/// An extent none of whose replicas is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GoneExtent {
    /// Which.
    pub index: ExtentIdx,
    /// LSN of its first frame.
    pub first: Lsn,
    /// Its end, exclusive; `None` for an open one, of which nobody knows how much it held.
    pub end: Option<Lsn>,
    /// Its replicas.
    pub nodes: Vec<NodeId>,
}

/// A shard with such extents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GoneShard {
    /// Which.
    pub shard: ShardId,
    /// Every frame below it is in the object store.
    pub tiered: Lsn,
    /// Whose node owns it, as far as is stored.
    pub owner: Option<NodeId>,
    /// The extents, oldest first, at least one.
    pub extents: Vec<GoneExtent>,
}

impl GoneShard {
    /// The ranges of LSNs that lay there and are not in the object store; an end of `None` is not known.
    #[must_use]
    pub fn untiered(&self) -> Vec<(Lsn, Option<Lsn>)> {
        let mut ranges: Vec<(Lsn, Option<Lsn>)> = Vec::new();
        for extent in &self.extents {
            let from = extent.first.max(self.tiered);
            if extent.end.is_some_and(|end| end <= from) {
                continue;
            }
            match ranges.last_mut() {
                Some((_, to)) if *to == Some(from) => *to = extent.end,
                _ => ranges.push((from, extent.end)),
            }
        }
        ranges
    }

    /// Everything that lay there is in the object store.
    #[must_use]
    pub fn is_tiered(&self) -> bool {
        self.untiered().is_empty()
    }

    /// The nodes whose disks are gone, and the one that owned the shard.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        let replicas = self.extents.iter().flat_map(|extent| &extent.nodes);
        replicas.copied().chain(self.owner).collect()
    }
}

/// Every shard with retained extents that none of the log nodes `here` holds and that nobody gave up yet.
///
/// # Errors
/// When the store fails.
pub async fn find_gone(
    store: &dyn MetaStore,
    here: &[NodeId],
) -> Result<Vec<GoneShard>, MetaError> {
    let mut found = Vec::new();
    let mut range = ShardKey::all();
    loop {
        let mut tx = store.begin();
        let page: Vec<(ShardKey, ShardRow)> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Serializable).await?;
        for (ShardKey(shard), row) in &page {
            let mut gone = look(store, *shard, here).await?;
            gone.owner = row.owner.map(|owner| owner.node);
            if !gone.extents.is_empty() {
                found.push(gone);
            }
        }
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
            return Ok(found);
        };
        range.begin = keys::behind(last);
    }
}

/// Which of `nodes` were not heard of for `wait`, each with where its heartbeat stands.
///
/// # Errors
/// When the store fails.
pub async fn silent_nodes(
    store: &dyn MetaStore,
    clock: &Clock,
    nodes: &BTreeSet<NodeId>,
    wait: Duration,
) -> Result<Vec<(NodeId, u64)>, MetaError> {
    let before = beats(store, nodes).await?;
    clock.sleep(wait).await;
    let mut silent = beats(store, nodes).await?;
    silent.retain(|beat| before.contains(beat));
    Ok(silent)
}

async fn beats(
    store: &dyn MetaStore,
    nodes: &BTreeSet<NodeId>,
) -> Result<Vec<(NodeId, u64)>, MetaError> {
    let mut tx = store.begin();
    let mut beats = Vec::with_capacity(nodes.len());
    for node in nodes {
        let beat = keys::get(tx.as_mut(), &HeartbeatKey(*node), Mode::Serializable).await?;
        beats.push((*node, beat.unwrap_or_default().0));
    }
    Ok(beats)
}

fn is_gone(row: &ExtentRow, here: &[NodeId]) -> bool {
    let given_up = row.lost.as_ref().is_some_and(|l| l.from <= row.first);
    !given_up && !row.replicas.iter().any(|node| here.contains(node))
}

async fn look(
    store: &dyn MetaStore,
    shard: ShardId,
    here: &[NodeId],
) -> Result<GoneShard, MetaError> {
    let mut tx = store.begin();
    let tier = keys::get(tx.as_mut(), &TierKey(shard), Mode::Serializable).await?;
    drop(tx);
    let mut gone = GoneShard {
        shard,
        tiered: tier.unwrap_or_default().tiered_lsn,
        owner: None,
        extents: Vec::new(),
    };
    let mut range = ExtentKey::of_shard(shard);
    loop {
        let mut tx = store.begin();
        let page: Vec<(ExtentKey, ExtentRow)> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Serializable).await?;
        for (key, row) in page.iter().filter(|(_, row)| is_gone(row, here)) {
            let readable = |end: Lsn| row.lost.as_ref().map_or(end, |lost| lost.from.min(end));
            gone.extents.push(GoneExtent {
                index: key.index,
                first: row.first,
                end: match row.state {
                    ExtentState::Open => None,
                    ExtentState::Sealed(end) => Some(readable(end)),
                },
                nodes: row.replicas.clone(),
            });
        }
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
            return Ok(gone);
        };
        range.begin = keys::behind(last);
    }
}

impl Leases {
    /// The operator's step when the disks under a shard are gone for good: gives up its extents that none of the log nodes
    /// `here` holds, and leaves it released under a raised epoch. What was not tiered is lost; take the shard again to serve the rest.
    /// `silent`, from [`silent_nodes`]: whose shards may be taken. Answers what was given up; idempotent.
    ///
    /// # Errors
    /// As [`Leases::take`]; `Owned` when the owner's heartbeat moved.
    pub async fn give_up_gone(
        &self,
        shard: ShardId,
        here: &[NodeId],
        silent: &[(NodeId, u64)],
    ) -> Result<GoneShard, TakeError> {
        Box::pin(give_up(&self.0, shard, here, silent)).await
    }
}

async fn give_up(
    inner: &Inner,
    shard: ShardId,
    here: &[NodeId],
    silent: &[(NodeId, u64)],
) -> Result<GoneShard, TakeError> {
    // Its own T1: the epoch rises, and with it every partition's leader epoch (K6). After it nobody else changes the rows.
    let claimed = claim_from(inner, shard, silent).await?;
    let ownership = claimed.ownership;
    let gone = look(inner.store.as_ref(), shard, here).await?;
    let mut chunks = gone.extents.chunks(PAGE).peekable();
    loop {
        let extents = chunks.next().unwrap_or_default();
        let last = chunks.peek().is_none();
        let body = GiveUp {
            ownership,
            extents,
            tiered: gone.tiered,
            last,
        };
        match settle(inner, &body).await {
            Settled::Done(()) if last => return Ok(gone),
            Settled::Done(()) => {}
            Settled::Refused(why) => return Err(TakeError::Lost(why.loss(&ownership))),
            Settled::NotCommitted(e) | Settled::Unknown(e) => return Err(TakeError::Store(e)),
        }
    }
}

struct GiveUp<'a> {
    ownership: Ownership,
    extents: &'a [GoneExtent],
    tiered: Lsn,
    /// With the release of the shard.
    last: bool,
}

impl GiveUp<'_> {
    /// The row of an extent of which nothing can be read any more.
    fn given_up(&self, row: ExtentRow) -> ExtentRow {
        let (end, to) = match row.state {
            ExtentState::Sealed(end) => (end, Some(end)),
            // Tiering goes no further than what is sealed, so this is where it begins.
            ExtentState::Open => (row.first.max(self.tiered), None),
        };
        let nodes: Vec<String> = row.replicas.iter().map(ToString::to_string).collect();
        let (nodes, tiered) = (nodes.join(", "), self.tiered);
        let lost = LostRange {
            from: row.first,
            to,
            why: format!("the disk of log node {nodes} is gone; tiered up to lsn {tiered}"),
        };
        ExtentRow {
            state: ExtentState::Sealed(end),
            // There is nothing to replay.
            ckpt: false,
            lost: Some(lost),
            ..row
        }
    }
}

#[async_trait]
impl Body for GiveUp<'_> {
    type Done = ();
    type Refused = SealRefused;

    async fn run(&self, tx: &mut dyn Transaction) -> Result<(), TransactError<SealRefused>> {
        let shard = self.ownership.shard;
        let key = ShardKey(shard);
        let stored = keys::get(tx, &key, Mode::Serializable).await?;
        // An earlier try: nobody else releases a shard under this epoch.
        let ours = |row: &ShardRow| row.epoch == self.ownership.epoch && row.owner.is_none();
        if self.last && stored.as_ref().is_some_and(ours) {
            return Ok(());
        }
        let row = require::<SealRefused>(tx, &self.ownership).await?;
        for extent in self.extents {
            let index = extent.index;
            let stored = extent_row(tx, shard, index).await?;
            if stored.first != extent.first {
                return Err(TransactError::Refused(SealRefused::Changed));
            }
            let given_up = stored.lost.as_ref().is_some_and(|l| l.from <= stored.first);
            if !given_up {
                keys::put(tx, &ExtentKey { shard, index }, &self.given_up(stored));
            }
        }
        if self.last {
            let released = ShardRow {
                owner: None,
                state: ShardState::Released,
                ..row
            };
            keys::put(tx, &key, &released);
        }
        Ok(())
    }
}
