//! Random transactions, interleaved step by step, against a model that is simple enough to be believed.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_runtime::Entropy;

use super::*;

const SEEDS: u64 = 40;
const STEPS: u64 = 150;
const OPEN_AT_ONCE: u64 = 4;
const KEYS: u8 = 12;

type State = BTreeMap<u8, u64>;

/// What the model knows of a transaction under way.
#[derive(Default)]
struct Model {
    /// Index in the history of the state it reads.
    at: Option<usize>,
    own: BTreeMap<u8, Own>,
    /// Keys whose later change must make it fail: read, and not known from its own writes.
    must: BTreeSet<u8>,
    /// Keys whose later change may make it fail: engines may count its own writes in a range as read.
    may: BTreeSet<u8>,
}

#[derive(Clone, Copy)]
enum Own {
    Set(u64),
    Cleared,
    Add(u64),
}

impl Model {
    fn state<'h>(&mut self, history: &'h [State]) -> &'h State {
        &history[*self.at.get_or_insert(history.len() - 1)]
    }

    /// The value it sees, from the state it reads and its own writes.
    fn value(&self, state: &State, key: u8) -> Option<u64> {
        match self.own.get(&key) {
            None => state.get(&key).copied(),
            Some(Own::Set(value)) => Some(*value),
            Some(Own::Cleared) => None,
            Some(Own::Add(add)) => Some(state.get(&key).copied().unwrap_or(0).wrapping_add(*add)),
        }
    }

    fn reads(&mut self, key: u8) {
        self.may.insert(key);
        if !matches!(self.own.get(&key), Some(Own::Set(_) | Own::Cleared)) {
            self.must.insert(key);
        }
    }

    fn add(&mut self, key: u8, add: u64) {
        let folded = match self.own.get(&key) {
            None => Own::Add(add),
            Some(Own::Set(value)) => Own::Set(value.wrapping_add(add)),
            Some(Own::Cleared) => Own::Set(add),
            Some(Own::Add(before)) => Own::Add(before.wrapping_add(add)),
        };
        self.own.insert(key, folded);
    }
}

/// A transaction of the engine beside its model.
struct Pair {
    tx: Box<dyn Transaction>,
    model: Model,
}

struct Run<'e> {
    env: &'e Env,
    random: Entropy,
    /// Every committed state, and the keys whose writing made it.
    history: Vec<State>,
    written: Vec<BTreeSet<u8>>,
}

impl Run<'_> {
    fn key(&self, key: u8) -> Vec<u8> {
        self.env.key([b'm', key])
    }

    fn any_key(&self) -> u8 {
        u8::try_from(self.random.below(u64::from(KEYS))).unwrap()
    }

    fn any_mode(&self) -> Mode {
        if self.random.below(4) == 0 { SNAP } else { SER }
    }

    async fn step(&self, pair: &mut Pair) {
        let key = self.any_key();
        let (tx, model) = (&mut pair.tx, &mut pair.model);
        match self.random.below(8) {
            0 | 1 => self.get(pair, key).await,
            2 | 3 => self.range(pair).await,
            4 => {
                let value = self.random.next_u64();
                tx.set(&self.key(key), &value.to_le_bytes());
                model.own.insert(key, Own::Set(value));
            }
            5 => {
                tx.clear(&self.key(key));
                model.own.insert(key, Own::Cleared);
            }
            6 => {
                let end = key + u8::try_from(self.random.below(4)).unwrap();
                tx.clear_range(&self.key(key), &self.key(end));
                model.own.extend((key..end).map(|k| (k, Own::Cleared)));
            }
            _ => {
                let add = self.random.below(100);
                tx.atomic_add(&self.key(key), add);
                model.add(key, add);
            }
        }
    }

    async fn get(&self, pair: &mut Pair, key: u8) {
        let mode = self.any_mode();
        let state = pair.model.state(&self.history);
        let expected = pair.model.value(state, key);
        let value = pair.tx.get(&self.key(key), mode).await.unwrap();
        let value = value.map(|v| u64::from_le_bytes(v[..].try_into().unwrap()));
        assert_eq!(value, expected, "get {key}");
        if mode == SER {
            pair.model.reads(key);
        }
    }

    async fn range(&self, pair: &mut Pair) {
        let begin = self.any_key();
        let end = begin + u8::try_from(self.random.below(8)).unwrap();
        let read = RangeRead {
            begin: self.key(begin).into(),
            end: self.key(end).into(),
            limit: usize::try_from(1 + self.random.below(5)).unwrap(),
            reverse: self.random.below(2) == 0,
            mode: self.any_mode(),
        };
        let state = pair.model.state(&self.history);
        let seen = |k: u8| pair.model.value(state, k).map(|v| (k, v));
        let mut expected: Vec<_> = (begin..end).filter_map(seen).collect();
        if read.reverse {
            expected.reverse();
        }
        expected.truncate(read.limit);
        let pairs = pair.tx.range(read.clone()).await.unwrap();
        let number = |v: &Bytes| u64::from_le_bytes(v[..].try_into().unwrap());
        let got: Vec<_> = pairs
            .iter()
            .map(|(k, v)| (k[k.len() - 1], number(v)))
            .collect();
        assert_eq!(got, expected, "{read:?}");
        if read.mode == SNAP {
            return;
        }
        let (mut low, mut high) = (begin, end);
        if let (Some((last, _)), true) = (expected.last(), expected.len() == read.limit) {
            if read.reverse {
                low = *last;
            } else {
                high = last + 1;
            }
        }
        (low..high).for_each(|k| pair.model.reads(k));
    }

    async fn commit(&mut self, pair: Pair) {
        let Pair { tx, model } = pair;
        let newer = model.at.map_or(&[][..], |at| &self.written[at + 1..]);
        let hit = |read: &BTreeSet<u8>| newer.iter().any(|w| !w.is_disjoint(read));
        let (must, may) = (hit(&model.must), hit(&model.may));
        match tx.commit().await {
            Ok(_) => {
                assert!(model.own.is_empty() || !must, "a conflict was missed");
                if model.own.is_empty() {
                    return;
                }
                let last = self.history.last().expect("it starts with one");
                let mut next = last.clone();
                for key in model.own.keys() {
                    match model.value(last, *key) {
                        Some(value) => next.insert(*key, value),
                        None => next.remove(key),
                    };
                }
                self.history.push(next);
                self.written.push(model.own.keys().copied().collect());
            }
            Err(MetaError::Conflict) => {
                assert!(!model.own.is_empty() && may, "a conflict was invented");
            }
            Err(other) => panic!("commit: {other}"),
        }
    }
}

pub(crate) async fn random_interleavings_match_a_model(env: Env) -> Env {
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut tx = env.store.begin();
        tx.clear_range(&env.key("a"), &env.key("z"));
        tx.commit().await.unwrap();
        let mut run = Run {
            env: &env,
            random: Entropy::seeded(seed),
            history: vec![State::new()],
            written: vec![BTreeSet::new()],
        };
        let mut open: Vec<Pair> = Vec::new();
        for _ in 0..STEPS {
            let choice = usize::try_from(run.random.below(OPEN_AT_ONCE)).unwrap();
            if choice >= open.len() {
                let tx = env.store.begin();
                let model = Model::default();
                open.push(Pair { tx, model });
            } else if run.random.below(6) == 0 {
                let pair = open.swap_remove(choice);
                run.commit(pair).await;
            } else {
                run.step(&mut open[choice]).await;
            }
        }
        let rows = env.store.begin().range(over(&env, "m", "n")).await.unwrap();
        assert_eq!(rows.len(), run.history.last().unwrap().len());
    }
    env
}
