//! Invariant 15: what a takeover rebuilds is what the old owner had committed.

use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::memory::MemoryReplica;
use tidemark_journal::{FrameKind, Nodes};
use tidemark_lease::{LeaseConfig, Leases};
use tidemark_meta::sim::Sim;
use tidemark_records::{BatchBuilder, Compression};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::{NewTopic, Topic, TopicRef, Topics};
use tidemark_types::{NodeId, PartitionIndex, ProducerEpoch, ProducerId, ShardId, Tenant};

use crate::checkpoint::Assembler;
use crate::head::Head;
use crate::state::CommittedState;
use crate::{AppendOptions, IdempotencyKey, Log, LogConfig};

const TENANT: Tenant = Tenant::default_without_auth();
const NODE: NodeId = NodeId(1);

struct World {
    clock: Clock,
    entropy: Entropy,
    store: Arc<Sim>,
    nodes: Nodes,
    topics: Topics,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Clock::simulated(1_700_000_000_000);
        let entropy = Entropy::seeded(seed);
        let nodes = Nodes::new();
        let replica = MemoryReplica::new(NodeId(100), clock.clone(), entropy.clone());
        nodes.insert(Arc::new(replica));
        let store = Arc::new(Sim::new(&clock));
        let topics = Topics::new(store.clone(), clock.clone(), entropy.clone(), 1);
        Self {
            clock,
            entropy,
            store,
            nodes,
            topics,
        }
    }

    async fn leases(&self, tasks: &Tasks) -> Leases {
        let (store, clock, entropy) = (&*self.store, &self.clock, &self.entropy);
        let registered = Leases::register(store, clock, entropy, NODE).await;
        let leases = Leases::new(
            self.store.clone(),
            self.nodes.clone(),
            self.clock.clone(),
            self.entropy.clone(),
            tasks.clone(),
            (NODE, registered.unwrap()),
            LeaseConfig::embedded(),
        );
        leases.start_heartbeat();
        leases
    }

    async fn topic(&self, name: &str) -> Arc<Topic> {
        let new = NewTopic {
            name: name.to_owned(),
            partitions: Some(3),
            ..NewTopic::default()
        };
        self.topics.create(&TENANT, new).await.unwrap()
    }

    /// Random appends by producers and with keys, pauses long enough for expiry, a topic deleted.
    async fn work(&self, log: &Log, steps: u64) {
        let topic = self.topic("kept").await;
        let doomed = self.topic("doomed").await;
        let mut sequences = std::collections::BTreeMap::new();
        let mut sent = Vec::new();
        for step in 0..steps {
            let to = if step < steps / 2 && step % 5 == 0 {
                &doomed
            } else {
                &topic
            };
            let index = i32::try_from(self.entropy.below(3)).unwrap();
            let id = i64::try_from(self.entropy.below(4)).unwrap();
            let sequence = sequences.entry((to.id, index, id)).or_insert(0);
            let mut builder = BatchBuilder::new(Compression::None);
            if step % 3 != 0 {
                builder = builder.producer(ProducerId(id), ProducerEpoch(0), *sequence);
                *sequence += 1;
            }
            let now = self.clock.wall_ms();
            builder.push(now, None, Some(&[7; 100]), &[]).unwrap();
            let key = (step % 4 == 0).then(|| IdempotencyKey {
                key: format!("key {step}").into(),
                fingerprint: step,
            });
            let options = AppendOptions {
                expected_offset: None,
                idempotency: key,
                backing: None,
            };
            let batch = builder.build().unwrap();
            sent.push(log.append(&TENANT, to, PartitionIndex(index), batch, options));
            if self.entropy.below(20) == 0 {
                self.clock
                    .sleep(Duration::from_secs(self.entropy.below(400)))
                    .await;
            }
            if step == steps / 2 {
                self.topics
                    .delete(&TENANT, TopicRef::Name("doomed"))
                    .await
                    .unwrap();
            }
        }
        for sent in sent {
            sent.await.unwrap();
        }
    }
}

/// Every checkpoint on the way equals the replay from the very first frame up to it.
#[tokio::test(start_paused = true)]
async fn every_checkpoint_is_the_state_that_the_frames_before_it_give() {
    for seed in 0..6 {
        let world = World::new(seed);
        let mut producers_seen = 0;
        for _ in 0..3 {
            let tasks = Tasks::new();
            let config = LogConfig {
                shards: 1,
                roll_bytes: 6_000,
                producer_expiry: Duration::from_secs(300),
                key_expiry: Duration::from_secs(300),
                ..LogConfig::default()
            };
            let log = Log::start(
                config,
                world.leases(&tasks).await,
                world.topics.clone(),
                world.store.clone(),
                world.clock.clone(),
                world.entropy.clone(),
                &tasks,
            );
            log.serving().await;
            world.work(&log, 200).await;
            let kept = world.topics.lookup(&TENANT, "kept").await.unwrap().unwrap();
            world
                .topics
                .delete(&TENANT, TopicRef::Uuid(kept.uuid))
                .await
                .unwrap();
            tasks.shutdown(Duration::from_secs(60)).await.unwrap();
        }
        let tasks = Tasks::new();
        let taken = world.leases(&tasks).await.take(ShardId(0)).await.unwrap();
        let mut state = CommittedState::default();
        let mut checkpoints = 0;
        for sealed in taken.older.iter().chain(&taken.replay) {
            let mut assembler = Some(Assembler::new());
            let mut next = sealed.extent.first;
            while next < sealed.end {
                let read = taken.reader.read(&sealed.extent, next, sealed.end, 9_000);
                for frame in read.await.unwrap() {
                    next = frame.lsn.next();
                    let head = &frame.body.head;
                    match (frame.body.kind, &mut assembler) {
                        (FrameKind::Checkpoint, Some(assembler)) => assembler.part(head).unwrap(),
                        (FrameKind::CheckpointEnd, whole) => {
                            let whole = whole.take().unwrap().end(head).unwrap();
                            assert_eq!(whole, state, "seed {seed}, {}", sealed.extent.id);
                            checkpoints += 1;
                        }
                        _ => state.apply(&Head::decode(head).unwrap()),
                    }
                    let all = state.partitions.values();
                    producers_seen = producers_seen.max(all.map(|p| p.producers.len()).sum());
                }
            }
        }
        assert!(checkpoints > 10, "{checkpoints} checkpoints");
        assert!(producers_seen > 5);
    }
}
