//! A service of one node that can be started again and again over the same store and log nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark_blob::{BlobStore, RetryPolicy, Retrying};
use tidemark_journal::memory::MemoryReplica;
use tidemark_journal::{DiskUse, Nodes, Replica};
use tidemark_lease::{GoneShard, LeaseConfig, Leases, find_gone, silent_nodes};
use tidemark_log::{
    AppendAck, AppendError, AppendFuture, AppendOptions, FetchPartition, FetchRequest,
    FetchedPartition, Isolation, Log, LogConfig, TierConfig,
};
use tidemark_meta::faulty::Faulty;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow};
use tidemark_meta::sim::Sim;
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_records::{Batch, BatchBuilder, Compression};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::{NewTopic, Topic, Topics};
use tidemark_types::{NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, ShardId, Tenant};

pub(crate) const TENANT: Tenant = Tenant::default_without_auth();
pub(crate) const BASE_MS: i64 = 1_700_000_000_000;
pub(crate) const P0: PartitionIndex = PartitionIndex(0);

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) store: Faulty,
    pub(crate) replicas: Vec<MemoryReplica>,
    nodes: Nodes,
    copies: usize,
    pub(crate) config: LogConfig,
    pub(crate) cold: Option<Cold>,
}

/// An object store that fails on demand, what it really holds, and how it is used.
#[derive(Clone)]
pub(crate) struct Cold {
    pub(crate) store: tidemark_blob::faulty::Faulty,
    pub(crate) objects: tidemark_blob::sim::Sim,
    pub(crate) config: TierConfig,
    /// Asked through `Retrying` as the service does it, when there is one.
    pub(crate) retries: Option<RetryPolicy>,
}

/// One start of the service.
pub(crate) struct Process {
    pub(crate) log: Log,
    pub(crate) topics: Topics,
    pub(crate) tasks: Tasks,
    pub(crate) leases: Leases,
    clock: Clock,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::replicated(seed, 1)
    }

    /// Over one log node of the caller's.
    pub(crate) fn on(seed: u64, node: Arc<dyn Replica>) -> Self {
        let world = Self::replicated(seed, 0);
        world.nodes.insert(node);
        Self { copies: 1, ..world }
    }

    pub(crate) fn replicated(seed: u64, copies: u64) -> Self {
        let clock = Clock::simulated(BASE_MS);
        let entropy = Entropy::seeded(seed);
        let nodes = Nodes::new();
        let replicas: Vec<MemoryReplica> = (1..=copies)
            .map(|id| MemoryReplica::new(NodeId(100 + id), clock.clone(), entropy.clone()))
            .collect();
        for replica in &replicas {
            nodes.insert(Arc::new(replica.clone()));
        }
        Self {
            store: Faulty::new(Arc::new(Sim::new(&clock)), &clock, &entropy),
            clock,
            entropy,
            copies: replicas.len(),
            replicas,
            nodes,
            config: LogConfig {
                shards: 2,
                ..LogConfig::default()
            },
            cold: None,
        }
    }

    /// Small extents and objects, next to no memory for readers, and disks that are always too full.
    pub(crate) fn tiered(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.add_cold();
        world.fill_disks(700);
        world
    }

    /// An object store, small extents, and next to no memory for readers.
    pub(crate) fn add_cold(&mut self) {
        self.config.roll_bytes = 4_000;
        self.config.tail_cache_bytes = 1_000;
        self.config.cold_cache_bytes = 0;
        let objects = tidemark_blob::sim::Sim::new(&self.clock);
        let inner = Arc::new(objects.clone());
        self.cold = Some(Cold {
            store: tidemark_blob::faulty::Faulty::new(inner, &self.clock, &self.entropy),
            objects,
            config: TierConfig {
                object_bytes: 10_000,
                chunk_bytes: 2_000,
                index_cache_bytes: 20_000,
                chunk_cache_bytes: 20_000,
                grace: Duration::from_secs(300),
                second_delete: Duration::from_secs(1_200),
                reconcile_period: Duration::ZERO,
                ..TierConfig::default()
            },
            retries: None,
        });
    }

    /// Says how full the log nodes' disks are, in thousandths.
    pub(crate) fn fill_disks(&self, permille: u64) {
        for replica in &self.replicas {
            replica.set_disk_use(Some(DiskUse {
                used_bytes: permille,
                budget_bytes: 1_000,
                written_bytes: 0,
            }));
        }
    }

    /// The rows of a shard's extents, oldest first.
    pub(crate) async fn extents(&self, shard: ShardId) -> Vec<(ExtentKey, ExtentRow)> {
        let mut tx = self.store.begin();
        let range = ExtentKey::of_shard(shard);
        let rows = keys::scan(tx.as_mut(), range, 10_000, Mode::Snapshot).await;
        rows.unwrap()
    }

    /// The log nodes' disks are gone: others take their place.
    pub(crate) fn wipe(&mut self) {
        let ids: Vec<NodeId> = self.nodes.ids();
        self.nodes = Nodes::new();
        for replica in &mut self.replicas {
            let id = NodeId(ids.iter().map(|id| id.0).max().unwrap_or(0) + 1);
            let (clock, entropy) = (self.clock.clone(), self.entropy.clone());
            *replica = MemoryReplica::new(id, clock, entropy);
            self.nodes.insert(Arc::new(replica.clone()));
        }
        self.fill_disks(0);
    }

    /// The shards whose extents no log node holds.
    pub(crate) async fn gone(&self) -> Vec<GoneShard> {
        find_gone(&self.store, &self.here()).await.unwrap()
    }

    /// The log nodes.
    pub(crate) fn here(&self) -> Vec<NodeId> {
        self.nodes.ids()
    }

    /// What an operator does about them.
    pub(crate) async fn give_up(&self) {
        let tasks = Tasks::new();
        let leases = self.leases(&tasks).await;
        for gone in self.gone().await {
            let nodes = gone.nodes();
            let silent = silent_nodes(&self.store, &self.clock, &nodes, Duration::ZERO);
            let silent = silent.await.unwrap();
            let here = self.here();
            let given_up = leases.give_up_gone(gone.shard, &here, &silent).await;
            let given_up = given_up.unwrap();
            assert_eq!(given_up.extents, gone.extents);
        }
        assert_eq!(self.gone().await, []);
    }

    /// Starts the service and waits until it serves. An earlier process that still runs is fenced.
    pub(crate) async fn start(&self) -> Process {
        let process = self.start_unready().await;
        process.log.serving().await;
        process
    }

    /// The lease operations of another start of the node.
    pub(crate) async fn leases(&self, tasks: &Tasks) -> Leases {
        let (clock, entropy, node) = (&self.clock, &self.entropy, NodeId(1));
        let incarnation = Leases::register(&self.store, clock, entropy, node)
            .await
            .unwrap();
        let copies = self.copies;
        Leases::new(
            Arc::new(self.store.clone()),
            self.nodes.clone(),
            clock.clone(),
            entropy.clone(),
            tasks.clone(),
            (node, incarnation),
            LeaseConfig::replicated(copies, copies / 2 + 1),
        )
    }

    /// Starts the service.
    pub(crate) async fn start_unready(&self) -> Process {
        let store: Arc<Faulty> = Arc::new(self.store.clone());
        let (clock, entropy) = (&self.clock, &self.entropy);
        let tasks = Tasks::new();
        let leases = self.leases(&tasks).await;
        leases.start_heartbeat();
        let topics = Topics::new(
            store.clone(),
            clock.clone(),
            entropy.clone(),
            self.config.shards,
        );
        let cold = self.cold.clone();
        let cold = cold.map(|cold| {
            let mut store: Arc<dyn BlobStore> = Arc::new(cold.store);
            if let Some(policy) = cold.retries {
                store = Arc::new(Retrying::new(store, policy, clock, entropy));
            }
            (store, cold.config)
        });
        let log = Log::start_tiered(
            self.config.clone(),
            leases.clone(),
            topics.clone(),
            store,
            cold,
            clock.clone(),
            entropy.clone(),
            &tasks,
        );
        Process {
            log,
            topics,
            tasks,
            leases,
            clock: clock.clone(),
        }
    }
}

impl Process {
    pub(crate) async fn stop(self) {
        self.tasks.shutdown(Duration::from_secs(60)).await.unwrap();
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) -> Arc<Topic> {
        self.topic_with(name, partitions, &[]).await
    }

    pub(crate) async fn topic_with(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Arc<Topic> {
        let config: BTreeMap<String, String> = config
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let new = NewTopic {
            name: name.to_owned(),
            partitions: Some(partitions),
            config,
            validate_only: false,
        };
        self.topics.create(&TENANT, new).await.unwrap()
    }

    pub(crate) async fn find(&self, name: &str) -> Arc<Topic> {
        self.topics.lookup(&TENANT, name).await.unwrap().unwrap()
    }

    pub(crate) fn send(&self, topic: &Arc<Topic>, batch: Batch) -> AppendFuture {
        self.log
            .append(&TENANT, topic, P0, batch, AppendOptions::default())
    }

    pub(crate) async fn append(
        &self,
        topic: &Arc<Topic>,
        values: &[&str],
    ) -> Result<AppendAck, AppendError> {
        self.send(topic, self.batch(values)).await
    }

    pub(crate) fn batch(&self, values: &[&str]) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        for value in values {
            let now = self.clock.wall_ms();
            builder
                .push(now, None, Some(value.as_bytes()), &[])
                .unwrap();
        }
        builder.build().unwrap()
    }

    pub(crate) async fn fetch(
        &self,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        offset: i64,
        max_bytes: usize,
    ) -> FetchedPartition {
        let mut request = fetch_of(topic, &[(index, offset)]);
        request.max_bytes = max_bytes;
        request.partitions[0].max_bytes = max_bytes;
        let mut fetched = self.log.fetch(&TENANT, request).await;
        fetched.remove(0)
    }

    /// Every value of a partition from an offset on, with its offset.
    pub(crate) async fn read_all(
        &self,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        from: i64,
    ) -> Vec<(i64, String)> {
        let mut out: Vec<(i64, String)> = Vec::new();
        let mut next = from;
        loop {
            let fetched = self.fetch(topic, index, next, 64 << 10).await;
            assert_eq!(fetched.error, None, "fetch from {next}");
            let records = values(&fetched);
            let Some((last, _)) = records.last() else {
                assert_eq!(next, fetched.high_watermark.0);
                return out;
            };
            next = last + 1;
            out.extend(records.into_iter().filter(|(offset, _)| *offset >= from));
        }
    }
}

/// An idempotent producer's batch of `count` records.
pub(crate) fn idempotent(id: i64, epoch: i16, sequence: i32, count: i32) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None).producer(
        ProducerId(id),
        ProducerEpoch(epoch),
        sequence,
    );
    for i in 0..count {
        let value = format!("{id}/{epoch}/{}", sequence + i);
        builder
            .push(BASE_MS, None, Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap()
}

/// A fetch that does not wait.
pub(crate) fn fetch_of(topic: &Arc<Topic>, from: &[(PartitionIndex, i64)]) -> FetchRequest {
    FetchRequest {
        partitions: from
            .iter()
            .map(|(index, offset)| FetchPartition {
                topic: Arc::clone(topic),
                index: *index,
                offset: Offset(*offset),
                current_leader_epoch: None,
                last_fetched_epoch: None,
                max_bytes: 1 << 20,
            })
            .collect(),
        min_bytes: 1,
        max_bytes: 50 << 20,
        max_wait: Duration::ZERO,
        isolation: Isolation::ReadUncommitted,
    }
}

/// The batches of an answer, checked whole.
pub(crate) fn batches(fetched: &FetchedPartition) -> Vec<Batch> {
    let joined: Bytes = fetched.batches.concat().into();
    let split: Result<Vec<Batch>, _> = tidemark_records::split(joined).collect();
    split.unwrap()
}

/// The values of an answer with their offsets.
pub(crate) fn values(fetched: &FetchedPartition) -> Vec<(i64, String)> {
    batches(fetched)
        .iter()
        .flat_map(|batch| tidemark_records::records(batch, 64 << 20).unwrap())
        .map(|r| {
            let value = r.value.unwrap_or_default();
            (r.offset.0, String::from_utf8(value.to_vec()).unwrap())
        })
        .collect()
}
