//! Decorating transactions without spelling out every call of them: a decorator says what happens around reads
//! and in place of the commit, the rest passes through.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Committed, KeyValue, MetaError, Mode, RangeRead, Transaction, Watch};

/// What a decorator adds to one transaction. Everything has a default that adds nothing.
#[async_trait]
pub trait Decorate: Sized + Send + 'static {
    /// Before a read; an error is the read's answer.
    async fn before_read(&mut self) -> Result<(), MetaError> {
        Ok(())
    }

    /// After a read, whatever it answered.
    async fn after_read(&mut self) {}

    /// At a write of so many bytes of keys and values.
    fn on_write(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// At a plain write of a value.
    fn on_set(&mut self, key: &[u8], value: &[u8]) {
        let _ = (key, value);
    }

    /// In place of the commit; `writes` tells whether the transaction wrote anything.
    async fn commit(
        self,
        inner: Box<dyn Transaction>,
        writes: bool,
    ) -> Result<Committed, MetaError> {
        let _ = writes;
        inner.commit().await
    }
}

/// A transaction with its decoration.
pub struct Decorated<D> {
    inner: Box<dyn Transaction>,
    decoration: D,
    writes: bool,
}

impl<D: Decorate> Decorated<D> {
    /// Decorates a transaction.
    #[must_use]
    pub fn boxed(inner: Box<dyn Transaction>, decoration: D) -> Box<dyn Transaction> {
        Box::new(Self {
            inner,
            decoration,
            writes: false,
        })
    }

    fn wrote(&mut self, bytes: usize) -> &mut dyn Transaction {
        self.writes = true;
        self.decoration.on_write(bytes);
        &mut *self.inner
    }
}

#[async_trait]
impl<D: Decorate> Transaction for Decorated<D> {
    async fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError> {
        self.decoration.before_read().await?;
        let answer = self.inner.get(key, mode).await;
        self.decoration.after_read().await;
        answer
    }

    async fn range(&mut self, read: RangeRead) -> Result<Vec<KeyValue>, MetaError> {
        self.decoration.before_read().await?;
        let answer = self.inner.range(read).await;
        self.decoration.after_read().await;
        answer
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.decoration.on_set(key, value);
        self.wrote(key.len() + value.len()).set(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.wrote(key.len()).clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.wrote(begin.len() + end.len()).clear_range(begin, end);
    }

    fn atomic_add(&mut self, key: &[u8], add: u64) {
        self.wrote(key.len() + size_of_val(&add))
            .atomic_add(key, add);
    }

    fn atomic_max(&mut self, key: &[u8], value: u64) {
        self.wrote(key.len() + size_of_val(&value))
            .atomic_max(key, value);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        self.wrote(prefix.len() + suffix.len() + value.len())
            .set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.wrote(key.len() + prefix.len())
            .set_versionstamped_value(key, prefix);
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
        self.decoration.commit(self.inner, self.writes).await
    }
}
