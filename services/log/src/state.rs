//! The committed state of a shard, and the one function that changes it.
//!
//! The owner calls [`CommittedState::apply`] for a frame when it commits, a new owner for every frame it replays:
//! the same function on the same frames gives the same state (K4, invariant 15). It never validates.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tidemark_runtime::{FastMap, Invariant, check_invariant};
use tidemark_types::{LeaderEpoch, Offset, PartitionId};

use crate::head::{BatchEntry, Entry, Head, KeyStamp};
use crate::producers::Producers;

/// Idempotency keys remembered per partition at the most; the oldest goes first. Part of the state's
/// definition: changing it changes what a replay gives.
pub(crate) const KEYS_PER_PARTITION_MAX: usize = 4096;
/// Leader epochs remembered per partition at the most. Part of the state's definition.
pub(crate) const EPOCHS_PER_PARTITION_MAX: usize = 32;

/// An append that an idempotency key stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Keyed {
    pub(crate) fingerprint: u64,
    pub(crate) base_offset: Offset,
    pub(crate) log_append_time_ms: Option<i64>,
    pub(crate) appended_ms: i64,
}

/// A partition's idempotency keys, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Keys {
    by_key: BTreeMap<Bytes, Keyed>,
    order: VecDeque<Bytes>,
}

impl Keys {
    pub(crate) fn get(&self, key: &Bytes) -> Option<&Keyed> {
        self.by_key.get(key)
    }

    pub(crate) fn insert(&mut self, key: Bytes, keyed: Keyed) {
        if self.by_key.insert(key.clone(), keyed).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > KEYS_PER_PARTITION_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Bytes, &Keyed)> {
        self.order.iter().map(|key| (key, &self.by_key[key]))
    }

    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.iter().next().map(|(_, keyed)| keyed.appended_ms)
    }

    fn expire(&mut self, until_ms: i64) {
        while self.oldest_ms().is_some_and(|ms| ms <= until_ms) {
            if let Some(key) = self.order.pop_front() {
                self.by_key.remove(&key);
            }
        }
    }
}

/// One partition's committed state: what a checkpoint holds of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PartitionState {
    pub(crate) log_start: Offset,
    /// The high watermark; the next offset once nothing is in flight.
    pub(crate) next_offset: Offset,
    /// First offset of each leader epoch, ascending (K6).
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    /// The largest batch timestamp so far and the base offset of the first batch that has it.
    pub(crate) max_timestamp: Option<(i64, Offset)>,
    pub(crate) producers: Producers,
    pub(crate) keys: Option<Box<Keys>>,
}

impl PartitionState {
    pub(crate) fn key(&self, key: &Bytes) -> Option<&Keyed> {
        self.keys.as_ref().and_then(|keys| keys.get(key))
    }

    /// Applies one batch. Never validates (K4); the checks are of our own invariants.
    pub(crate) fn apply(&mut self, batch: &BatchEntry, appended_ms: i64) {
        check_invariant!(
            Invariant::OffsetsDense,
            batch.base_offset == self.next_offset,
            "{}: batch at {} follows {}",
            batch.partition,
            batch.base_offset,
            self.next_offset
        );
        self.next_offset = batch.end();
        self.note_epoch(batch);
        if self
            .max_timestamp
            .is_none_or(|(ms, _)| batch.max_timestamp > ms)
        {
            self.max_timestamp = Some((batch.max_timestamp, batch.base_offset));
        }
        if let Some(stamp) = &batch.producer {
            self.producers.apply(stamp, batch, appended_ms);
        }
        if let Some(KeyStamp { key, fingerprint }) = &batch.key {
            let keyed = Keyed {
                fingerprint: *fingerprint,
                base_offset: batch.base_offset,
                log_append_time_ms: batch.log_append_time_ms(),
                appended_ms,
            };
            self.keys.get_or_insert_default().insert(key.clone(), keyed);
        }
    }

    fn note_epoch(&mut self, batch: &BatchEntry) {
        let newest = self.epochs.last().map(|(epoch, _)| *epoch);
        if newest == Some(batch.leader_epoch) {
            return;
        }
        check_invariant!(
            Invariant::NoRegress,
            newest < Some(batch.leader_epoch),
            "{}: leader epoch {} follows {newest:?}",
            batch.partition,
            batch.leader_epoch
        );
        // Exactly: few partitions see a second one.
        self.epochs.reserve_exact(1);
        self.epochs.push((batch.leader_epoch, batch.base_offset));
        if self.epochs.len() > EPOCHS_PER_PARTITION_MAX {
            // K6: dropping the second merges it into the first, whose end rises, which is harmless.
            self.epochs.remove(1);
        }
    }

    fn expire(&mut self, producers_until_ms: i64, keys_until_ms: i64) {
        self.producers.expire(producers_until_ms);
        if let Some(keys) = &mut self.keys {
            keys.expire(keys_until_ms);
            if keys.order.is_empty() {
                self.keys = None;
            }
        }
    }
}

/// The committed state of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct CommittedState {
    /// Time of the newest frame.
    pub(crate) appended_ms: i64,
    pub(crate) partitions: FastMap<PartitionId, PartitionState>,
}

impl CommittedState {
    /// Applies a frame.
    pub(crate) fn apply(&mut self, head: &Head) {
        self.appended_ms = self.appended_ms.max(head.appended_ms);
        for entry in &head.entries {
            match entry {
                Entry::Batch(batch) => self
                    .partitions
                    .entry(batch.partition)
                    .or_default()
                    .apply(batch, head.appended_ms),
                Entry::Expire {
                    partition,
                    producers_until_ms,
                    keys_until_ms,
                } => {
                    if let Some(state) = self.partitions.get_mut(partition) {
                        state.expire(*producers_until_ms, *keys_until_ms);
                    }
                }
                Entry::Forget(topic) => self.partitions.retain(|id, _| id.topic != *topic),
            }
        }
    }

    /// A partition that begins beyond its end goes on where it begins, as in Kafka: its end was lost (an unclean seal,
    /// J10), and the offsets up to there may have been read before, so none of them is given to anything else
    /// (K3, invariants 2 and 4). It becomes part of the next checkpoint, as every change of the state is part of a
    /// frame (K4). Answers which partitions, with the end that was left of them.
    pub(crate) fn begin_at(
        &mut self,
        starts: &[(PartitionId, Offset)],
    ) -> Vec<(PartitionId, Offset, Offset)> {
        let mut moved = Vec::new();
        for (id, start) in starts {
            let end = self.partitions.get(id).map_or(Offset(0), |p| p.next_offset);
            if *start > end {
                let state = self.partitions.entry(*id).or_default();
                state.next_offset = *start;
                state.log_start = *start;
                moved.push((*id, end, *start));
            }
        }
        moved
    }

    /// The partitions in order of their ids: what is written or compared must not depend on a map's order.
    pub(crate) fn sorted(&self) -> Vec<(PartitionId, &PartitionState)> {
        let mut all: Vec<_> = self.partitions.iter().map(|(id, p)| (*id, p)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }
}
