//! The sequenced state: what the committed state will be once everything in flight is committed.
//!
//! It is kept as a small difference per partition, only while something of the partition is in flight, and it
//! never reaches a checkpoint or a reader (J12). What it decides follows Kafka's rules for idempotent
//! producers (KIP-98 and its later corrections):
//! a batch equal in epoch, first and last sequence to one of the producer's last five is a duplicate; the next
//! batch of the epoch must continue the sequence; a new epoch starts at 0; a producer nobody
//! knows (expired, or its batches are gone) may start anywhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidemark_types::{Offset, ProducerId};

use crate::append::AppendError;
use crate::head::{BatchEntry, KeyStamp, ProducerStamp};
use crate::producers::{Producer, sequence_plus};
use crate::state::{Keyed, PartitionState};

/// A frame's number in this owner's life, dense. Unlike its LSN it survives a roll (J13).
pub(crate) type Ticket = u64;

/// What is in flight of one partition.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Offset of the next record.
    pub(crate) next_offset: Offset,
    /// The newest frame with a change of this partition.
    last_ticket: Ticket,
    changes: usize,
    producers: BTreeMap<ProducerId, Box<(Producer, Ticket)>>,
    keys: BTreeMap<Bytes, (Keyed, Ticket)>,
    producers_until_ms: i64,
    keys_until_ms: i64,
}

/// What an append brings to the decision.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    pub(crate) offsets: i32,
    pub(crate) producer: Option<ProducerStamp>,
    pub(crate) key: Option<KeyStamp>,
    pub(crate) expected_offset: Option<Offset>,
}

/// What to do with an append. A ticket names the frame whose commit the answer must wait for, since it
/// depends on that frame; `None` depends on committed state only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Decision {
    /// Give it this offset.
    Append(Offset),
    /// It was appended before.
    Duplicate {
        base_offset: Offset,
        log_append_time_ms: Option<i64>,
        wait: Option<Ticket>,
    },
    /// It is refused.
    Refuse(AppendError, Option<Ticket>),
}

impl Flight {
    pub(crate) fn new(state: &PartitionState) -> Self {
        Self {
            next_offset: state.next_offset,
            last_ticket: 0,
            changes: 0,
            producers: BTreeMap::new(),
            keys: BTreeMap::new(),
            producers_until_ms: i64::MIN,
            keys_until_ms: i64::MIN,
        }
    }

    /// Notes a batch that was sequenced into frame `ticket`.
    pub(crate) fn sequence(
        &mut self,
        state: &PartitionState,
        batch: &BatchEntry,
        appended_ms: i64,
        ticket: Ticket,
    ) {
        self.next_offset = batch.end();
        self.note_change(ticket);
        if let Some(stamp) = &batch.producer {
            let known = producer(state, Some(self), stamp.id).map(|(known, _)| known);
            let mut next = known.unwrap_or_else(|| Producer::new(stamp.epoch));
            next.apply(stamp, batch, appended_ms);
            self.producers.insert(stamp.id, Box::new((next, ticket)));
        }
        if let Some(KeyStamp { key, fingerprint }) = &batch.key {
            let keyed = Keyed {
                fingerprint: *fingerprint,
                base_offset: batch.base_offset,
                log_append_time_ms: batch.log_append_time_ms(),
                appended_ms,
            };
            self.keys.insert(key.clone(), (keyed, ticket));
        }
    }

    /// Notes an expiry that was sequenced into frame `ticket`. Everything in flight is younger.
    pub(crate) fn expire(&mut self, producers_until_ms: i64, keys_until_ms: i64, ticket: Ticket) {
        self.producers_until_ms = self.producers_until_ms.max(producers_until_ms);
        self.keys_until_ms = self.keys_until_ms.max(keys_until_ms);
        self.note_change(ticket);
    }

    /// Whether an expiry up to these times is not in flight already.
    pub(crate) const fn would_expire(&self, producers_until_ms: i64, keys_until_ms: i64) -> bool {
        producers_until_ms > self.producers_until_ms || keys_until_ms > self.keys_until_ms
    }

    /// Whether nothing is in flight.
    pub(crate) const fn is_idle(&self) -> bool {
        self.changes == 0
    }

    fn note_change(&mut self, ticket: Ticket) {
        self.last_ticket = ticket;
        self.changes += 1;
    }

    /// Notes that one change of frame `ticket` committed. `true`: nothing is left in flight.
    pub(crate) fn settle(&mut self, ticket: Ticket, producer: Option<ProducerId>) -> bool {
        self.changes -= 1;
        if let Some(id) = producer
            && self
                .producers
                .get(&id)
                .is_some_and(|known| known.1 <= ticket)
        {
            self.producers.remove(&id);
        }
        if !self.keys.is_empty() {
            self.keys.retain(|_, (_, t)| *t > ticket);
        }
        self.changes == 0
    }

    /// Producers in flight and not (all) committed yet.
    pub(crate) fn producers(&self) -> usize {
        self.producers.len()
    }
}

/// A producer as sequenced, and the frame in flight that made it so.
fn producer(
    state: &PartitionState,
    flight: Option<&Flight>,
    id: ProducerId,
) -> Option<(Producer, Option<Ticket>)> {
    if let Some(known) = flight.and_then(|f| f.producers.get(&id)) {
        return Some((known.0, Some(known.1)));
    }
    let expired_ms = flight.map_or(i64::MIN, |f| f.producers_until_ms);
    let committed = state.producers.get(id)?;
    (committed.last_ms > expired_ms).then_some((*committed, None))
}

fn keyed(
    state: &PartitionState,
    flight: Option<&Flight>,
    key: &Bytes,
) -> Option<(Keyed, Option<Ticket>)> {
    if let Some((keyed, ticket)) = flight.and_then(|f| f.keys.get(key)) {
        return Some((*keyed, Some(*ticket)));
    }
    let expired_ms = flight.map_or(i64::MIN, |f| f.keys_until_ms);
    let committed = state.key(key)?;
    (committed.appended_ms > expired_ms).then_some((*committed, None))
}

/// Decides about an append.
pub(crate) fn decide(state: &PartitionState, flight: Option<&Flight>, want: &Want) -> Decision {
    // K5: a retry is recognised before its condition is looked at.
    if let Some(key) = &want.key
        && let Some((known, wait)) = keyed(state, flight, &key.key)
    {
        if known.fingerprint != key.fingerprint {
            return Decision::Refuse(AppendError::KeyReused, wait);
        }
        return Decision::Duplicate {
            base_offset: known.base_offset,
            log_append_time_ms: known.log_append_time_ms,
            wait,
        };
    }
    if let Some(stamp) = &want.producer
        && let Some((known, wait)) = producer(state, flight, stamp.id)
        && let Some(decided) = check_producer(&known, wait, stamp, want.offsets)
    {
        return decided;
    }
    let next = flight.map_or(state.next_offset, |f| f.next_offset);
    match want.expected_offset {
        Some(expected) if expected != next => Decision::Refuse(
            AppendError::ExpectedOffset { expected, next },
            flight.map(|f| f.last_ticket),
        ),
        _ => Decision::Append(next),
    }
}

fn check_producer(
    known: &Producer,
    wait: Option<Ticket>,
    stamp: &ProducerStamp,
    offsets: i32,
) -> Option<Decision> {
    if stamp.epoch < known.epoch {
        let refusal = AppendError::InvalidProducerEpoch {
            producer: stamp.id,
            got: stamp.epoch,
            current: known.epoch,
        };
        return Some(Decision::Refuse(refusal, wait));
    }
    let expected = if stamp.epoch > known.epoch {
        0
    } else {
        let last = sequence_plus(stamp.base_sequence, offsets - 1);
        let duplicate = known
            .batches()
            .iter()
            .find(|b| b.first_sequence == stamp.base_sequence && b.last_sequence == last);
        if let Some(original) = duplicate {
            return Some(Decision::Duplicate {
                base_offset: original.base_offset,
                log_append_time_ms: original.log_append_time_ms,
                wait,
            });
        }
        sequence_plus(known.last_sequence()?, 1)
    };
    (stamp.base_sequence != expected).then(|| {
        let refusal = AppendError::OutOfOrderSequence {
            producer: stamp.id,
            got: stamp.base_sequence,
            last: if stamp.epoch > known.epoch {
                -1
            } else {
                known.last_sequence().unwrap_or(-1)
            },
        };
        Decision::Refuse(refusal, wait)
    })
}

#[cfg(test)]
mod tests;
