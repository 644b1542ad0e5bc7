//! The service as its callers see it, over the in-memory store.

mod faulty;
mod follow;
mod model;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_meta::keys::partition::{PartitionKey, ShardPartitionKey};
use tidemark_meta::keys::topic::{TopicKey, TopicNameKey, TopicUuidKey};
use tidemark_meta::keys::{Key, KeyRange};
use tidemark_meta::sim::Sim;
use tidemark_meta::{MetaStore, Mode, RangeRead};
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{Tenant, TopicId};

use crate::{NewTopic, Topic, Topics};
use faulty::{Faults, Faulty};

const SHARDS: u32 = 4;
const NOW_MS: i64 = 1_700_000_000_000;

/// A store with processes around it.
struct World {
    clock: Clock,
    sim: Sim,
    faults: Faults,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Clock::simulated(NOW_MS);
        let sim = Sim::new(&clock);
        Self {
            faults: Faults::new(seed),
            clock,
            sim,
            seed,
        }
    }

    /// Another process.
    fn process(&mut self) -> Topics {
        self.seed += 1;
        let store: Arc<dyn MetaStore> = Arc::new(Faulty::new(self.sim.clone(), &self.faults));
        let entropy = Entropy::seeded(self.seed);
        Topics::new(store, self.clock.clone(), entropy, SHARDS)
    }

    /// Number of rows in a range.
    async fn rows(&self, range: KeyRange) -> usize {
        let mut tx = self.sim.begin();
        let read = RangeRead {
            begin: range.begin,
            end: range.end,
            limit: usize::MAX,
            reverse: false,
            mode: Mode::Snapshot,
        };
        tx.range(read).await.unwrap().len()
    }

    /// Rows of topics, names, uuids, partitions and reverse indexes.
    async fn all_rows(&self) -> [usize; 5] {
        [
            self.rows(TopicKey::all()).await,
            self.rows(TopicNameKey::all()).await,
            self.rows(TopicUuidKey::all()).await,
            self.rows(PartitionKey::all()).await,
            self.rows(ShardPartitionKey::all()).await,
        ]
    }
}

const TENANT: Tenant = Tenant::default_without_auth();

fn new(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.into(),
        partitions: Some(partitions),
        ..NewTopic::default()
    }
}

fn configured(name: &str, config: &[(&str, &str)]) -> NewTopic {
    NewTopic {
        config: config
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        ..new(name, 1)
    }
}

/// What a client sees: name → id, partition count and overrides.
type Seen = BTreeMap<String, (TopicId, usize, BTreeMap<String, String>)>;

fn seen(topics: &[Arc<Topic>]) -> Seen {
    topics
        .iter()
        .map(|t| {
            let overrides = (*t.config.overrides).clone();
            (t.name.clone(), (t.id, t.partitions.len(), overrides))
        })
        .collect()
}
