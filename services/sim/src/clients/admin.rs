//! Topics come and go: made, written to, deleted, made again under the same name as another topic.

use std::sync::Arc;
use std::time::Duration;

use tidemark_log::AppendOptions;
use tidemark_runtime::Invariant;
use tidemark_topics::{NewTopic, Topic, TopicError, TopicRef};
use tidemark_types::PartitionIndex;

use super::{Client, fetch, took};
use crate::process::Process;
use crate::trace::note;
use crate::world::TENANT;

const NAME: &str = "passing";

pub(super) async fn run(client: Client) {
    let mut number = 0;
    let mut last_id = None;
    while client.works() {
        client.think(600).await;
        let Some(process) = client.pick() else {
            continue;
        };
        let new = NewTopic {
            name: NAME.to_owned(),
            partitions: Some(1),
            ..NewTopic::default()
        };
        let created = client.ask(&process, process.topics.create(&TENANT, new));
        let Some(Ok(topic)) = created.await else {
            delete(&client).await;
            continue;
        };
        note!(client.world.trace, "topic {} created", topic.id);
        if last_id == Some(topic.id) {
            let what = format!("topic {} was made twice", topic.id);
            client
                .world
                .ledger
                .violated(Invariant::OneValuePerOffset, what);
        }
        last_id = Some(topic.id);
        let id = topic.partition_id(PartitionIndex(0));
        for _ in 0..client.entropy.below(6) {
            let batch = client.batch(number, None);
            number += 1;
            let floor = client.world.ledger.floor(id);
            let options = AppendOptions::default();
            let sent = client.send(&process, &topic, PartitionIndex(0), &batch, options);
            if let Some(Ok(ack)) = client.ask(&process, sent).await {
                client
                    .world
                    .ledger
                    .acked(id, &batch, ack.base_offset, floor);
            }
        }
        if client.world.plan.tables {
            read_back(&client, &process, &topic).await;
        }
        delete(&client).await;
    }
}

/// A topic of the same name that is gone left nothing in this one: the ledger knows whose batch is whose.
async fn read_back(client: &Client, process: &Process, topic: &Arc<Topic>) {
    let index = PartitionIndex(0);
    let limits = (64 << 10, Duration::ZERO);
    let fetched = client.ask(process, fetch(process, topic, index, 0, limits));
    if let Some(fetched) = fetched.await
        && fetched.error.is_none()
    {
        took(client, process, topic, index, 0, &fetched);
    }
}

async fn delete(client: &Client) {
    let Some(process) = client.pick() else { return };
    let name = TopicRef::Name(NAME);
    let deleted = client
        .ask(&process, process.topics.delete(&TENANT, name))
        .await;
    match deleted {
        Some(Ok(gone)) => note!(client.world.trace, "topic {} deleted", gone.id),
        Some(Err(TopicError::UnknownName { .. })) => {}
        other => note!(client.world.trace, "delete a topic: {other:?}"),
    }
}
