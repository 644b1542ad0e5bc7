//! A transaction: one view, what was read of it, and the writes so far.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_types::limits::META_TXN_AGE_MS_MAX;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::merge::merged_range;
use super::sequencer::{Request, stamp};
use super::storage::{Storage, View};
use super::watches::Waiting;
use super::writes::{Atomic, Own, WriteSet, apply_atomics, point_range, range_of, unreadable};
use super::{Published, Shared};
use crate::keys::KeyRange;
use crate::limits::{Weight, check_key, check_range};
use crate::{Committed, KeyValue, MetaError, Mode, RangeRead, Transaction, Versionstamp, Watch};

const AGE_MAX: Duration = Duration::from_millis(META_TXN_AGE_MS_MAX);

/// The value a watch compares with.
enum Seen {
    Value(Option<Bytes>),
    /// These bytes and this transaction's own versionstamp.
    OwnStamp(Bytes),
}

struct Watched {
    key: Bytes,
    seen: Seen,
    fire: oneshot::Sender<()>,
}

/// What a transaction reads from, and since when.
struct Reading<V> {
    from: Arc<Published<V>>,
    since: Instant,
}

pub(crate) struct OccTransaction<S: Storage> {
    shared: Arc<Shared<S>>,
    reading: Option<Reading<S::View>>,
    reads: Vec<KeyRange>,
    writes: WriteSet,
    weight: Weight,
    watched: Vec<Watched>,
    /// The first call that was wrong; answered by every later read and the commit.
    wrong: Option<MetaError>,
}

impl<S: Storage> OccTransaction<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>) -> Self {
        Self {
            shared,
            reading: None,
            reads: Vec::new(),
            writes: WriteSet::default(),
            weight: Weight::default(),
            watched: Vec::new(),
            wrong: None,
        }
    }

    /// The published state this transaction reads; the first call takes it.
    fn reading(&mut self) -> Result<Arc<Published<S::View>>, MetaError> {
        if let Some(wrong) = &self.wrong {
            return Err(wrong.clone());
        }
        let now = self.shared.clock.now();
        // Also for a transaction under way: a store that stopped must not be read (see `occ`).
        let newest = self.shared.board.published()?;
        let reading = self.reading.get_or_insert(Reading {
            from: newest,
            since: now,
        });
        if now.duration_since(reading.since) > AGE_MAX {
            return Err(MetaError::TooOld);
        }
        Ok(reading.from.clone())
    }

    fn value(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError> {
        check_key(key)?;
        let from = self.reading()?;
        let atomics = match self.writes.own(key) {
            Own::Known(value) => return Ok(value.cloned()),
            Own::Unreadable => return Err(unreadable()),
            Own::Untouched => &[],
            Own::Changed(atomics) => atomics,
        };
        let stored = from.view.get(key)?;
        let value = if atomics.is_empty() {
            stored
        } else {
            Some(apply_atomics(atomics, stored.as_deref()))
        };
        if mode == Mode::Serializable {
            self.add_read(point_range(key));
        }
        Ok(value)
    }

    fn add_read(&mut self, range: KeyRange) {
        self.weight.add_conflict(range.begin.len(), range.end.len());
        self.reads.push(range);
    }

    fn note(&mut self, outcome: Result<(), MetaError>) {
        if let Err(error) = outcome {
            self.wrong.get_or_insert(error);
        }
    }

    async fn commit_writes(&mut self) -> Result<Committed, MetaError> {
        self.weight.check()?;
        let now = self.shared.clock.now();
        let aged = |r: &Reading<_>| now.duration_since(r.since) > AGE_MAX;
        if !self.reads.is_empty() && self.reading.as_ref().is_some_and(aged) {
            return Err(MetaError::TooOld);
        }
        let read_version = self.reading.take().map(|r| r.from.version);
        let request = Request {
            // Without serializable reads there is nothing to check, whatever the age.
            read_version: read_version.filter(|_| !self.reads.is_empty()),
            reads: std::mem::take(&mut self.reads),
            writes: std::mem::take(&mut self.writes),
            at: now,
            bytes: self.weight.bytes(),
        };
        self.shared.commit(request).await
    }

    fn arm_watches(&mut self, versionstamp: Versionstamp) {
        for watched in self.watched.drain(..) {
            let Watched { key, seen, fire } = watched;
            let seen = match seen {
                Seen::Value(value) => value,
                Seen::OwnStamp(prefix) => Some([&prefix[..], &versionstamp].concat().into()),
            };
            let waiting = Waiting {
                key: key.clone(),
                seen,
                fire,
            };
            self.shared.board.watches.arm(waiting);
            let newest = self.shared.board.published().map(|p| p.view.get(&key));
            if let Ok(Ok(value)) = newest {
                self.shared.board.watches.compare(&key, value.as_ref());
            }
        }
    }
}

#[async_trait]
impl<S: Storage> Transaction for OccTransaction<S> {
    async fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError> {
        self.value(key, mode)
    }

    async fn range(&mut self, read: RangeRead) -> Result<Vec<KeyValue>, MetaError> {
        check_range(&read.begin, &read.end)?;
        let from = self.reading()?;
        if read.limit == 0 || read.begin == read.end {
            return Ok(Vec::new());
        }
        if self.writes.unreadable_in(&read.begin, &read.end) {
            return Err(unreadable());
        }
        let pairs = merged_range(&from.view, &self.writes, &read)?;
        if read.mode == Mode::Serializable {
            self.add_read(returned(&read, &pairs));
        }
        Ok(pairs)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        let outcome = self.writes.set(key, value, &mut self.weight);
        self.note(outcome);
    }

    fn clear(&mut self, key: &[u8]) {
        let outcome = self.writes.clear(key, &mut self.weight);
        self.note(outcome);
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        let outcome = self.writes.clear_range(begin, end, &mut self.weight);
        self.note(outcome);
    }

    fn atomic_add(&mut self, key: &[u8], add: u64) {
        let outcome = self.writes.atomic(key, Atomic::Add(add), &mut self.weight);
        self.note(outcome);
    }

    fn atomic_max(&mut self, key: &[u8], value: u64) {
        let outcome = self
            .writes
            .atomic(key, Atomic::Max(value), &mut self.weight);
        self.note(outcome);
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        let weight = &mut self.weight;
        let outcome = self
            .writes
            .set_versionstamped_key(prefix, suffix, value, weight);
        self.note(outcome);
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        let weight = &mut self.weight;
        let outcome = self.writes.set_versionstamped_value(key, prefix, weight);
        self.note(outcome);
    }

    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]) {
        match check_range(begin, end) {
            Ok(()) if begin < end => self.add_read(range_of(begin, end)),
            outcome => self.note(outcome),
        }
    }

    fn add_write_conflict(&mut self, begin: &[u8], end: &[u8]) {
        let outcome = self.writes.add_conflict(begin, end, &mut self.weight);
        self.note(outcome);
    }

    fn watch(&mut self, key: &[u8]) -> Watch {
        let (fire, watch) = oneshot::channel();
        let seen = match self.writes.stamped_value(key) {
            Some(prefix) => Ok(Seen::OwnStamp(prefix.clone())),
            None => self.value(key, Mode::Snapshot).map(Seen::Value),
        };
        // On an error the sender is dropped here, and the watch errs.
        if let Ok(seen) = seen {
            let key = Bytes::copy_from_slice(key);
            self.watched.push(Watched { key, seen, fire });
        }
        watch
    }

    async fn commit(mut self: Box<Self>) -> Result<Committed, MetaError> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        let committed = if self.writes.is_empty() {
            let version = match &self.reading {
                Some(reading) => reading.from.version,
                None => self.shared.board.published()?.version,
            };
            Committed {
                version,
                versionstamp: stamp(version),
            }
        } else {
            self.commit_writes().await?
        };
        self.arm_watches(committed.versionstamp);
        Ok(committed)
    }
}

/// What a range read covered: all of it, or up to the last pair when the limit cut it off.
fn returned(read: &RangeRead, pairs: &[KeyValue]) -> KeyRange {
    let whole = || range_of(&read.begin, &read.end);
    match pairs.last() {
        Some((last, _)) if pairs.len() >= read.limit => {
            let last = point_range(last);
            if read.reverse {
                KeyRange {
                    begin: last.begin,
                    ..whole()
                }
            } else {
                KeyRange {
                    end: last.end,
                    ..whole()
                }
            }
        }
        _ => whole(),
    }
}
