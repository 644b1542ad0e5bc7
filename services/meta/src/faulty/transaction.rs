//! A transaction whose commit may go wrong.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::late::Late;
use super::{Control, Fault, below};
use crate::keys::KeyRange;
use crate::occ::{point_range, range_of, stamp_key};
use crate::{Committed, KeyValue, MetaError, Mode, RangeRead, Transaction, Watch};

pub(super) struct FaultyTransaction {
    inner: Box<dyn Transaction>,
    control: Arc<Control>,
    crashes: u64,
    /// What it changes: a late commit lands before any of it is read.
    writes: Vec<KeyRange>,
    conflicts: bool,
}

impl FaultyTransaction {
    pub(super) fn new(inner: Box<dyn Transaction>, control: Arc<Control>) -> Self {
        Self {
            inner,
            crashes: control.crashes(),
            control,
            writes: Vec::new(),
            conflicts: false,
        }
    }

    /// Before a read of `range`: lands what must be seen or is due.
    async fn reading(&mut self, range: &KeyRange) -> Result<(), MetaError> {
        self.control.reachable(self.crashes)?;
        self.control.read_fault()?;
        let now = self.control.clock.now();
        let lands = |late: &Late| late.due <= now || late.writes_in(range);
        self.control.late.land(lands).await;
        Ok(())
    }

    fn writes(&mut self, begin: &[u8], end: &[u8]) {
        self.writes.push(range_of(begin, end));
    }

    async fn commit_late(self: Box<Self>) -> MetaError {
        let control = &self.control;
        let longest = control.weather.lock().faults.late_max;
        let late = Late {
            transaction: self.inner,
            writes: self.writes,
            due: control.clock.now() + below(longest, &control.entropy),
        };
        control.late.push(late).await;
        MetaError::MaybeCommitted
    }
}

#[async_trait]
impl Transaction for FaultyTransaction {
    async fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError> {
        self.reading(&point_range(key)).await?;
        self.inner.get(key, mode).await
    }

    async fn range(&mut self, read: RangeRead) -> Result<Vec<KeyValue>, MetaError> {
        self.reading(&range_of(&read.begin, &read.end)).await?;
        self.inner.range(read).await
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.writes.push(point_range(key));
        self.inner.set(key, value);
    }

    fn clear(&mut self, key: &[u8]) {
        self.writes.push(point_range(key));
        self.inner.clear(key);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        self.writes(begin, end);
        self.inner.clear_range(begin, end);
    }

    fn atomic_add(&mut self, key: &[u8], add: u64) {
        self.writes.push(point_range(key));
        self.inner.atomic_add(key, add);
    }

    fn atomic_max(&mut self, key: &[u8], value: u64) {
        self.writes.push(point_range(key));
        self.inner.atomic_max(key, value);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        let last = stamp_key(prefix, [0xff; 10], suffix);
        let end = point_range(&last).end;
        self.writes(&stamp_key(prefix, [0; 10], suffix), &end);
        self.inner.set_versionstamped_key(prefix, suffix, value);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        self.writes.push(point_range(key));
        self.inner.set_versionstamped_value(key, prefix);
    }

    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.inner.add_read_conflict(begin, end);
    }

    fn add_write_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.conflicts = true;
        self.inner.add_write_conflict(begin, end);
    }

    fn watch(&mut self, key: &[u8]) -> Watch {
        self.inner.watch(key)
    }

    async fn commit(self: Box<Self>) -> Result<Committed, MetaError> {
        let (control, crashes) = (self.control.clone(), self.crashes);
        control.reachable(crashes)?;
        if self.writes.is_empty() && !self.conflicts {
            return self.inner.commit().await;
        }
        let now = control.clock.now();
        control.late.land(|late| late.due <= now).await;
        let fault = control.commit_fault();
        match fault {
            Some(Fault::Conflict) => return Err(MetaError::Conflict),
            Some(Fault::Unavailable) => {
                return Err(MetaError::Unavailable("a fault was injected".into()));
            }
            Some(Fault::LostCommit) => return Err(MetaError::MaybeCommitted),
            Some(Fault::Late) => return Err(self.commit_late().await),
            Some(Fault::LostReply) | None => {}
        }
        control.delay().await;
        if control.crashes() != crashes {
            // It never reached the disk.
            return Err(MetaError::MaybeCommitted);
        }
        let outcome = self.inner.commit().await;
        control.delay().await;
        let unheard = fault == Some(Fault::LostReply) || control.crashes() != crashes;
        if outcome.is_ok() && unheard {
            return Err(MetaError::MaybeCommitted);
        }
        outcome
    }
}
