//! Commits that land after they were answered.

use tidemark_runtime::Entropy;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::Transaction;
use crate::keys::KeyRange;

/// A commit that was answered with `MaybeCommitted` and has not landed yet.
pub(super) struct Late {
    pub(super) transaction: Box<dyn Transaction>,
    /// What it will change.
    pub(super) writes: Vec<KeyRange>,
    /// When it lands if nobody reads its keys before.
    pub(super) due: Instant,
}

impl Late {
    pub(super) fn writes_in(&self, read: &KeyRange) -> bool {
        let overlaps = |w: &KeyRange| w.begin < read.end && read.begin < w.end;
        self.writes.iter().any(overlaps)
    }
}

/// The late commits, in the order of their answers. The lock is held while one lands, so that a reader of its
/// keys waits for it.
#[derive(Default)]
pub(super) struct LateCommits(Mutex<Vec<Late>>);

impl LateCommits {
    pub(super) async fn push(&self, late: Late) {
        self.0.lock().await.push(late);
    }

    /// Lands those that `which` picks.
    pub(super) async fn land(&self, which: impl Fn(&Late) -> bool) {
        let mut waiting = self.0.lock().await;
        let landing: Vec<_> = waiting.extract_if(.., |late| which(late)).collect();
        for late in landing {
            // It may conflict by now: then it did not happen, which its answer allowed.
            let _ = late.transaction.commit().await;
        }
    }

    #[cfg(test)]
    pub(super) async fn is_empty(&self) -> bool {
        self.0.lock().await.is_empty()
    }

    /// Lands or drops each, by chance.
    pub(super) async fn crash(&self, entropy: &Entropy) {
        self.land(|_| entropy.below(2) == 0).await;
        self.0.lock().await.clear();
    }
}
