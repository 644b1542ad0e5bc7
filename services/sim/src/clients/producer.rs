//! An idempotent producer of one partition: up to four batches in flight, each sent again, in order and with the
//! same sequence number, until it is acked.

use std::collections::VecDeque;

use futures_util::future::join_all;
use tidemark_log::{AppendError, AppendOptions};
use tidemark_records::Batch;
use tidemark_runtime::Invariant;
use tidemark_types::{Offset, PartitionIndex, ProducerId};

use super::{Client, TOPIC, shard_of};
use crate::trace::note;

const IN_FLIGHT: usize = 4;
/// What the service must remember of a producer.
const REMEMBERED: usize = 5;

struct Unacked {
    batch: Batch,
    floor: i64,
}

struct Producer {
    client: Client,
    index: PartitionIndex,
    id: ProducerId,
    next_sequence: i32,
    number: u64,
    unacked: VecDeque<Unacked>,
    acked: VecDeque<(Batch, Offset)>,
}

pub(super) async fn run(client: Client, index: PartitionIndex) {
    let Some(id) = producer_id(&client).await else {
        return;
    };
    let mut producer = Producer {
        client,
        index,
        id,
        next_sequence: 0,
        number: 0,
        unacked: VecDeque::new(),
        acked: VecDeque::new(),
    };
    while producer.client.works() || !producer.unacked.is_empty() {
        producer.round().await;
        producer.client.think(60).await;
    }
    while !producer.is_remembered().await {
        producer.client.think(200).await;
    }
}

async fn producer_id(client: &Client) -> Option<ProducerId> {
    loop {
        if let Some(process) = client.pick() {
            let given = client.ask(&process, process.log.init_producer_id());
            if let Some(Ok((id, _))) = given.await {
                client.world.ledger.producer_id(id.0);
                return Some(id);
            }
        }
        if !client.works() {
            return None;
        }
        client.think(200).await;
    }
}

impl Producer {
    async fn round(&mut self) {
        let Some(process) = self.client.pick() else {
            return;
        };
        let Some(topic) = self.client.topic(&process, TOPIC).await else {
            return;
        };
        let id = topic.partition_id(self.index);
        let ledger = self.client.world.ledger.clone();
        while self.client.works()
            && self.unacked.len() < IN_FLIGHT
            && (self.unacked.is_empty() || self.client.entropy.below(2) == 0)
        {
            let stamp = Some((self.id, self.next_sequence));
            let batch = self.client.batch(self.number, stamp);
            self.number += 1;
            self.next_sequence += batch.header().last_offset_delta + 1;
            let floor = ledger.floor(id);
            self.unacked.push_back(Unacked { batch, floor });
        }
        let shard = shard_of(&topic, self.index);
        let owned_before = self.client.world.owns(&process, shard).await;
        // Enqueued in order before any is waited for.
        let sent: Vec<_> = self
            .unacked
            .iter()
            .map(|u| {
                let options = AppendOptions::default();
                self.client
                    .send(&process, &topic, self.index, &u.batch, options)
            })
            .collect();
        let answers = join_all(sent.into_iter().map(|sent| self.client.ask(&process, sent)));
        let answers = answers.await;
        let owned = owned_before && self.client.world.owns(&process, shard).await;
        let mut left = VecDeque::new();
        for (unacked, answer) in self.unacked.drain(..).zip(answers) {
            let sequence = unacked.batch.header().base_sequence;
            let what = format!("{id} #{sequence}");
            self.client.note_append(&process, &what, &answer);
            match answer {
                Some(Ok(ack)) => {
                    ledger.acked(id, &unacked.batch, ack.base_offset, unacked.floor);
                    self.acked.push_back((unacked.batch, ack.base_offset));
                    continue;
                }
                Some(Err(error)) if left.is_empty() && owned && is_state_lost(&error) => {
                    let what = format!("{id}: the owner forgot its producer: {error}");
                    ledger.violated(Invariant::RebuiltEqual, what);
                }
                Some(Err(error)) if is_unexpected(&error) => {
                    let what = format!("{id}: unexpected: {error}");
                    ledger.violated(Invariant::RebuiltEqual, what);
                }
                _ => {}
            }
            left.push_back(unacked);
        }
        self.unacked = left;
        while self.acked.len() > REMEMBERED {
            self.acked.pop_front();
        }
    }

    /// Sends its last batches once more: each must be known as what it is.
    async fn is_remembered(&self) -> bool {
        let Some(process) = self.client.pick().filter(|p| p.is_serving()) else {
            return false;
        };
        let Some(topic) = self.client.topic(&process, TOPIC).await else {
            return false;
        };
        let id = topic.partition_id(self.index);
        for (batch, base) in &self.acked {
            let options = AppendOptions::default();
            let sent = self
                .client
                .send(&process, &topic, self.index, batch, options);
            match self.client.ask(&process, sent).await {
                Some(Ok(ack)) if ack.duplicate && ack.base_offset == *base => {}
                Some(Ok(ack)) => {
                    let what = format!("{id}: the batch at {base}, sent again, is {ack:?}");
                    self.client
                        .world
                        .ledger
                        .violated(Invariant::RebuiltEqual, what);
                }
                Some(Err(error)) if is_state_lost(&error) => {
                    let what = format!("{id}: the batch at {base}, sent again: {error}");
                    self.client
                        .world
                        .ledger
                        .violated(Invariant::RebuiltEqual, what);
                }
                other => {
                    note!(self.client.world.trace, "{id} asked again: {other:?}");
                    return false;
                }
            }
        }
        true
    }
}

const fn is_state_lost(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::OutOfOrderSequence { .. } | AppendError::InvalidProducerEpoch { .. }
    )
}

const fn is_unexpected(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::InvalidRecord(_)
            | AppendError::RecordsWithoutKey { .. }
            | AppendError::InvalidTimestamp { .. }
            | AppendError::Batch(_)
            | AppendError::InvalidRequest(_)
            | AppendError::KeyReused
            | AppendError::TooLarge { .. }
    )
}
