//! Clients of a topic that keeps the latest record of each key: one writes and deletes keys, one builds the table from the
//! beginning again and again, one changes what is kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark_log::{AppendAck, AppendError, AppendOptions};
use tidemark_records::{Batch, BatchBuilder, Compression, Header};
use tidemark_runtime::Invariant;
use tidemark_topics::{ConfigOp, NewTopic, Topic};
use tidemark_types::PartitionIndex;

use super::{Client, TOPIC, fetch, is_refusal};
use crate::plan::Retention;
use crate::process::Process;
use crate::table::Tables;
use crate::trace::note;
use crate::world::{TENANT, World};

/// The topic.
pub(crate) const TABLE: &str = "table";
const PARTITIONS: i32 = 2;
const KEYS: u64 = 12;
/// Tries at one offset that fail: the object store may be away.
const TRIES: u32 = 40;
/// How long tombstones stay, the first and what it is changed to, ms.
const TOMBSTONES_MS: [u64; 2] = [4_000, 1_500];

/// Creates the topic.
pub(crate) async fn create(world: &World) {
    let Some(process) = world.newest() else {
        return;
    };
    let config = [
        ("cleanup.policy", "compact".to_owned()),
        ("min.cleanable.dirty.ratio", "0.1".to_owned()),
        ("delete.retention.ms", TOMBSTONES_MS[0].to_string()),
        ("retention.ms", "-1".to_owned()),
    ];
    let new = NewTopic {
        name: TABLE.to_owned(),
        partitions: Some(PARTITIONS),
        config: config.map(|(name, value)| (name.to_owned(), value)).into(),
        ..NewTopic::default()
    };
    world
        .tables
        .tombstones_stay(Duration::from_millis(TOMBSTONES_MS[0]));
    match process.topics.create(&TENANT, new).await {
        Ok(topic) => {
            let ids = topic.indexed().map(|(index, _)| topic.partition_id(index));
            world.tables.add(ids);
        }
        Err(error) => world.verdict.panicked(format!("create topic: {error}")),
    }
}

/// Writes and deletes keys.
pub(super) async fn write(client: Client) {
    let mut number = 0;
    while client.works() {
        let _ = write_once(&client, number).await;
        number += 1;
        client.think(60).await;
    }
}

/// One batch of puts and deletes, sent once. What it was answered, if it was.
pub(crate) async fn write_once(
    client: &Client,
    number: u64,
) -> Option<Result<AppendAck, AppendError>> {
    let process = client.pick()?;
    let topic = client.topic(&process, TABLE).await?;
    let index = some_partition(client);
    let id = topic.partition_id(index);
    let world = &client.world;
    let batch = batch(client, number);
    world.tables.sends(id, &batch, world.clock.now());
    let sent = client.send(&process, &topic, index, &batch, AppendOptions::default());
    let answer = client.ask(&process, sent).await;
    client.note_append(&process, &format!("{id} {number}"), &answer);
    match &answer {
        Some(Ok(ack)) => world.tables.acked(id, &batch, ack.base_offset.0),
        Some(Err(error)) if is_refusal(error) => world.tables.refused(id, &batch),
        _ => {}
    }
    answer
}

fn some_partition(client: &Client) -> PartitionIndex {
    let count = u64::from(PARTITIONS.unsigned_abs());
    PartitionIndex(i32::try_from(client.entropy.below(count)).unwrap_or(0))
}

fn batch(client: &Client, number: u64) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    let padding = usize::try_from(client.entropy.below(120)).unwrap_or(0);
    let now_ms = client.world.clock.wall_ms();
    for record in 0..=client.entropy.below(3) {
        let key = format!("k{}", client.entropy.below(KEYS));
        let name = format!("{}/{number}/{record}", client.name);
        let value = format!("{name} {:padding$}", "");
        let value = (client.entropy.below(4) > 0).then_some(value.as_bytes());
        let header = Header {
            key: Bytes::from_static(b"n"),
            value: Some(Bytes::from(name.clone())),
        };
        let pushed = builder.push(now_ms, Some(key.as_bytes()), value, &[header]);
        pushed.expect("a small record fits");
    }
    builder.build().expect("a batch with records")
}

/// Builds tables.
pub(super) async fn build(client: Client) {
    while client.works() {
        client.think(1_500).await;
        let Some(process) = client.pick() else {
            continue;
        };
        if let Some(topic) = client.topic(&process, TABLE).await {
            let index = some_partition(&client);
            scan(&client, &process, &topic, index).await;
        }
    }
}

/// Reads a partition from its beginning to its end. `false`: it could not be read.
pub(crate) async fn scan(
    client: &Client,
    process: &Process,
    topic: &Arc<Topic>,
    index: PartitionIndex,
) -> bool {
    let (id, world) = (topic.partition_id(index), &client.world);
    let mut scan = Tables::scan(id, world.clock.now());
    let (mut next, mut tries) = (0, 0);
    let floor = world.tables.floor(id);
    while tries < TRIES {
        let limits = (8 << 10, Duration::ZERO);
        let fetched = client.ask(process, fetch(process, topic, index, next, limits));
        let Some(fetched) = fetched.await else {
            if process.life.is_dead() {
                return false;
            }
            tries += 1;
            continue;
        };
        if let Some(error) = fetched.error {
            if !error.is_retriable() {
                let what = format!("{id}: reading the table from {next}: {error}");
                world.verdict.violated(Invariant::AckedReadable, what);
                return false;
            }
            tries += 1;
            client.think(300).await;
            continue;
        }
        let bytes: Bytes = fetched.batches.concat().into();
        let batches: Result<Vec<Batch>, _> = tidemark_records::split(bytes).collect();
        let batches = batches.unwrap_or_default();
        world.tables.scanned(&mut scan, next, &batches);
        let Some(last) = batches.last() else {
            let end = fetched.high_watermark.0;
            note!(world.trace, "{} {id} built up to {next}", client.name);
            // An owner that was replaced may not know the newest end.
            if next < end {
                let what = format!("{id}: nothing of the table at {next}, ends at {end}");
                world.verdict.violated(Invariant::Covered, what);
            }
            if next >= floor {
                world.tables.complete(&scan, world.clock.now());
            }
            return next >= floor;
        };
        (next, tries) = (last.header().next_offset().0, 0);
    }
    false
}

/// Changes what is kept, while it is kept.
pub(super) async fn alter(client: Client) {
    while client.works() {
        client.think(3_000).await;
        let Some(process) = client.pick() else {
            continue;
        };
        let (topic, name, value) = some_change(&client);
        note!(client.world.trace, "{topic}: {name} is to be {value}");
        let set = ConfigOp::Set {
            name: name.to_owned(),
            value,
        };
        let altered = process
            .topics
            .alter_config(&TENANT, topic, vec![set], false);
        let answer = client.ask(&process, altered).await;
        if let Some(Err(error)) = answer {
            note!(client.world.trace, "{topic}: {error}");
        }
    }
}

fn some_change(client: &Client) -> (&'static str, &'static str, String) {
    let (world, below) = (&client.world, |n| client.entropy.below(n));
    let wider = |kept| world.starts.may_keep(kept);
    match below(5) {
        0 => {
            let ms = TOMBSTONES_MS[usize::try_from(below(2)).unwrap_or(0)];
            world.tables.tombstones_stay(Duration::from_millis(ms));
            (TABLE, "delete.retention.ms", ms.to_string())
        }
        1 => (TABLE, "min.compaction.lag.ms", (below(2) * 800).to_string()),
        2 => {
            let policy = ["compact", "delete", "compact,delete"];
            let policy = policy[usize::try_from(below(3)).unwrap_or(0)];
            (TABLE, "cleanup.policy", policy.to_owned())
        }
        3 => {
            let ms = 500 << below(4);
            wider(Retention::Ms(ms));
            (TOPIC, "retention.ms", ms.to_string())
        }
        _ => {
            let bytes = 1 << (9 + below(6));
            wider(Retention::Bytes(bytes));
            (TOPIC, "retention.bytes", bytes.to_string())
        }
    }
}
