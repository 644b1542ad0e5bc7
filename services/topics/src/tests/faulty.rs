//! A metadata store whose commits fail in every way they may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_meta::sim::Sim;
use tidemark_meta::{
    Committed, KeyValue, MetaError, MetaStore, Mode, RangeRead, Transaction, Watch,
};
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
        Box::new(FaultyTransaction {
            inner: self.inner.begin(),
            faults: self.faults.clone(),
            keys: 0,
            bytes: 0,
        })
    }
}

struct FaultyTransaction {
    inner: Box<dyn Transaction>,
    faults: Faults,
    keys: usize,
    bytes: usize,
}

impl FaultyTransaction {
    fn reach(&self) -> Result<(), MetaError> {
        if self.faults.is_down() {
            return Err(MetaError::Unavailable("down for the test".into()));
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) {
        self.keys += 1;
        self.bytes += bytes + 80;
        assert!(self.keys <= 2_000, "{} keys in a transaction", self.keys);
        assert!(self.bytes <= 500_000, "{} bytes in one", self.bytes);
    }
}

#[async_trait]
impl Transaction for FaultyTransaction {
    async fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError> {
        self.reach()?;
        self.inner.get(key, mode).await
    }

    async fn range(&mut self, read: RangeRead) -> Result<Vec<KeyValue>, MetaError> {
        self.reach()?;
        self.inner.range(read).await
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.count(key.len() + value.len());
        self.inner.set(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.count(key.len());
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.inner.clear_range(begin, end);
    }

    fn atomic_add(&mut self, key: &[u8], add: u64) {
        self.inner.atomic_add(key, add);
    }

    fn atomic_max(&mut self, key: &[u8], value: u64) {
        self.inner.atomic_max(key, value);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.inner.set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.inner.set_versionstamped_value(key, prefix);
    }

    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.inner.add_read_conflict(begin, end);
    }

    fn add_write_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.inner.add_write_conflict(begin, end);
    }

    fn watch(&mut self, key: &[u8]) -> Watch {
        self.inner.watch(key)
    }

    async fn commit(self: Box<Self>) -> Result<Committed, MetaError> {
        self.reach()?;
        let shared = &self.faults.0;
        if self.keys > 0 && shared.until_down.load(Ordering::Relaxed) != u64::MAX {
            shared.until_down.fetch_sub(1, Ordering::Relaxed);
        }
        if shared.entropy.below(1_000) >= shared.per_mille.load(Ordering::Relaxed) {
            return self.inner.commit().await;
        }
        match shared.entropy.below(3) {
            0 => Err(MetaError::Conflict),
            1 => Err(MetaError::MaybeCommitted),
            _ => {
                self.inner.commit().await?;
                Err(MetaError::MaybeCommitted)
            }
        }
    }
}
