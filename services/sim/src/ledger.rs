//! What clients were told and saw, and what that forbids from then on.
//!
//! A run has one thread, so the order of these calls is the real-time order of the operations' ends; each operation
//! takes the partition's *floor* when it begins. An append answered at `base`, and an end that is claimed, must lie at or
//! above the floor of their beginning, and raise it: with one batch per offset and no gaps, that is linearizability of
//! append, read and tail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_records::{Batch, PREFIX_BYTES};
use tidemark_runtime::Invariant;
use tidemark_types::{LeaderEpoch, Offset, PartitionId};

use crate::verdict::Verdict;

/// A batch's bytes without what the log changes in them: the payload is unique, so this is its identity.
pub(crate) type Body = Bytes;

pub(crate) fn body_of(batch: &Batch) -> Body {
    batch.bytes().slice(PREFIX_BYTES..)
}

/// A batch in the log.
#[derive(Clone, Debug)]
struct Seen {
    /// Exclusive.
    end: i64,
    body: Body,
    /// Known once it was read.
    epoch: Option<i32>,
    /// ms since the Unix epoch.
    timestamp: i64,
}

/// The ends that one leader epoch has shown.
#[derive(Clone, Copy, Debug)]
struct Shown {
    lowest: i64,
    highest: i64,
}

#[derive(Debug, Default)]
struct Partition {
    batches: BTreeMap<i64, Seen>,
    /// The highest end anyone knows of: everything below it is committed.
    floor: i64,
    acked: BTreeSet<i64>,
    shown: BTreeMap<i32, Shown>,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<PartitionId, Partition>,
    place_of: BTreeMap<Body, (PartitionId, i64)>,
    /// Refused for good: these must never show up.
    refused: BTreeSet<Body>,
    producer_ids: BTreeSet<i64>,
    acks: u64,
    reads: u64,
}

/// The ledger. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    verdict: Verdict,
    inner: Arc<Mutex<Inner>>,
}

impl Ledger {
    pub(crate) fn new(verdict: &Verdict) -> Self {
        Self {
            verdict: verdict.clone(),
            inner: Arc::default(),
        }
    }

    pub(crate) fn violated(&self, invariant: Invariant, what: String) {
        self.verdict.violated(invariant, what);
    }

    /// Everything below this offset is known to be committed.
    pub(crate) fn floor(&self, id: PartitionId) -> i64 {
        let inner = self.inner.lock();
        inner.partitions.get(&id).map_or(0, |p| p.floor)
    }

    /// Batches acked and read so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.acks, inner.reads)
    }

    /// A producer id was given out.
    pub(crate) fn producer_id(&self, id: i64) {
        if !self.inner.lock().producer_ids.insert(id) {
            let what = format!("producer id {id} was given out twice");
            self.violated(Invariant::ProducerOnce, what);
        }
    }

    /// An append that began at `floor` was acked at `base`.
    pub(crate) fn acked(&self, id: PartitionId, batch: &Batch, base: Offset, floor: i64) {
        let base = base.0;
        if base < floor {
            let what = format!("{id}: acked at {base}, {floor} was the end before it was sent");
            self.violated(Invariant::OffsetsDense, what);
        }
        let end = base + i64::from(batch.header().last_offset_delta) + 1;
        self.place(id, base, end, batch, None);
        let mut inner = self.inner.lock();
        inner.acks += 1;
        let partition = inner.partitions.entry(id).or_default();
        partition.acked.insert(base);
        partition.floor = partition.floor.max(end);
    }

    /// An append was refused, and nothing of it will ever be appended.
    pub(crate) fn refused(&self, id: PartitionId, batch: &Batch, why: &str) {
        let body = body_of(batch);
        let mut inner = self.inner.lock();
        if let Some((at, base)) = inner.place_of.get(&body) {
            let what = format!("{id}: refused ({why}), it is at {base} of {at}");
            drop(inner);
            self.violated(Invariant::OneValuePerOffset, what);
        } else {
            inner.refused.insert(body);
        }
    }

    /// Someone claims to know the end; the claim's operation began at `floor`.
    pub(crate) fn claimed_end(&self, id: PartitionId, end: i64, floor: i64, by: &str) {
        if end < floor {
            let what = format!("{id}: {by} says the end is {end}, it was {floor} before");
            self.violated(Invariant::NoRegress, what);
        }
        let mut inner = self.inner.lock();
        let partition = inner.partitions.entry(id).or_default();
        partition.floor = partition.floor.max(end);
    }

    /// An owner under a leader epoch shows a high watermark. No epoch shows less than any before it showed.
    pub(crate) fn shown(&self, id: PartitionId, epoch: LeaderEpoch, end: i64) {
        let mut inner = self.inner.lock();
        let partition = inner.partitions.entry(id).or_default();
        let before = partition
            .shown
            .range(..epoch.0)
            .map(|(e, s)| (*e, s.highest));
        let after = partition.shown.range(epoch.0 + 1..);
        let bad = before
            .filter(|(_, highest)| *highest > end)
            .chain(
                after
                    .map(|(e, s)| (*e, s.lowest))
                    .filter(|(_, lowest)| *lowest < end),
            )
            .next();
        let entry = partition.shown.entry(epoch.0).or_insert(Shown {
            lowest: end,
            highest: end,
        });
        entry.lowest = entry.lowest.min(end);
        entry.highest = entry.highest.max(end);
        partition.floor = partition.floor.max(end);
        if let Some((other, at)) = bad {
            drop(inner);
            let what = format!("{id}: epoch {epoch} ends at {end}, epoch {other} at {at}");
            self.violated(Invariant::NoRegress, what);
        }
    }

    /// Batches were read: whole, in order, from `from` on, below `end`. Those below `gone` may be missing: they were
    /// deleted meanwhile.
    pub(crate) fn read(
        &self,
        id: PartitionId,
        from: i64,
        (gone, end): (i64, i64),
        batches: &[Batch],
    ) {
        let mut next = from;
        for batch in batches {
            let header = batch.header();
            let (base, after) = (header.base_offset.0, header.next_offset().0);
            let first = next == from && base <= from && from < after;
            let deleted = next < base && base <= gone;
            if base != next && !first && !deleted {
                let what = format!("{id}: reading from {from}, {base}..{after} follows {next}");
                self.violated(Invariant::OffsetsDense, what);
            }
            if after > end {
                let what = format!("{id}: {base}..{after} is served, the end is {end}");
                self.violated(Invariant::NothingAboveHw, what);
            }
            next = after;
            let epoch = header.leader_epoch.0;
            self.place(id, base, after, batch, Some(epoch));
        }
        let mut inner = self.inner.lock();
        inner.reads += batches.len() as u64;
        let partition = inner.partitions.entry(id).or_default();
        partition.floor = partition.floor.max(next);
    }

    /// Everything that was acked and lies outside of what was just read, in full, from 0 to `end`, is lost.
    pub(crate) fn complete(&self, id: PartitionId, end: i64) {
        let inner = self.inner.lock();
        let Some(partition) = inner.partitions.get(&id) else {
            return;
        };
        let (floor, newest) = (partition.floor, partition.acked.last().copied());
        drop(inner);
        if end < floor {
            let what = format!("{id}: ends at {end}, was at {floor}; last ack at {newest:?}");
            self.violated(Invariant::AckedReadable, what);
        }
    }

    /// An operator gave these batches up: whatever lies at or above the first of them in its partition never was.
    /// Gives the partitions' new ends.
    pub(crate) fn give_up(&self, lost: &BTreeSet<Body>) -> Vec<(PartitionId, i64)> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut cut: BTreeMap<PartitionId, i64> = BTreeMap::new();
        for (id, base) in lost.iter().filter_map(|body| inner.place_of.get(body)) {
            let lowest = cut.entry(*id).or_insert(*base);
            *lowest = (*lowest).min(*base);
        }
        for (id, end) in &cut {
            let partition = inner.partitions.entry(*id).or_default();
            for (_, seen) in partition.batches.split_off(end) {
                inner.place_of.remove(&seen.body);
            }
            partition.acked.split_off(end);
            partition.floor = *end;
            partition.shown.clear();
        }
        cut.into_iter().collect()
    }

    /// Where the batch that holds this offset ends, if it is known.
    pub(crate) fn behind(&self, id: PartitionId, offset: i64) -> Option<i64> {
        let inner = self.inner.lock();
        let mut up_to = inner.partitions.get(&id)?.batches.range(..=offset);
        let end = up_to.next_back()?.1.end;
        (end > offset).then_some(end)
    }

    /// The partitions that hold something.
    pub(crate) fn partitions(&self) -> Vec<PartitionId> {
        self.inner.lock().partitions.keys().copied().collect()
    }

    /// Where the last batch below an offset begins, if it is known.
    pub(crate) fn base_before(&self, id: PartitionId, offset: i64) -> Option<i64> {
        let inner = self.inner.lock();
        let mut below = inner.partitions.get(&id)?.batches.range(..offset);
        below.next_back().map(|(base, _)| *base)
    }

    /// The latest timestamp of the batches that begin in a range, as far as they are known.
    pub(crate) fn newest_between(&self, id: PartitionId, from: i64, to: i64) -> Option<i64> {
        let inner = self.inner.lock();
        let batches = inner.partitions.get(&id)?.batches.range(from..to);
        batches.map(|(_, seen)| seen.timestamp).max()
    }

    /// First offsets of the leader epochs that were read.
    pub(crate) fn epochs(&self, id: PartitionId) -> Vec<(i32, i64)> {
        let inner = self.inner.lock();
        let mut starts: BTreeMap<i32, i64> = BTreeMap::new();
        for (base, seen) in inner.partitions.get(&id).iter().flat_map(|p| &p.batches) {
            if let Some(epoch) = seen.epoch {
                starts.entry(epoch).or_insert(*base);
            }
        }
        starts.into_iter().collect()
    }

    /// One value per offset, one offset per value.
    fn place(&self, id: PartitionId, base: i64, end: i64, batch: &Batch, epoch: Option<i32>) {
        let (body, timestamp) = (body_of(batch), batch.header().max_timestamp);
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let mut wrong = None;
        if inner.refused.contains(&body) {
            wrong = Some((
                Invariant::OneValuePerOffset,
                format!("{id}: {base}..{end} holds a batch that was refused for good"),
            ));
        }
        let at = *inner.place_of.entry(body.clone()).or_insert((id, base));
        if at != (id, base) {
            let what = format!("{id}: the batch at {base} is also at {} of {}", at.1, at.0);
            wrong = Some((Invariant::ProducerOnce, what));
        }
        let batches = &mut inner.partitions.entry(id).or_default().batches;
        let before = batches.range(..end).next_back();
        match before {
            Some((b, seen)) if *b == base && seen.end == end && seen.body == body => {}
            Some((b, seen)) if seen.end > base => {
                let what = format!("{id}: {base}..{end} is not {b}..{} seen before", seen.end);
                wrong = Some((Invariant::OneValuePerOffset, what));
            }
            _ => {}
        }
        if let Some(epoch) = epoch {
            let older = batches.range(..base).rev().find_map(|(_, s)| s.epoch);
            let newer = batches.range(end..).find_map(|(_, s)| s.epoch);
            if older.is_some_and(|older| older > epoch) || newer.is_some_and(|newer| newer < epoch)
            {
                let what =
                    format!("{id}: epoch {epoch} at {base}, {older:?} before, {newer:?} after");
                wrong = Some((Invariant::NoRegress, what));
            }
        }
        let seen = batches.entry(base).or_insert(Seen {
            end,
            body,
            epoch,
            timestamp,
        });
        seen.epoch = seen.epoch.or(epoch);
        if let Some((invariant, what)) = wrong {
            self.verdict.violated(invariant, what);
        }
    }
}
