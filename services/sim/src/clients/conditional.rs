//! A writer that appends only at the offset it expects, under an idempotency key, and asks again until it knows.

use tidemark_log::{AppendError, AppendOptions, IdempotencyKey, OffsetSpec};
use tidemark_runtime::Invariant;
use tidemark_types::Offset;

use super::{Client, TOPIC, is_refusal};
use crate::world::{Phase, TENANT};

pub(super) async fn run(client: Client) {
    let mut number = 0;
    while client.works() {
        round(&client, number).await;
        number += 1;
        client.think(120).await;
    }
}

/// The end of a partition as the service proves it.
async fn end(client: &Client, index: tidemark_types::PartitionIndex) -> Option<Offset> {
    let process = client.pick()?;
    let topic = client.topic(&process, TOPIC).await?;
    let isolation = tidemark_log::Isolation::default();
    let listed = process
        .log
        .list_offset(&TENANT, &topic, index, OffsetSpec::Latest, isolation);
    let listed = client.ask(&process, listed).await?.ok()?;
    Some(listed.offset)
}

async fn round(client: &Client, number: u64) {
    let index = client.some_partition();
    let Some(mut expected) = end(client, index).await else {
        return;
    };
    if client.entropy.below(8) == 0 {
        expected = Offset(expected.0 + 1);
    }
    let batch = client.batch(number, None);
    let options = AppendOptions {
        expected_offset: Some(expected),
        idempotency: Some(IdempotencyKey {
            key: format!("{}-{number}", client.name).into(),
            fingerprint: number,
        }),
        ..AppendOptions::default()
    };
    let mut first_floor = None;
    let mut maybe_sent = false;
    while client.world.phase() != Phase::Over {
        client.think(20).await;
        let Some(process) = client.pick() else {
            continue;
        };
        let Some(topic) = client.topic(&process, TOPIC).await else {
            continue;
        };
        let id = topic.partition_id(index);
        let ledger = &client.world.ledger;
        let floor = ledger.floor(id);
        let first_floor = *first_floor.get_or_insert(floor);
        let sent = client.send(&process, &topic, index, &batch, options.clone());
        let answer = client.ask(&process, sent).await;
        client.note_append(&process, &format!("{id} {number} at {expected}"), &answer);
        match answer {
            Some(Ok(ack)) => {
                if ack.base_offset != expected {
                    let what = format!("{id}: appended at {}, not at {expected}", ack.base_offset);
                    ledger.violated(Invariant::OneValuePerOffset, what);
                }
                ledger.acked(id, &batch, ack.base_offset, first_floor);
                return;
            }
            Some(Err(AppendError::ExpectedOffset { next, .. })) => {
                // K5: an earlier try that was appended would have been recognised by its key.
                ledger.claimed_end(id, next.0, floor, "a refused condition");
                ledger.refused(id, &batch, "expected another offset");
                return;
            }
            Some(Err(error)) if is_refusal(&error) && !maybe_sent && !client.works() => {
                ledger.refused(id, &batch, &error.to_string());
                return;
            }
            Some(Err(error)) => maybe_sent |= !is_refusal(&error),
            None => maybe_sent = true,
        }
    }
}
