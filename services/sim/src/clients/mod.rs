//! The workload: clients that do what real ones do, and tell the ledger what they were answered.

mod admin;
mod back;
mod conditional;
mod plain;
mod producer;
mod reader;
mod table;
mod tail;
mod trim;

pub(crate) use self::plain::round as write_once;
pub(crate) use self::reader::{fetch, took};
pub(crate) use self::table::{TABLE, scan as scan_table, write_once as write_table};
use std::sync::Arc;
use std::time::Duration;

use tidemark_log::{AppendError, AppendOptions};
use tidemark_records::{Batch, BatchBuilder, Compression};
use tidemark_runtime::Entropy;
use tidemark_topics::{NewTopic, Topic, TopicError};
use tidemark_types::{PartitionIndex, ProducerEpoch, ProducerId, ShardId};
use tokio::task::JoinHandle;

use crate::process::Process;
use crate::trace::note;
use crate::world::{Phase, TENANT, World};

/// The topic everyone works on, and its partitions.
pub(crate) const TOPIC: &str = "orders";
pub(crate) const PARTITIONS: i32 = 3;
/// A client gives up on an answer after this long.
const PATIENCE: Duration = Duration::from_secs(3);

/// What every client has.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) entropy: Entropy,
    pub(crate) name: String,
}

/// Starts the workload; the handles end when the clients have finished what they began.
pub(crate) fn start(world: &Arc<World>) -> Vec<JoinHandle<()>> {
    let client = |name: String| Client {
        world: Arc::clone(world),
        entropy: Entropy::seeded(world.entropy.next_u64()),
        name,
    };
    let tasks = &world.tasks;
    let mut handles = Vec::new();
    for partition in 0..PARTITIONS {
        let producer = client(format!("idempotent-{partition}"));
        handles.push(tasks.spawn(
            "producer",
            producer::run(producer, PartitionIndex(partition)),
        ));
    }
    handles.push(tasks.spawn("plain", plain::run(client("plain".to_owned()))));
    handles.push(tasks.spawn("conditional", conditional::run(client("cond".to_owned()))));
    for number in 0..2 {
        handles.push(tasks.spawn("reader", reader::run(client(format!("reader-{number}")))));
    }
    handles.push(tasks.spawn("tail", tail::run(client("tail".to_owned()))));
    handles.push(tasks.spawn("admin", admin::run(client("admin".to_owned()))));
    if world.plan.cold.is_some() {
        handles.push(tasks.spawn("trimmer", trim::run(client("trimmer".to_owned()))));
        handles.push(tasks.spawn("back", back::run(client("back".to_owned()))));
    }
    if world.plan.tables {
        let (write, build) = (client("table".to_owned()), client("builder".to_owned()));
        handles.push(tasks.spawn("table writer", table::write(write)));
        handles.push(tasks.spawn("table builder", table::build(build)));
        handles.push(tasks.spawn("alterer", table::alter(client("alterer".to_owned()))));
    }
    tasks.spawn("sampler", tail::sample(client("sampler".to_owned())));
    handles
}

impl Client {
    /// A client of its own, beside the workload.
    pub(crate) fn beside(world: &Arc<World>, name: &str) -> Self {
        Self {
            world: Arc::clone(world),
            entropy: Entropy::seeded(world.entropy.next_u64()),
            name: name.to_owned(),
        }
    }

    /// A process to talk to: mostly the newest, sometimes one that may have been replaced.
    pub(crate) fn pick(&self) -> Option<Arc<Process>> {
        let mut alive = self.world.alive();
        if self.world.phase() == Phase::Faults && self.entropy.below(6) == 0 {
            let at = self.entropy.below(alive.len() as u64);
            return alive.get(usize::try_from(at).unwrap_or(0)).cloned();
        }
        alive.pop()
    }

    /// An answer, unless the process dies first or takes too long.
    pub(crate) async fn ask<T>(
        &self,
        process: &Process,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            () = process.life.ended() => None,
            answer = answer => Some(answer),
            () = self.world.clock.sleep(PATIENCE) => None,
        }
    }

    pub(crate) async fn think(&self, longest_ms: u64) {
        let us = self.entropy.below(longest_ms * 1_000);
        self.world.clock.sleep(Duration::from_micros(us)).await;
    }

    pub(crate) fn works(&self) -> bool {
        self.world.phase() == Phase::Faults
    }

    /// The topic as this process knows it.
    pub(crate) async fn topic(&self, process: &Process, name: &str) -> Option<Arc<Topic>> {
        let found = self.ask(process, process.topics.lookup(&TENANT, name));
        found.await?.ok().flatten()
    }

    pub(crate) fn some_partition(&self) -> PartitionIndex {
        let count = u64::from(PARTITIONS.unsigned_abs());
        PartitionIndex(i32::try_from(self.entropy.below(count)).unwrap_or(0))
    }

    /// A batch of one to three records with values that no other batch has.
    pub(crate) fn batch(&self, number: u64, producer: Option<(ProducerId, i32)>) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, sequence)) = producer {
            builder = builder.producer(id, ProducerEpoch(0), sequence);
        }
        let padding = usize::try_from(self.entropy.below(200)).unwrap_or(0);
        let now_ms = self.world.clock.wall_ms();
        for record in 0..=self.entropy.below(3) {
            let value = format!("{}/{number}/{record} {:padding$}", self.name, "");
            let pushed = builder.push(now_ms, None, Some(value.as_bytes()), &[]);
            pushed.expect("a small record fits");
        }
        builder.build().expect("a batch with records")
    }

    pub(crate) fn send(
        &self,
        process: &Process,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        batch: &Batch,
        options: AppendOptions,
    ) -> tidemark_log::AppendFuture {
        process
            .log
            .append(&TENANT, topic, index, batch.clone(), options)
    }

    pub(crate) fn note_append<T: std::fmt::Debug>(
        &self,
        process: &Process,
        what: &str,
        answer: &Option<Result<T, AppendError>>,
    ) {
        let (name, number) = (&self.name, process.number);
        match answer {
            None => note!(self.world.trace, "{name} p{number} {what}: no answer"),
            Some(Ok(ack)) => note!(self.world.trace, "{name} p{number} {what}: {ack:?}"),
            Some(Err(error)) => note!(self.world.trace, "{name} p{number} {what}: {error}"),
        }
    }
}

/// The error says that nothing was appended and nothing will be.
pub(crate) const fn is_refusal(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::NotLeader(_)
            | AppendError::Closed { .. }
            | AppendError::Overloaded(_)
            | AppendError::ExtentFull(_)
            | AppendError::DiskNearlyFull(_)
            | AppendError::NoSuchPartition
            | AppendError::ExpectedOffset { .. }
    )
}

pub(crate) fn shard_of(topic: &Topic, index: PartitionIndex) -> ShardId {
    topic.partition(index).map_or(ShardId(0), |p| p.shard)
}

/// Creates the topics.
pub(crate) async fn create_topics(world: &World) {
    create_topic(world).await;
    if world.plan.tables {
        table::create(world).await;
    }
}

/// Creates the topic that everyone works on.
async fn create_topic(world: &World) {
    let Some(process) = world.newest() else {
        return;
    };
    let new = NewTopic {
        name: TOPIC.to_owned(),
        partitions: Some(PARTITIONS),
        config: world.plan.topic_config(),
        ..NewTopic::default()
    };
    match process.topics.create(&TENANT, new).await {
        Ok(_) | Err(TopicError::Exists { .. }) => {}
        Err(error) => world.verdict.panicked(format!("create topic: {error}")),
    }
}
