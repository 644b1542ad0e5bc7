//! A producer without ids: every batch is sent once, and what became of it may stay open.

use tidemark_log::{AppendAck, AppendError, AppendOptions};

use super::{Client, TOPIC, is_refusal};

pub(super) async fn run(client: Client) {
    let mut number = 0;
    while client.works() {
        let _ = round(&client, number).await;
        number += 1;
        client.think(50).await;
    }
}

/// One batch to some partition, sent once. What it was answered, if it was.
pub(crate) async fn round(client: &Client, number: u64) -> Option<Result<AppendAck, AppendError>> {
    let process = client.pick()?;
    let topic = client.topic(&process, TOPIC).await?;
    let index = client.some_partition();
    let id = topic.partition_id(index);
    let ledger = &client.world.ledger;
    let batch = client.batch(number, None);
    let floor = ledger.floor(id);
    let sent = client.send(&process, &topic, index, &batch, AppendOptions::default());
    let answer = client.ask(&process, sent).await;
    client.note_append(&process, &format!("{id} {number}"), &answer);
    match &answer {
        Some(Ok(ack)) => ledger.acked(id, &batch, ack.base_offset, floor),
        Some(Err(error)) if is_refusal(error) => ledger.refused(id, &batch, &error.to_string()),
        _ => {}
    }
    answer
}
