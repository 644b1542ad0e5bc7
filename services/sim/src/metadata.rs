//! The metadata store as one process reaches it: through its gate.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_meta::{
    Committed, KeyValue, MetaError, MetaStore, Mode, RangeRead, Transaction, Watch,
};

use crate::life::Life;
use crate::trace::{Trace, note};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) inner: Arc<dyn MetaStore>,
    pub(crate) life: Life,
    pub(crate) trace: Trace,
    pub(crate) process: u32,
}

impl MetaStore for Gated {
    fn begin(&self) -> Box<dyn Transaction> {
        Box::new(GatedTransaction {
            inner: self.inner.begin(),
            life: self.life.clone(),
            trace: self.trace.clone(),
            process: self.process,
        })
    }
}

struct GatedTransaction {
    inner: Box<dyn Transaction>,
    life: Life,
    trace: Trace,
    process: u32,
}

#[async_trait]
impl Transaction for GatedTransaction {
    async fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError> {
        self.life.gate().await;
        let answer = self.inner.get(key, mode).await;
        self.life.gate().await;
        answer
    }

    async fn range(&mut self, read: RangeRead) -> Result<Vec<KeyValue>, MetaError> {
        self.life.gate().await;
        let answer = self.inner.range(read).await;
        self.life.gate().await;
        answer
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.inner.set(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
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
        let Self {
            inner,
            life,
            trace,
            process,
        } = *self;
        life.gate().await;
        let answer = inner.commit().await;
        match &answer {
            Ok(committed) => note!(trace, "p{process} committed {}", committed.version),
            Err(error) => note!(trace, "p{process} {error}"),
        }
        life.gate().await;
        answer
    }
}
