//! A metadata store whose commits fail in every way they may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tidemark_meta::sim::Sim;
use tidemark_meta::{Committed, Decorate, Decorated, MetaError, MetaStore, Transaction};
use tidemark_runtime::Entropy;

/// How commits fail; shared by all stores of a world.
#[derive(Clone, Debug)]
pub(super) struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    entropy: Entropy,
    /// Commits in a thousand that fail.
    per_mille: AtomicU64,
    /// Commits until the store refuses all work; `u64::MAX`: never.
    until_down: AtomicU64,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Shared {
            entropy: Entropy::seeded(seed),
            per_mille: AtomicU64::new(0),
            until_down: AtomicU64::new(u64::MAX),
        }))
    }

    /// Makes this many commits in a thousand fail: conflict, unknown and done, unknown and not done.
    pub(super) fn fail(&self, per_mille: u64) {
        self.0.per_mille.store(per_mille, Ordering::Relaxed);
    }

    /// Lets this many more commits through, then the store is down.
    pub(super) fn down_after(&self, commits: u64) {
        self.0.until_down.store(commits, Ordering::Relaxed);
    }

    pub(super) fn up(&self) {
        self.down_after(u64::MAX);
    }

    fn is_down(&self) -> bool {
        self.0.until_down.load(Ordering::Relaxed) == 0
    }
}

#[derive(Debug)]
pub(super) struct Faulty {
    inner: Sim,
    faults: Faults,
}

impl Faulty {
    pub(super) fn new(inner: Sim, faults: &Faults) -> Self {
        Self {
            inner,
            faults: faults.clone(),
        }
    }
}

impl MetaStore for Faulty {
    fn begin(&self) -> Box<dyn Transaction> {
        let bounded = Bounded {
            faults: self.faults.clone(),
            keys: 0,
            bytes: 0,
        };
        Decorated::boxed(self.inner.begin(), bounded)
    }
}

/// A transaction that may fail, and that must stay small.
struct Bounded {
    faults: Faults,
    keys: usize,
    bytes: usize,
}

#[async_trait]
impl Decorate for Bounded {
    async fn before_read(&mut self) -> Result<(), MetaError> {
        if self.faults.is_down() {
            return Err(MetaError::Unavailable("down for the test".into()));
        }
        Ok(())
    }

    fn on_write(&mut self, bytes: usize) {
        self.keys += 1;
        self.bytes += bytes + 80;
        assert!(self.keys <= 2_000, "{} keys in a transaction", self.keys);
        assert!(self.bytes <= 500_000, "{} bytes in one", self.bytes);
    }

    async fn commit(
        mut self,
        inner: Box<dyn Transaction>,
        writes: bool,
    ) -> Result<Committed, MetaError> {
        self.before_read().await?;
        let shared = &self.faults.0;
        if writes && shared.until_down.load(Ordering::Relaxed) != u64::MAX {
            shared.until_down.fetch_sub(1, Ordering::Relaxed);
        }
        if shared.entropy.below(1_000) >= shared.per_mille.load(Ordering::Relaxed) {
            return inner.commit().await;
        }
        match shared.entropy.below(3) {
            0 => Err(MetaError::Conflict),
            1 => Err(MetaError::MaybeCommitted),
            _ => {
                inner.commit().await?;
                Err(MetaError::MaybeCommitted)
            }
        }
    }
}
