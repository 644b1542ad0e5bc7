//! Where an extent holds which offsets: a sparse index per partition, and what its checkpoint says.
//!
//! The owner fills the open extent's index as frames commit and a replay fills those it reads; other extents
//! are scanned once, when a reader first needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tidemark_journal::Extent;
use tidemark_runtime::FastMap;
use tidemark_types::{Lsn, Offset, PartitionId};

use crate::head::{BatchEntry, Head};
use crate::maps::What;
use crate::state::CommittedState;

/// Bytes of the extent between two marks of one partition, at first.
const STEP_BYTES: u64 = 128 << 10;
/// Marks of one partition in one extent at the most: at that many, every second one goes and the step doubles.
const MARKS_MAX: usize = 256;
/// What an entry of a hash map costs beside itself at the usual fill.
const HASH_BYTES: usize = 16;

/// A position: batches from `offset` on are at `lsn` or later, and up to the next mark none is later than
/// `max_timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) offset: Offset,
    pub(crate) lsn: Lsn,
    pub(crate) max_timestamp: i64,
}

#[derive(Debug, Default)]
struct Sparse {
    marks: Vec<Mark>,
    step: u64,
    next_at: u64,
}

impl Sparse {
    fn note(&mut self, at: u64, mark: Mark) {
        if let Some(last) = self.marks.last_mut()
            && at < self.next_at
        {
            last.max_timestamp = last.max_timestamp.max(mark.max_timestamp);
            return;
        }
        if self.marks.len() == MARKS_MAX {
            self.thin();
        }
        self.step = self.step.max(STEP_BYTES);
        self.next_at = at + self.step;
        if self.marks.len() == self.marks.capacity() {
            // From one on: most of many partitions have a single mark.
            self.marks.reserve_exact(self.marks.len().max(1));
        }
        self.marks.push(mark);
    }

    fn thin(&mut self) {
        self.step *= 2;
        self.marks = self
            .marks
            .chunks(2)
            .map(|pair| Mark {
                max_timestamp: pair.iter().map(|m| m.max_timestamp).max().unwrap_or(-1),
                ..pair[0]
            })
            .collect();
    }
}

/// The sparse index of one extent.
#[derive(Debug, Default)]
pub(crate) struct Index {
    at: u64,
    partitions: FastMap<PartitionId, Sparse>,
}

impl Index {
    /// Notes the batches of a frame; `part_bytes` are their sizes in order.
    pub(crate) fn note(&mut self, lsn: Lsn, head: &Head, part_bytes: impl Iterator<Item = usize>) {
        for (batch, bytes) in head.batches().zip(part_bytes) {
            let BatchEntry {
                partition,
                base_offset,
                max_timestamp,
                ..
            } = *batch;
            let mark = Mark {
                offset: base_offset,
                lsn,
                max_timestamp,
            };
            self.partitions
                .entry(partition)
                .or_default()
                .note(self.at, mark);
            self.at += bytes as u64;
        }
    }

    /// Memory it takes, about.
    fn bytes(&self) -> usize {
        let marks = self.partitions.values().map(|p| p.marks.capacity());
        let entry = size_of::<(PartitionId, Sparse)>() + HASH_BYTES;
        size_of::<Mark>() * marks.sum::<usize>() + entry * self.partitions.len()
    }

    /// Where to start reading for `offset`. `None`: the extent holds nothing of the partition.
    pub(crate) fn seek(&self, partition: PartitionId, offset: Offset) -> Option<Lsn> {
        let marks = &self.partitions.get(&partition)?.marks;
        let after = marks.partition_point(|m| m.offset <= offset);
        marks.get(after.saturating_sub(1)).map(|m| m.lsn)
    }

    /// The first mark that may lead to a batch at or after `timestamp`, with offsets at or above `from`.
    pub(crate) fn seek_time(
        &self,
        partition: PartitionId,
        from: Offset,
        timestamp: i64,
    ) -> Option<Mark> {
        let marks = &self.partitions.get(&partition)?.marks;
        let first = marks.partition_point(|m| m.offset <= from);
        marks[first.saturating_sub(1)..]
            .iter()
            .find(|m| m.max_timestamp >= timestamp)
            .copied()
    }
}

/// What an extent's checkpoint says of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Start {
    pub(crate) next_offset: Offset,
    /// The largest timestamp of all batches before the extent.
    pub(crate) max_timestamp: Option<i64>,
}

/// What an extent's checkpoint says of every partition it knows.
pub(crate) type Starts = FastMap<PartitionId, Start>;

/// An extent that readers may read.
#[derive(Debug)]
pub(crate) struct ReadableExtent {
    pub(crate) extent: Extent,
    /// Committed or sealed end, exclusive; grows while the extent is open, never passed (J6).
    end: AtomicU64,
    pub(crate) index: RwLock<Option<Index>>,
    pub(crate) starts: RwLock<Option<Arc<Starts>>>,
    /// Held by whoever builds the index.
    pub(crate) scanning: tokio::sync::Mutex<()>,
}

impl ReadableExtent {
    pub(crate) fn new(extent: Extent, end: Lsn, index: Option<Index>) -> Self {
        Self {
            extent,
            end: AtomicU64::new(end.0),
            index: RwLock::new(index),
            starts: RwLock::new(None),
            scanning: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn end(&self) -> Lsn {
        Lsn(self.end.load(Ordering::Acquire))
    }

    pub(crate) fn set_end(&self, end: Lsn) {
        self.end.store(end.0, Ordering::Release);
    }

    /// Memory that what is known takes, about.
    pub(crate) fn known_bytes(&self, what: What) -> usize {
        match what {
            What::Index => self.index.read().as_ref().map_or(0, Index::bytes),
            What::Starts => {
                let count = self.starts.read().as_ref().map_or(0, |starts| starts.len());
                count * (size_of::<(PartitionId, Start)>() + HASH_BYTES)
            }
        }
    }

    /// Drops what is known; whoever needs it again reads it from the extent.
    pub(crate) fn forget(&self, what: What) {
        match what {
            What::Index => *self.index.write() = None,
            What::Starts => *self.starts.write() = None,
        }
    }
}

/// The part of a checkpoint that finding offsets needs.
pub(crate) fn starts_of(state: &CommittedState) -> Starts {
    state
        .partitions
        .iter()
        .map(|(id, p)| {
            let start = Start {
                next_offset: p.next_offset,
                max_timestamp: p.max_timestamp.map(|(ms, _)| ms),
            };
            (*id, start)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tidemark_types::{PartitionIndex, TopicId};

    use super::*;

    #[test]
    fn a_full_index_thins_out_and_still_leads_to_or_before_every_offset() {
        let mut sparse = Sparse::default();
        for i in 0..10_000u32 {
            let i = i64::from(i);
            let mark = Mark {
                offset: Offset(i),
                lsn: Lsn(i.unsigned_abs()),
                max_timestamp: 1_000 - i,
            };
            sparse.note(i.unsigned_abs() * STEP_BYTES, mark);
        }
        assert!(sparse.marks.len() <= MARKS_MAX);
        let partition = PartitionId {
            topic: TopicId(1),
            index: PartitionIndex(0),
        };
        let mut index = Index::default();
        index.partitions.insert(partition, sparse);
        for offset in (0..10_000).step_by(37) {
            let lsn = index.seek(partition, Offset(offset)).unwrap();
            assert!(lsn.0 <= offset.unsigned_abs(), "offset {offset} at {lsn}");
            assert!(
                lsn.0 + 128 > offset.unsigned_abs(),
                "offset {offset} at {lsn}"
            );
        }
        let mark = index.seek_time(partition, Offset(0), 990).unwrap();
        assert_eq!(mark.offset, Offset(0));
        assert!(index.seek_time(partition, Offset(0), 1_001).is_none());
    }
}
