//! Storage in memory: every key with its versions.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::KeyValue;
use crate::occ::{Changes, Storage, StorageError, View};

/// A key's values by version, oldest first; `None` is a removal.
type Versions = VecDeque<(u64, Option<Bytes>)>;

#[derive(Default)]
struct Kept {
    keys: BTreeMap<Bytes, Versions>,
    /// Removals in version order: their keys go away once no view can see what was there.
    removals: VecDeque<(u64, Bytes)>,
    /// Views below are not readable.
    oldest: u64,
}

/// The storage; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    kept: Arc<RwLock<Kept>>,
    version: u64,
}

/// The memory at one version.
pub(crate) struct MemoryView {
    kept: Arc<RwLock<Kept>>,
    version: u64,
}

impl Kept {
    fn readable(&self, version: u64) -> Result<(), StorageError> {
        if version < self.oldest {
            return Err(StorageError::TooOld);
        }
        Ok(())
    }

    /// Drops what no view at `oldest` or later can see.
    fn prune(&mut self, touched: &Changes) {
        for key in touched.keys() {
            if let Some(versions) = self.keys.get_mut(key) {
                prune_key(versions, self.oldest);
            }
        }
        while let Some((version, key)) = self.removals.pop_front() {
            if version > self.oldest {
                self.removals.push_front((version, key));
                return;
            }
            if let Some(versions) = self.keys.get_mut(&key) {
                prune_key(versions, self.oldest);
                if matches!(versions.front(), Some((_, None))) && versions.len() == 1 {
                    self.keys.remove(&key);
                }
            }
        }
    }
}

fn prune_key(versions: &mut Versions, oldest: u64) {
    while versions.get(1).is_some_and(|(v, _)| *v <= oldest) {
        versions.pop_front();
    }
}

fn at(versions: &Versions, version: u64) -> Option<&Bytes> {
    let visible = versions.iter().rev().find(|(v, _)| *v <= version);
    visible.and_then(|(_, value)| value.as_ref())
}

impl Storage for Memory {
    type View = MemoryView;

    fn view(&self) -> MemoryView {
        MemoryView {
            kept: self.kept.clone(),
            version: self.version,
        }
    }

    fn apply(&mut self, version: u64, changes: &Changes, oldest: u64) -> Result<(), StorageError> {
        let mut kept = self.kept.write();
        for (key, value) in changes {
            let change = (version, value.clone());
            kept.keys.entry(key.clone()).or_default().push_back(change);
            if value.is_none() {
                kept.removals.push_back((version, key.clone()));
            }
        }
        kept.oldest = oldest;
        kept.prune(changes);
        self.version = version;
        Ok(())
    }
}

impl View for MemoryView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let kept = self.kept.read();
        kept.readable(self.version)?;
        let versions = kept.keys.get(key);
        Ok(versions.and_then(|v| at(v, self.version)).cloned())
    }

    fn range<'a>(
        &'a self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<KeyValue, StorageError>> + 'a> {
        // The lock is taken per pair, so that a reader never holds it across anything.
        let mut begin = Bound::Included(Bytes::copy_from_slice(begin));
        let mut end = Bound::Excluded(Bytes::copy_from_slice(end));
        Box::new(std::iter::from_fn(move || {
            let kept = self.kept.read();
            if let Err(error) = kept.readable(self.version) {
                return Some(Err(error));
            }
            if is_empty(&begin, &end) {
                return None;
            }
            let mut keys = kept.keys.range((begin.clone(), end.clone()));
            let visible = |(key, versions): (&Bytes, &Versions)| {
                at(versions, self.version).map(|value| (key.clone(), value.clone()))
            };
            let found = if reverse {
                keys.rev().find_map(visible)
            } else {
                keys.find_map(visible)
            }?;
            if reverse {
                end = Bound::Excluded(found.0.clone());
            } else {
                begin = Bound::Excluded(found.0.clone());
            }
            Some(Ok(found))
        }))
    }
}

/// Whether nothing lies between the bounds; `BTreeMap::range` panics on some of these.
fn is_empty(begin: &Bound<Bytes>, end: &Bound<Bytes>) -> bool {
    match (begin, end) {
        (Bound::Included(begin) | Bound::Excluded(begin), Bound::Excluded(end)) => begin >= end,
        _ => false,
    }
}
