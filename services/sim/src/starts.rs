//! Where partitions begin: what was asked for, what was stored, what was shown, and what that forbids from then on (K3).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidemark_runtime::Invariant;
use tidemark_types::{LeaderEpoch, PartitionId};

use crate::plan::Retention;
use crate::verdict::Verdict;

#[derive(Debug, Default)]
struct Start {
    /// The highest that any transaction tried to store.
    tried: i64,
    /// The highest that a client asked for.
    asked: i64,
    /// As last seen in the store.
    stored: i64,
    /// By leader epoch, what clients were answered.
    answered: BTreeMap<i32, i64>,
}

#[derive(Debug, Default)]
struct Inner {
    starts: BTreeMap<PartitionId, Start>,
    /// The latest wall time there was, ms.
    wall_ms: i64,
    /// What the topic everyone works on was ever told to keep, beyond what it was made with.
    kept: Vec<Retention>,
}

/// The starts. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Starts {
    verdict: Verdict,
    inner: Arc<Mutex<Inner>>,
}

impl Starts {
    pub(crate) fn new(verdict: &Verdict) -> Self {
        Self {
            verdict: verdict.clone(),
            inner: Arc::default(),
        }
    }

    fn of<T>(&self, id: PartitionId, look: impl FnOnce(&mut Start) -> T) -> T {
        look(self.inner.lock().starts.entry(id).or_default())
    }

    /// A transaction that says so is about to commit.
    pub(crate) fn tried(&self, id: PartitionId, start: i64) {
        self.of(id, |s| s.tried = s.tried.max(start));
    }

    /// A client asks for records to be deleted below an offset.
    pub(crate) fn asked(&self, id: PartitionId, start: i64) {
        self.of(id, |s| s.asked = s.asked.max(start));
    }

    /// Whether a reader may be told that an offset is out of range.
    pub(crate) fn may_be_gone(&self, id: PartitionId, offset: i64) -> bool {
        offset < self.may_begin(id)
    }

    /// Where the partition may begin by now.
    pub(crate) fn may_begin(&self, id: PartitionId) -> i64 {
        self.of(id, |s| s.tried)
    }

    /// A client was answered that the partition begins here, by an owner whose leader epoch is this or was less.
    pub(crate) fn answered(&self, id: PartitionId, epoch: LeaderEpoch, start: i64) {
        self.of(id, |s| {
            let known = s.answered.entry(epoch.0).or_default();
            *known = start.max(*known);
        });
    }

    /// Someone is told that the partition begins here: nobody may know that before it is stored.
    pub(crate) fn begins(&self, id: PartitionId, start: i64) {
        let tried = self.of(id, |s| s.tried);
        if start > tried {
            let what = format!("{id}: begins at {start}, no row says more than {tried}");
            self.verdict.violated(Invariant::AckedReadable, what);
        }
    }

    /// An owner under a leader epoch shows where the partition begins: not before what was answered under it or an
    /// earlier one.
    pub(crate) fn shown(&self, id: PartitionId, epoch: LeaderEpoch, start: i64) {
        self.begins(id, start);
        let answered = self.of(id, |s| s.answered.range(..=epoch.0).map(|(_, a)| *a).max());
        if let Some(answered) = answered.filter(|answered| start < *answered) {
            let what = format!("{id}: epoch {epoch} begins at {start}, {answered} was answered");
            self.verdict.violated(Invariant::NoRegress, what);
        }
    }

    /// The row says so. Gives what clients asked for at the most.
    pub(crate) fn stored(&self, id: PartitionId, start: i64) -> i64 {
        let (before, asked) = self.of(id, |s| {
            let before = s.stored;
            s.stored = start;
            (before, s.asked)
        });
        if start < before {
            let what = format!("{id}: its row begins at {start}, it was {before}");
            self.verdict.violated(Invariant::NoRegress, what);
        }
        asked
    }

    /// The topic everyone works on may keep no more than this from now on, whoever hears of it when.
    pub(crate) fn may_keep(&self, kept: Retention) {
        self.inner.lock().kept.push(kept);
    }

    /// All that it was ever told.
    pub(crate) fn kept(&self) -> Vec<Retention> {
        self.inner.lock().kept.clone()
    }

    /// The wall clock is at or jumped to this time.
    pub(crate) fn wall(&self, now_ms: i64) -> i64 {
        let mut inner = self.inner.lock();
        inner.wall_ms = inner.wall_ms.max(now_ms);
        inner.wall_ms
    }
}
