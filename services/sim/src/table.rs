//! What a compacted topic's clients wrote and saw, and what that forbids: every record that is read is one that was written,
//! at its one offset; the latest of a key stays, a tombstone at least for its time; and whoever reads from the beginning builds
//! the table that was written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_records::{Batch, Record};
use tidemark_runtime::Invariant;
use tidemark_types::PartitionId;
use tokio::time::Instant;

use crate::verdict::Verdict;

/// Bytes of a batch's records, decoded, at the most.
const DECODED_BYTES_MAX: usize = 1 << 20;

/// A record that a client made. Its timestamp is its identity beside its key and value: clients draw no two alike.
#[derive(Clone, Debug)]
struct Written {
    key: Bytes,
    value: Option<Bytes>,
    /// When it was made, in time that never jumps.
    at: Instant,
    offset: Option<i64>,
    refused: bool,
}

#[derive(Debug, Default)]
struct Partition {
    /// By their header.
    written: BTreeMap<Bytes, Written>,
    /// By offset: the header of what lies there.
    placed: BTreeMap<i64, Bytes>,
    /// By key: the highest offset that a record of it is known at.
    latest: BTreeMap<Bytes, i64>,
    /// The highest end anyone knows of.
    floor: i64,
}

#[derive(Debug)]
struct Inner {
    partitions: BTreeMap<PartitionId, Partition>,
    /// The shortest time that tombstones were ever to stay.
    tombstones_stay: Duration,
    /// How far the wall clock was moved ahead, in all: by so much less a tombstone may have stayed.
    ahead: Duration,
}

/// The tables. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    verdict: Verdict,
    inner: Arc<Mutex<Inner>>,
}

/// A read from the beginning to the end.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) id: PartitionId,
    pub(crate) began: Instant,
    seen: BTreeSet<i64>,
}

impl Tables {
    pub(crate) fn new(verdict: &Verdict) -> Self {
        Self {
            verdict: verdict.clone(),
            inner: Arc::new(Mutex::new(Inner {
                partitions: BTreeMap::new(),
                tombstones_stay: Duration::MAX,
                ahead: Duration::ZERO,
            })),
        }
    }

    /// The partitions of compacted topics.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        self.inner.lock().partitions.keys().copied().collect()
    }

    /// These partitions are of a compacted topic.
    pub(crate) fn add(&self, ids: impl Iterator<Item = PartitionId>) {
        let mut inner = self.inner.lock();
        inner
            .partitions
            .extend(ids.map(|id| (id, Partition::default())));
    }

    pub(crate) fn is_of_table(&self, id: PartitionId) -> bool {
        self.inner.lock().partitions.contains_key(&id)
    }

    /// From now on tombstones may go after this time.
    pub(crate) fn tombstones_stay(&self, time: Duration) {
        let mut inner = self.inner.lock();
        inner.tombstones_stay = inner.tombstones_stay.min(time);
    }

    /// The wall clock jumps.
    pub(crate) fn jumped(&self, by_ms: i64) {
        let by = Duration::from_millis(u64::try_from(by_ms).unwrap_or(0));
        self.inner.lock().ahead += by;
    }

    /// The highest end anyone knows of.
    pub(crate) fn floor(&self, id: PartitionId) -> i64 {
        let inner = self.inner.lock();
        inner.partitions.get(&id).map_or(0, |p| p.floor)
    }

    /// A client is about to send these records.
    pub(crate) fn sends(&self, id: PartitionId, batch: &Batch, now: Instant) {
        let mut inner = self.inner.lock();
        let partition = inner.partitions.entry(id).or_default();
        for record in records(batch) {
            let written = Written {
                key: record.key.clone().unwrap_or_default(),
                value: record.value.clone(),
                at: now,
                offset: None,
                refused: false,
            };
            partition.written.insert(name(&record), written);
        }
    }

    /// They were acked at `base`.
    pub(crate) fn acked(&self, id: PartitionId, batch: &Batch, base: i64) {
        for record in records(batch) {
            self.place(id, &name(&record), base + record.offset.0);
        }
    }

    /// They were refused, and nothing of them will ever be appended.
    pub(crate) fn refused(&self, id: PartitionId, batch: &Batch) {
        for record in records(batch) {
            let name = name(&record);
            let mut inner = self.inner.lock();
            let partition = inner.partitions.entry(id).or_default();
            let written = partition.written.get_mut(&name);
            let placed = written.is_some_and(|w| {
                w.refused = true;
                w.offset.is_some()
            });
            drop(inner);
            if placed {
                let what = format!("{id}: {name:?} was refused, and is there");
                self.verdict.violated(Invariant::OneValuePerOffset, what);
            }
        }
    }

    /// Batches were read or lie in an object: each of their records is one that was written.
    pub(crate) fn saw(&self, id: PartitionId, batches: &[Batch]) -> Vec<i64> {
        let mut offsets = Vec::new();
        for record in batches.iter().flat_map(records) {
            let (name, offset) = (name(&record), record.offset.0);
            let mut inner = self.inner.lock();
            let partition = inner.partitions.entry(id).or_default();
            let known = partition.written.get(&name);
            let same = known.is_some_and(|w| {
                !w.refused && Some(&w.key) == record.key.as_ref() && w.value == record.value
            });
            drop(inner);
            if !same {
                let what = format!("{id}: {name:?} at {offset} is not what was written");
                self.verdict.violated(Invariant::OneValuePerOffset, what);
            }
            self.place(id, &name, offset);
            if offsets.last().is_some_and(|last| *last >= offset) {
                let what = format!("{id}: {offset} follows {:?}", offsets.last());
                self.verdict.violated(Invariant::OffsetsDense, what);
            }
            offsets.push(offset);
        }
        offsets
    }

    fn place(&self, id: PartitionId, name: &Bytes, offset: i64) {
        let mut inner = self.inner.lock();
        let partition = inner.partitions.entry(id).or_default();
        partition.floor = partition.floor.max(offset + 1);
        let other = partition.placed.insert(offset, name.clone());
        let mut wrong = other.filter(|other| other != name).map(|other| {
            let what = format!("{id}: {name:?} lies at {offset}, {other:?} did");
            (Invariant::OneValuePerOffset, what)
        });
        if let Some(written) = partition.written.get_mut(name) {
            let known = *written.offset.get_or_insert(offset);
            let latest = partition.latest.entry(written.key.clone()).or_default();
            *latest = offset.max(*latest);
            if known != offset {
                let what = format!("{id}: {name:?} lies at {known} and at {offset}");
                wrong = Some((Invariant::ProducerOnce, what));
            }
        }
        drop(inner);
        if let Some((invariant, what)) = wrong {
            self.verdict.violated(invariant, what);
        }
    }

    pub(crate) fn scan(id: PartitionId, now: Instant) -> Scan {
        Scan {
            id,
            began: now,
            seen: BTreeSet::new(),
        }
    }

    /// More of a scan.
    pub(crate) fn scanned(&self, scan: &mut Scan, from: i64, batches: &[Batch]) {
        let offsets = self.saw(scan.id, batches);
        // A batch that was asked for in its middle comes whole.
        scan.seen.extend(offsets.into_iter().filter(|o| *o >= from));
    }

    /// A scan has come to the log's end: what it did not see was superseded, or is a tombstone past its time.
    pub(crate) fn complete(&self, scan: &Scan, now: Instant) {
        let inner = self.inner.lock();
        let id = scan.id;
        let Some(partition) = inner.partitions.get(&id) else {
            return;
        };
        let past = |since: Instant| {
            let took = now.saturating_duration_since(since) + inner.ahead;
            // Timestamps are whole milliseconds.
            took + Duration::from_millis(1) >= inner.tombstones_stay
        };
        let mut wrong = Vec::new();
        let mut built: BTreeMap<&Bytes, i64> = BTreeMap::new();
        for (offset, name) in &partition.placed {
            let Some(written) = partition.written.get(name) else {
                continue;
            };
            let seen = scan.seen.contains(offset);
            if seen {
                match written.value {
                    Some(_) => built.insert(&written.key, *offset),
                    None => built.remove(&written.key),
                };
            }
            let is_latest = partition.latest.get(&written.key) == Some(offset);
            let may_be_gone = written.value.is_none() && past(written.at);
            // What came behind the end while it was read is not asked for.
            if !seen && is_latest && !may_be_gone && scan.seen.last() > Some(offset) {
                let what = format!("{id}: {name:?} at {offset} is gone, the latest of its key");
                wrong.push(what);
            }
        }
        for (key, offset) in built {
            let latest = partition.latest.get(key).copied().unwrap_or(offset);
            let reached = scan.seen.last() >= Some(&latest);
            if latest > offset && reached && !past(scan.began) {
                let what = format!("{id}: {key:?} is as of {offset}, it was deleted at {latest}");
                wrong.push(what);
            }
        }
        drop(inner);
        for what in wrong {
            self.verdict.violated(Invariant::AckedReadable, what);
        }
    }
}

fn records(batch: &Batch) -> Vec<Record> {
    // What does not decode is no record that was written.
    tidemark_records::records(batch, DECODED_BYTES_MAX).unwrap_or_default()
}

/// What clients call a record, in its header.
fn name(record: &Record) -> Bytes {
    let header = record.headers.first().and_then(|h| h.value.clone());
    header.unwrap_or_default()
}
