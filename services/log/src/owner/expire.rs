//! Forgetting producers and idempotency keys: by age, and by number. Always a frame, never a clock's say-so
//! at replay (K4).

use std::time::Duration;

use tidemark_types::{PartitionId, limits};

use super::Owner;
use crate::head::{BatchEntry, Entry};
use crate::sequence::Flight;

/// How often ages are looked at.
pub(super) const PERIOD: Duration = Duration::from_secs(10 * 60);

impl Owner {
    /// Sequences the expiry of what is too old, of as many partitions as a frame takes; the rest follows
    /// the next time.
    pub(super) fn sequence_expiry(&mut self) {
        let now_ms = self.now_ms();
        let producers_until_ms = now_ms.saturating_sub(millis(self.env.config.producer_expiry));
        let keys_until_ms = now_ms.saturating_sub(millis(self.env.config.key_expiry));
        let due: Vec<PartitionId> = self
            .state
            .sorted()
            .into_iter()
            .filter(|(_, p)| {
                let keys = p.keys.as_ref().and_then(|k| k.oldest_ms());
                keys.is_some_and(|ms| ms <= keys_until_ms)
                    || p.producers
                        .iter()
                        .any(|(_, p)| p.last_ms <= producers_until_ms)
            })
            .map(|(id, _)| id)
            .take(limits::FRAME_BATCHES_MAX / 2)
            .collect();
        for partition in due {
            self.sequence_expire(partition, producers_until_ms, keys_until_ms);
        }
    }

    /// Makes room for one more producer when the partition remembers as many as it may.
    pub(super) fn bound_producers(&mut self, batch: &BatchEntry) {
        let Some(stamp) = &batch.producer else {
            return;
        };
        let Some(state) = self.state.partitions.get(&batch.partition) else {
            return;
        };
        let in_flight = self
            .flights
            .get(&batch.partition)
            .map_or(0, Flight::producers);
        if state.producers.len() + in_flight < limits::PRODUCERS_PER_PARTITION_MAX
            || state.producers.get(stamp.id).is_some()
        {
            return;
        }
        if let Some(until_ms) = state.producers.oldest_sixteenth_ms() {
            self.sequence_expire(batch.partition, until_ms, i64::MIN);
        }
    }

    fn sequence_expire(
        &mut self,
        partition: PartitionId,
        producers_until_ms: i64,
        keys_until_ms: i64,
    ) {
        let now_ms = self.now_ms();
        // Whoever is in flight stays: both states must agree on who is known.
        let oldest_ms = self.pending.front().map_or(now_ms, |p| p.head.appended_ms);
        let producers_until_ms = producers_until_ms.min(oldest_ms - 1);
        let keys_until_ms = keys_until_ms.min(oldest_ms - 1);
        let Some(state) = self.state.partitions.get(&partition) else {
            return;
        };
        let flight = self
            .flights
            .entry(partition)
            .or_insert_with(|| Flight::new(state));
        if !flight.would_expire(producers_until_ms, keys_until_ms) {
            if flight.is_idle() {
                self.flights.remove(&partition);
            }
            return;
        }
        flight.expire(producers_until_ms, keys_until_ms, self.next_ticket);
        self.building.head.entries.push(Entry::Expire {
            partition,
            producers_until_ms,
            keys_until_ms,
        });
    }
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}
