//! What a partition remembers of its idempotent producers: the last five batches of each, as Kafka does.

use std::collections::BTreeMap;

use tidemark_types::{Offset, ProducerEpoch, ProducerId, limits::PRODUCER_BATCHES_REMEMBERED};

use crate::head::{BatchEntry, ProducerStamp};

/// One remembered batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Remembered {
    pub(crate) first_sequence: i32,
    pub(crate) last_sequence: i32,
    pub(crate) base_offset: Offset,
    pub(crate) log_append_time_ms: Option<i64>,
}

/// One producer: its epoch and its newest batches of that epoch, oldest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Producer {
    pub(crate) epoch: ProducerEpoch,
    pub(crate) last_ms: i64,
    len: u8,
    batches: [Remembered; PRODUCER_BATCHES_REMEMBERED],
}

impl Producer {
    pub(crate) fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    pub(crate) fn restored(
        epoch: ProducerEpoch,
        last_ms: i64,
        batches: impl IntoIterator<Item = Remembered>,
    ) -> Self {
        let mut producer = Self {
            last_ms,
            ..Self::new(epoch)
        };
        for batch in batches {
            producer.push(batch);
        }
        producer
    }

    pub(crate) fn batches(&self) -> &[Remembered] {
        &self.batches[..usize::from(self.len)]
    }

    pub(crate) fn last_sequence(&self) -> Option<i32> {
        self.batches().last().map(|b| b.last_sequence)
    }

    /// Notes a batch. A new epoch forgets the batches of the old one.
    pub(crate) fn apply(&mut self, stamp: &ProducerStamp, batch: &BatchEntry, appended_ms: i64) {
        if stamp.epoch != self.epoch {
            self.epoch = stamp.epoch;
            self.len = 0;
        }
        self.last_ms = appended_ms;
        self.push(Remembered {
            first_sequence: stamp.base_sequence,
            last_sequence: sequence_plus(stamp.base_sequence, batch.offsets - 1),
            base_offset: batch.base_offset,
            log_append_time_ms: batch.log_append_time_ms(),
        });
    }

    fn push(&mut self, batch: Remembered) {
        if usize::from(self.len) == PRODUCER_BATCHES_REMEMBERED {
            self.batches.copy_within(1.., 0);
            self.len -= 1;
        }
        self.batches[usize::from(self.len)] = batch;
        self.len += 1;
    }
}

/// The producers of one partition. Keyed by ids that clients choose, so not hashed; boxed, so that a partition
/// with one producer does not pay for a whole tree node of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Producers(BTreeMap<ProducerId, Box<Producer>>);

impl Producers {
    pub(crate) fn get(&self, id: ProducerId) -> Option<&Producer> {
        self.0.get(&id).map(AsRef::as_ref)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&ProducerId, &Producer)> {
        self.0.iter().map(|(id, producer)| (id, producer.as_ref()))
    }

    pub(crate) fn restore(&mut self, id: ProducerId, producer: Producer) {
        self.0.insert(id, Box::new(producer));
    }

    pub(crate) fn apply(&mut self, stamp: &ProducerStamp, batch: &BatchEntry, appended_ms: i64) {
        self.0
            .entry(stamp.id)
            .or_insert_with(|| Box::new(Producer::new(stamp.epoch)))
            .apply(stamp, batch, appended_ms);
    }

    pub(crate) fn expire(&mut self, until_ms: i64) {
        self.0.retain(|_, p| p.last_ms > until_ms);
    }

    /// Forgets those with the lowest ids, which are the oldest given out, beyond `most`.
    pub(crate) fn bound(&mut self, most: usize) {
        while self.0.len() > most {
            self.0.pop_first();
        }
    }

    /// The time by which about a sixteenth of the producers was seen last: what to forget when there are
    /// too many.
    pub(crate) fn oldest_sixteenth_ms(&self) -> Option<i64> {
        let mut times: Vec<i64> = self.0.values().map(|p| p.last_ms).collect();
        let at = times.len() / 16;
        (!times.is_empty()).then(|| *times.select_nth_unstable(at).1)
    }
}

/// `first + n` in Kafka's sequence space, which wraps from `i32::MAX` to 0.
pub(crate) const fn sequence_plus(first: i32, n: i32) -> i32 {
    if first > i32::MAX - n {
        n - (i32::MAX - first) - 1
    } else {
        first + n
    }
}
