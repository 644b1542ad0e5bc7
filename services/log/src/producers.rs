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

/// Producers of a partition that are kept in one list; more of them are a tree.
const FEW_MAX: usize = 8;

/// The producers of one partition, by id. Keyed by ids that clients choose, so not hashed; most partitions have one or
/// a few, which a list holds in a tenth of a tree node. Which of both it is follows from their number, so equal
/// producers are equal here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Producers {
    /// Up to [`FEW_MAX`], ascending.
    Few(Vec<(ProducerId, Box<Producer>)>),
    /// More.
    Many(BTreeMap<ProducerId, Box<Producer>>),
}

impl Default for Producers {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Producers {
    pub(crate) fn get(&self, id: ProducerId) -> Option<&Producer> {
        match self {
            Self::Few(few) => few
                .iter()
                .find(|(known, _)| *known == id)
                .map(|(_, p)| &**p),
            Self::Many(many) => many.get(&id).map(AsRef::as_ref),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// Ascending by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(id, p)| (*id, &**p));
        few.chain(
            many.into_iter()
                .flat_map(|m| m.iter())
                .map(|(id, p)| (*id, &**p)),
        )
    }

    pub(crate) fn restore(&mut self, id: ProducerId, producer: Producer) {
        *self.entry(id, || Producer::new(producer.epoch)) = producer;
    }

    pub(crate) fn apply(&mut self, stamp: &ProducerStamp, batch: &BatchEntry, appended_ms: i64) {
        self.entry(stamp.id, || Producer::new(stamp.epoch))
            .apply(stamp, batch, appended_ms);
    }

    fn entry(&mut self, id: ProducerId, new: impl FnOnce() -> Producer) -> &mut Producer {
        if let Self::Few(few) = self
            && few.len() == FEW_MAX
            && !few.iter().any(|(known, _)| *known == id)
        {
            *self = Self::Many(std::mem::take(few).into_iter().collect());
        }
        match self {
            Self::Few(few) => {
                let at = few.partition_point(|(known, _)| *known < id);
                if few.get(at).is_none_or(|(known, _)| *known != id) {
                    // Exactly: most partitions never have a second one.
                    few.reserve_exact(1);
                    few.insert(at, (id, Box::new(new())));
                }
                &mut few[at].1
            }
            Self::Many(many) => many.entry(id).or_insert_with(|| Box::new(new())),
        }
    }

    pub(crate) fn expire(&mut self, until_ms: i64) {
        match self {
            Self::Few(few) => few.retain(|(_, p)| p.last_ms > until_ms),
            Self::Many(many) => many.retain(|_, p| p.last_ms > until_ms),
        }
        self.shrink();
    }

    /// Forgets those with the lowest ids, which are the oldest given out, beyond `most`.
    pub(crate) fn bound(&mut self, most: usize) {
        match self {
            Self::Few(few) => drop(few.drain(..few.len().saturating_sub(most))),
            Self::Many(many) => {
                while many.len() > most {
                    many.pop_first();
                }
            }
        }
        self.shrink();
    }

    /// Gives memory back after producers went.
    fn shrink(&mut self) {
        match self {
            Self::Many(many) if many.len() <= FEW_MAX => {
                *self = Self::Few(std::mem::take(many).into_iter().collect());
            }
            Self::Many(_) => {}
            Self::Few(few) => few.shrink_to_fit(),
        }
    }

    /// The time by which about a sixteenth of the producers was seen last: what to forget when there are
    /// too many.
    pub(crate) fn oldest_sixteenth_ms(&self) -> Option<i64> {
        let mut times: Vec<i64> = self.iter().map(|(_, p)| p.last_ms).collect();
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Seen(i64, i64),
        Expire(i64),
        Bound(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => (0..30_i64, 0..100_i64).prop_map(|(id, ms)| Step::Seen(id, ms)),
            1 => (0..100_i64).prop_map(Step::Expire),
            1 => (0..20_usize).prop_map(Step::Bound),
        ];
        prop::collection::vec(step, 0..80)
    }

    proptest! {
        /// Whatever came and went, they are those of a plain map, in its order, and equal to the same ones put in anew.
        #[test]
        fn few_or_many_they_are_a_map(steps in steps()) {
            let (mut producers, mut model) = (Producers::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Seen(id, ms) => {
                        let seen = Producer::restored(ProducerEpoch(1), ms, []);
                        producers.restore(ProducerId(id), seen);
                        model.insert(ProducerId(id), ms);
                    }
                    Step::Expire(until) => {
                        producers.expire(until);
                        model.retain(|_, ms| *ms > until);
                    }
                    Step::Bound(most) => {
                        producers.bound(most);
                        while model.len() > most {
                            model.pop_first();
                        }
                    }
                }
                prop_assert_eq!(producers.len(), model.len());
                let mut anew = Producers::default();
                let known: Vec<_> = producers.iter().map(|(id, p)| (id, p.last_ms)).collect();
                for (id, ms) in known.iter().rev() {
                    anew.restore(*id, Producer::restored(ProducerEpoch(1), *ms, []));
                    prop_assert_eq!(producers.get(*id).map(|p| p.last_ms), Some(*ms));
                }
                prop_assert_eq!(known, model.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(&anew, &producers);
            }
        }
    }
}
