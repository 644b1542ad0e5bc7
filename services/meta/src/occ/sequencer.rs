//! The one place where commits are ordered.

use bytes::Bytes;
use tokio::time::Instant;

use super::conflicts::Window;
use super::storage::{Changes, Storage, StorageError, View};
use super::writes::{Op, WriteSet, apply_atomics};
use crate::keys::KeyRange;
use crate::{Committed, MetaError, Versionstamp};

/// A transaction that wants to commit writes.
pub(crate) struct Request {
    /// The version it read at, if it read (or declared a read) at all.
    pub(crate) read_version: Option<u64>,
    /// What it read, serializably.
    pub(crate) reads: Vec<KeyRange>,
    /// What it writes.
    pub(crate) writes: WriteSet,
    /// When it asked; also the sequencer's clock, so that a thread needs none.
    pub(crate) at: Instant,
    /// Its size, bytes.
    pub(crate) bytes: usize,
}

impl Request {
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

type Outcomes = Vec<Result<Committed, MetaError>>;

/// Orders commits, decides which conflict, and applies the others in groups.
pub(crate) struct Sequencer<S> {
    storage: S,
    version: u64,
    window: Window,
    failed: Option<String>,
}

impl<S: Storage> Sequencer<S> {
    /// Goes on after `version`, the last that `storage` holds.
    pub(crate) fn new(storage: S, version: u64) -> Self {
        Self {
            storage,
            version,
            window: Window::new(version),
            failed: None,
        }
    }

    /// The last version committed.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// The state at that version.
    pub(crate) fn view(&self) -> S::View {
        self.storage.view()
    }

    /// Decides a group and applies it as one batch. Answers the outcomes in the group's order, and what changed:
    /// `None` when nothing was admitted; `Err` says why the storage failed, for ever.
    pub(crate) fn sequence(
        &mut self,
        group: &[Request],
    ) -> (Outcomes, Result<Option<Changes>, String>) {
        if let Some(why) = &self.failed {
            let refused = MetaError::Unavailable(why.clone());
            return (vec![Err(refused); group.len()], Ok(None));
        }
        let first = self.version;
        let view = self.storage.view();
        let mut changes = Changes::new();
        let mut outcomes: Outcomes = group
            .iter()
            .map(|request| self.admit(request, &view, &mut changes))
            .collect();
        drop(view);
        if self.version == first {
            return (outcomes, Ok(None));
        }
        let oldest = self.window.floor();
        match self.storage.apply(self.version, &changes, oldest) {
            Ok(()) => (outcomes, Ok(Some(changes))),
            Err(error) => {
                let why = format!("a batch could not be made durable: {error}");
                self.failed = Some(why.clone());
                for outcome in outcomes.iter_mut().filter(|o| o.is_ok()) {
                    *outcome = Err(MetaError::MaybeCommitted);
                }
                (outcomes, Err(why))
            }
        }
    }

    fn admit(
        &mut self,
        request: &Request,
        view: &S::View,
        changes: &mut Changes,
    ) -> Result<Committed, MetaError> {
        self.window.expire(request.at);
        if let Some(version) = request.read_version {
            self.window.check(version, &request.reads)?;
        }
        let version = self.version + 1;
        let versionstamp = stamp(version);
        let points = resolve(&request.writes, versionstamp, view, changes)?;
        let mut own = Changes::new();
        for range in request.writes.cleared() {
            clear_range(range, view, changes, &mut own)?;
        }
        // Nothing fails from here on: a refused transaction leaves nothing in the batch.
        let written = points.keys().cloned().collect();
        own.extend(points);
        changes.extend(own);
        let ranges = request.writes.cleared().chain(request.writes.conflicts());
        let ranges = ranges.cloned().collect();
        self.window.record(version, request.at, written, ranges);
        self.version = version;
        Ok(Committed {
            version,
            versionstamp,
        })
    }
}

/// A version as a stamp; one commit per version, so its order in the batch is 0.
pub(crate) fn stamp(version: u64) -> Versionstamp {
    let mut stamp = [0; 10];
    stamp[..8].copy_from_slice(&version.to_be_bytes());
    stamp
}

/// The operations on single keys as values. Reads what is stored *before* this transaction's cleared ranges: an
/// atomic operation after a clear was folded into a set already.
fn resolve(
    writes: &WriteSet,
    versionstamp: Versionstamp,
    view: &impl View,
    changes: &Changes,
) -> Result<Changes, StorageError> {
    let mut resolved = Changes::new();
    for (key, op) in writes.ops() {
        let value = match op {
            Op::Set(value) => Some(value.clone()),
            Op::Clear => None,
            Op::Stamped(prefix) => Some([&prefix[..], &versionstamp].concat().into()),
            Op::Atomic(atomics) => {
                let stored = current(key, view, changes)?;
                Some(apply_atomics(atomics, stored.as_deref()))
            }
        };
        resolved.insert(key.clone(), value);
    }
    for (key, value) in writes.stamped_keys(versionstamp) {
        resolved.insert(key, Some(value.clone()));
    }
    Ok(resolved)
}

/// A key's value after the earlier transactions of the group.
fn current(
    key: &Bytes,
    view: &impl View,
    changes: &Changes,
) -> Result<Option<Bytes>, StorageError> {
    match changes.get(key) {
        Some(changed) => Ok(changed.clone()),
        None => view.get(key),
    }
}

/// Removes what is stored in a range, the earlier transactions of the group included.
fn clear_range(
    range: &KeyRange,
    view: &impl View,
    changes: &Changes,
    own: &mut Changes,
) -> Result<(), StorageError> {
    for (key, _) in changes.range::<Bytes, _>(&range.begin..&range.end) {
        own.insert(key.clone(), None);
    }
    for pair in view.range(&range.begin, &range.end, false) {
        own.insert(pair?.0, None);
    }
    Ok(())
}
