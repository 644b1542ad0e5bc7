//! What log nodes have answered, remembered outside of them: a node that forgets or contradicts it is caught.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidemark_journal::{ExtentId, Frame, Inventory};
use tidemark_meta::keys::extent::ExtentKey;
use tidemark_runtime::Invariant;
use tidemark_types::{Epoch, Lsn, NodeId, ShardId};

use crate::verdict::Verdict;

/// The answers so far. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    verdict: Verdict,
    /// A node that is broken on purpose is to be noticed by what it does to clients.
    blind: bool,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    fences: BTreeMap<(NodeId, ShardId), Epoch>,
    ends: BTreeMap<(NodeId, ExtentId), Lsn>,
    frames: BTreeMap<(ExtentId, Lsn), u32>,
    sealed: BTreeMap<ExtentKey, Lsn>,
    releases: u64,
}

impl Facts {
    pub(crate) fn new(verdict: &Verdict, blind: bool) -> Self {
        Self {
            blind,
            verdict: verdict.clone(),
            inner: Arc::default(),
        }
    }

    /// J7: an LSN that was sent to anyone is never given other bytes.
    pub(crate) fn sent(&self, frame: &Frame) {
        let mut inner = self.inner.lock();
        let known = *inner
            .frames
            .entry((frame.extent, frame.lsn))
            .or_insert(frame.crc);
        if known != frame.crc {
            let what = format!("J7: {} has two frames at lsn {}", frame.extent, frame.lsn);
            self.verdict.violated(Invariant::OneValuePerOffset, what);
        }
    }

    /// J8: a sealed end never moves.
    pub(crate) fn sealed(&self, extent: ExtentKey, end: Lsn) {
        let mut inner = self.inner.lock();
        let known = *inner.sealed.entry(extent).or_insert(end);
        drop(inner);
        if known != end {
            let what = format!("{extent:?} was sealed at {known}, is at {end}");
            self.verdict.violated(Invariant::SealCoversCommits, what);
        }
    }

    pub(crate) fn acked(&self, node: NodeId, extent: ExtentId, end: Lsn) {
        let mut inner = self.inner.lock();
        let known = inner.ends.entry((node, extent)).or_default();
        *known = end.max(*known);
    }

    pub(crate) fn released(&self, node: NodeId, extent: ExtentId) {
        let mut inner = self.inner.lock();
        inner.ends.remove(&(node, extent));
        inner.releases += 1;
    }

    /// Extents that log nodes gave up.
    pub(crate) fn releases(&self) -> u64 {
        self.inner.lock().releases
    }

    pub(crate) fn fenced(&self, node: NodeId, shard: ShardId, epoch: Epoch) {
        let mut inner = self.inner.lock();
        let known = inner.fences.entry((node, shard)).or_default();
        *known = epoch.max(*known);
    }

    /// Invariant 9: a fence is monotonic and survives a crash.
    pub(crate) fn check_fence(&self, node: NodeId, shard: ShardId, found: Epoch) {
        let known = self.inner.lock().fences.get(&(node, shard)).copied();
        if !self.blind && known.is_some_and(|known| known > found) {
            let what = format!("log node {node} has fence {found} of shard {shard}, was {known:?}");
            self.verdict.violated(Invariant::FenceMonotonic, what);
        }
    }

    /// What was acked is held, or the node says that it cannot vouch.
    pub(crate) fn check_held(&self, node: NodeId, extent: ExtentId, found: &Inventory) {
        let known = self.inner.lock().ends.get(&(node, extent)).copied();
        let held = match found {
            Inventory::Limbo { .. } => return,
            Inventory::Absent => None,
            Inventory::Held { end, .. } => Some(*end),
        };
        if !self.blind && known.is_some_and(|known| held.is_none_or(|held| held < known)) {
            let what = format!("log node {node} acked {extent} up to {known:?}, holds {held:?}");
            self.verdict.violated(Invariant::AckedReadable, what);
        }
    }
}
