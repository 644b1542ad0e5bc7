//! The memory that finding offsets in sealed extents may take.
//!
//! An extent's index and what its checkpoint says can be read again from the extent itself, so both are only
//! kept while there is room: those used least recently go first. The open extent's index is its owner's and is not
//! counted here: it is bounded by the extent's size.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tidemark_runtime::FastMap;

use crate::index::ReadableExtent;

/// What is known of an extent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum What {
    Index,
    Starts,
}

type Key = ((u32, u64), What);

/// What is kept of all shards' sealed extents.
#[derive(Debug)]
pub(crate) struct Maps {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    uses: u64,
    entries: FastMap<Key, Entry>,
    /// By last use.
    order: BTreeMap<u64, Key>,
}

#[derive(Debug)]
struct Entry {
    /// Gone with its shard's ownership; its bytes count until it is dropped here too.
    extent: Weak<ReadableExtent>,
    bytes: usize,
    used: u64,
}

fn key(extent: &ReadableExtent, what: What) -> Key {
    let id = extent.extent.id;
    ((id.shard.0, id.index.0), what)
}

impl Maps {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// Notes that something was used that may have been kept.
    pub(crate) fn used(&self, extent: &ReadableExtent, what: What) {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        if let Some(entry) = kept.entries.get_mut(&key(extent, what))
            && let Some(key) = kept.order.remove(&entry.used)
        {
            kept.uses += 1;
            entry.used = kept.uses;
            kept.order.insert(kept.uses, key);
        }
    }

    /// Accounts for what an extent keeps from now on, and drops the rest over the bound. The newest stays.
    pub(crate) fn keep(&self, extent: &Arc<ReadableExtent>, what: What) {
        let bytes = extent.known_bytes(what);
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        kept.uses += 1;
        let (key, used) = (key(extent, what), kept.uses);
        let entry = Entry {
            extent: Arc::downgrade(extent),
            bytes,
            used,
        };
        kept.bytes += bytes;
        kept.order.insert(used, key);
        if let Some(before) = kept.entries.insert(key, entry) {
            kept.bytes -= before.bytes;
            kept.order.remove(&before.used);
        }
        while kept.bytes > self.bytes_max
            && kept.order.len() > 1
            && let Some((_, oldest)) = kept.order.pop_first()
            && let Some(entry) = kept.entries.remove(&oldest)
        {
            kept.bytes -= entry.bytes;
            if let Some(extent) = entry.extent.upgrade() {
                extent.forget(oldest.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemark_journal::{Extent, ExtentId, ReplicaSet};
    use tidemark_types::{
        ExtentIdx, Lsn, NodeId, Offset, PartitionId, PartitionIndex, ShardId, TopicId,
    };

    use super::*;
    use crate::index::{Start, Starts};

    fn extent(index: u64) -> Arc<ReadableExtent> {
        let extent = Extent {
            id: ExtentId {
                shard: ShardId(0),
                index: ExtentIdx(index),
            },
            first: Lsn(index),
            replicas: ReplicaSet::new(vec![NodeId(1)], 1).unwrap(),
        };
        Arc::new(ReadableExtent::new(extent, Lsn(index + 1), None))
    }

    fn starts(partitions: i32) -> Starts {
        let start = Start {
            next_offset: Offset(0),
            max_timestamp: None,
        };
        let of = |index| PartitionId {
            topic: TopicId(1),
            index: PartitionIndex(index),
        };
        (0..partitions).map(|index| (of(index), start)).collect()
    }

    #[test]
    fn what_is_known_of_extents_keeps_to_its_bound_and_the_least_used_goes_first() {
        let one = {
            let probe = extent(0);
            *probe.starts.write() = Some(Arc::new(starts(100)));
            probe.known_bytes(What::Starts)
        };
        assert!(one > 100 * size_of::<Start>());
        let maps = Maps::new(5 * one);
        let extents: Vec<_> = (0..50).map(extent).collect();
        for known in &extents {
            *known.starts.write() = Some(Arc::new(starts(100)));
            maps.keep(known, What::Starts);
            maps.used(&extents[0], What::Starts);
            assert!(maps.kept.lock().bytes <= 5 * one);
        }
        let held = |e: &&Arc<ReadableExtent>| e.starts.read().is_some();
        let held: Vec<u64> = extents
            .iter()
            .filter(held)
            .map(|e| e.extent.id.index.0)
            .collect();
        assert_eq!(held, [0, 46, 47, 48, 49]);
        // Kept again, it is counted once.
        maps.keep(&extents[49], What::Starts);
        assert_eq!(maps.kept.lock().bytes, 5 * one);
        // The bound holds for what a shard's earlier ownership left, too.
        drop(extents);
        let later = extent(99);
        *later.starts.write() = Some(Arc::new(starts(500)));
        maps.keep(&later, What::Starts);
        assert_eq!(maps.kept.lock().entries.len(), 1);
        assert!(later.starts.read().is_some(), "the newest stays");
    }
}
