//! A reader: begins anywhere, follows, moves on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark_log::{FetchPartition, FetchRequest, FetchedPartition, Isolation};
use tidemark_records::Batch;
use tidemark_runtime::Invariant;
use tidemark_topics::Topic;
use tidemark_types::{ErrorCode, Offset, PartitionIndex};

use super::{Client, TOPIC};
use crate::process::Process;
use crate::trace::note;
use crate::world::TENANT;

pub(super) async fn run(client: Client) {
    while client.works() {
        let index = client.some_partition();
        let mut next = None;
        for _ in 0..=client.entropy.below(12) {
            if let Some(process) = client.pick()
                && let Some(topic) = client.topic(&process, TOPIC).await
            {
                let known = client.world.ledger.floor(topic.partition_id(index));
                let from = next.unwrap_or_else(|| some_offset(&client, known));
                next = Some(follow(&client, &process, &topic, index, from).await);
            }
            client.think(80).await;
        }
    }
}

/// Somewhere in the log, at its end, or a little beyond.
fn some_offset(client: &Client, end: i64) -> i64 {
    let bound = u64::try_from(end).unwrap_or(0);
    match client.entropy.below(4) {
        0 => end,
        1 => end + i64::try_from(client.entropy.below(3)).unwrap_or(0),
        _ => i64::try_from(client.entropy.below(bound)).unwrap_or(0),
    }
}

async fn follow(
    client: &Client,
    process: &Process,
    topic: &Arc<Topic>,
    index: PartitionIndex,
    from: i64,
) -> i64 {
    let (id, ledger) = (topic.partition_id(index), &client.world.ledger);
    let floor = ledger.floor(id);
    let max_bytes = 1 << (8 + client.entropy.below(8));
    let wait = Duration::from_millis(client.entropy.below(400));
    let fetched = fetch(process, topic, index, from, (max_bytes, wait));
    let Some(fetched) = client.ask(process, fetched).await else {
        return from;
    };
    let number = process.number;
    note!(
        client.world.trace,
        "{} p{number} {id} from {from}: {:?}, {} bytes, end {}",
        client.name,
        fetched.error,
        fetched.bytes(),
        fetched.high_watermark
    );
    match fetched.error {
        // K2: a claim about the end, which must have been proven.
        Some(ErrorCode::OffsetOutOfRange) if client.world.starts.may_be_gone(id, from) => {
            fetched.log_start.0
        }
        Some(ErrorCode::OffsetOutOfRange) if from <= floor => {
            let what = format!("{id}: {from} is out of range, {floor} was the end before");
            ledger.violated(Invariant::AckedReadable, what);
            from
        }
        Some(error) if !error.is_retriable() && error != ErrorCode::OffsetOutOfRange => {
            let what = format!("{id}: reading from {from}: {error}");
            ledger.violated(Invariant::AckedReadable, what);
            from
        }
        Some(_) => from,
        None => took(client, process, topic, index, from, &fetched),
    }
}

/// One fetch of one partition.
pub(crate) async fn fetch(
    process: &Process,
    topic: &Arc<Topic>,
    index: PartitionIndex,
    from: i64,
    (max_bytes, max_wait): (usize, Duration),
) -> FetchedPartition {
    let partition = FetchPartition {
        topic: Arc::clone(topic),
        index,
        offset: Offset(from),
        current_leader_epoch: None,
        last_fetched_epoch: None,
        max_bytes,
    };
    let request = FetchRequest {
        partitions: vec![partition],
        min_bytes: 1,
        max_bytes,
        max_wait,
        isolation: Isolation::default(),
    };
    let mut answers = process.log.fetch(&TENANT, request).await;
    answers.pop().expect("one answer per partition")
}

/// Takes in what was read and gives where to go on.
pub(crate) fn took(
    client: &Client,
    process: &Process,
    topic: &Arc<Topic>,
    index: PartitionIndex,
    from: i64,
    fetched: &FetchedPartition,
) -> i64 {
    let (id, ledger) = (topic.partition_id(index), &client.world.ledger);
    let bytes: Bytes = fetched.batches.concat().into();
    let batches: Vec<Batch> = match tidemark_records::split(bytes).collect() {
        Ok(batches) => batches,
        Err(error) => {
            let what = format!("{id}: reading from {from} gives no batches: {error}");
            ledger.violated(Invariant::OneValuePerOffset, what);
            return from;
        }
    };
    let gone = client.world.starts.may_begin(id);
    ledger.read(id, from, (gone, fetched.high_watermark.0), &batches);
    client.world.starts.begins(id, fetched.log_start.0);
    if let Ok(now) = process.log.offsets(&TENANT, topic, index) {
        ledger.shown(id, now.leader_epoch, now.high_watermark.0);
        client
            .world
            .starts
            .shown(id, now.leader_epoch, now.log_start.0);
    }
    let end = fetched.high_watermark.0;
    if batches.is_empty() && from < end && !client.world.starts.may_be_gone(id, from) {
        let what = format!("{id}: nothing at {from}, ends at {end}");
        ledger.violated(Invariant::Covered, what);
    }
    let next = batches.last().map(|b| b.header().next_offset().0);
    next.unwrap_or(from)
}
