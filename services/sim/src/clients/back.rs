//! A reader that looks back: after every restart it reads some partition from where it begins to its end.

use std::sync::Arc;
use std::time::Duration;

use tidemark_runtime::Invariant;
use tidemark_topics::Topic;
use tidemark_types::{ErrorCode, PartitionIndex};

use super::{Client, PARTITIONS, TOPIC, fetch, took};
use crate::process::Process;
use crate::trace::note;
use crate::world::TENANT;

const FETCH_BYTES: usize = 64 << 10;
/// Tries at one offset that fail: the object store may be away.
const TRIES: u32 = 20;

pub(super) async fn run(client: Client) {
    let mut last = None;
    let mut index = 0;
    while client.works() {
        client.think(200).await;
        let newest = client.world.newest().filter(|p| p.is_serving());
        let Some(process) = newest.filter(|p| Some(p.number) != last) else {
            continue;
        };
        let Some(topic) = client.topic(&process, TOPIC).await else {
            continue;
        };
        last = Some(process.number);
        index = (index + 1) % PARTITIONS;
        read_back(&client, &process, &topic, PartitionIndex(index)).await;
    }
}

async fn read_back(client: &Client, process: &Process, topic: &Arc<Topic>, index: PartitionIndex) {
    let id = topic.partition_id(index);
    let Ok(now) = process.log.offsets(&TENANT, topic, index) else {
        return;
    };
    let (mut next, end) = (now.log_start.0, now.high_watermark.0);
    let mut tries = 0;
    note!(
        client.world.trace,
        "back p{} {id} from {next} to {end}",
        process.number
    );
    while next < end && tries < TRIES {
        let limits = (FETCH_BYTES, Duration::ZERO);
        let fetched = client.ask(process, fetch(process, topic, index, next, limits));
        let Some(fetched) = fetched.await else {
            if process.life.is_dead() {
                return;
            }
            tries += 1;
            continue;
        };
        match fetched.error {
            None => {
                let after = took(client, process, topic, index, next, &fetched);
                tries = if after == next { TRIES } else { 0 };
                next = after;
            }
            Some(ErrorCode::OffsetOutOfRange) if client.world.starts.may_be_gone(id, next) => {
                next = fetched.log_start.0.max(next + 1);
            }
            Some(error) if error.is_retriable() => {
                let number = process.number;
                note!(client.world.trace, "back p{number} {id} at {next}: {error}");
                tries += 1;
                client.think(300).await;
            }
            Some(error) => {
                let what = format!("{id}: reading back from {next}: {error}");
                client.world.ledger.violated(Invariant::AckedReadable, what);
                return;
            }
        }
    }
}
