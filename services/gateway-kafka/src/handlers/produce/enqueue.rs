//! The first stage: every batch into its partition's queue, in the request's order.
//!
//! # Backpressure
//! A partition whose shard is full makes the connection wait, for half of the request's timeout at the most: nothing
//! more is read of it meanwhile, as Kafka mutes a channel. Refused, a pipelining producer would send its batches again
//! in another order. When the time is up the batch is refused, and with it what the client sent behind it
//! ([`crate::lane`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tidemark_log::{AppendFuture, AppendOptions, Backing, Room};
use tidemark_records::Batch;
use tidemark_topics::Topic;
use tidemark_types::{ErrorCode, PartitionId, PartitionIndex};
use tidemark_wire::produce::{ProducePartition, ProduceRequest, ProduceTopic};
use tokio::time::Instant;

use super::{Pending, PendingTopic, Refusal, TOPIC_IDS_FROM, checked};
use crate::handler::Call;
use crate::{Ctx, resolve};

/// A batch without room, and its place in what is pending.
struct Waiting {
    at: (usize, usize),
    topic: Arc<Topic>,
    index: PartitionIndex,
    batch: Batch,
}

/// What becomes of a partition at first.
enum First {
    Decided(Result<AppendFuture, Refusal>),
    Waits(Arc<Topic>, PartitionIndex, Batch),
}

/// Puts every batch into its partition's queue; those that find no room wait for it until `deadline`.
pub(super) async fn enqueue(
    ctx: &Ctx,
    call: &Call,
    request: ProduceRequest,
    deadline: Instant,
) -> Vec<PendingTopic> {
    let refused = refusal_of_all(&request);
    let backing = backing(call, &request);
    let mut pending = Vec::with_capacity(request.topics.len());
    let mut waiting: Vec<Waiting> = Vec::new();
    // A request may name a hundred thousand partitions, one of them twice.
    let mut places = BTreeSet::new();
    for asked in request.topics {
        let topic = match &refused {
            Some(refusal) => Err(refusal.clone()),
            None => topic_of(ctx, call, &asked).await,
        };
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for p in asked.partitions {
            let index = p.index;
            let first = match &topic {
                Ok(topic) => first(ctx, call, topic, p, (backing.as_ref(), &places)),
                Err(refusal) => First::Decided(Err(refusal.clone())),
            };
            let append = match first {
                First::Decided(append) => append,
                First::Waits(topic, index, batch) => {
                    let at = (pending.len(), partitions.len());
                    places.insert(topic.partition_id(index));
                    waiting.push(Waiting {
                        at,
                        topic,
                        index,
                        batch,
                    });
                    Err(Refusal::of_code(ErrorCode::Overloaded))
                }
            };
            partitions.push(Pending {
                index,
                topic: topic.as_ref().ok().cloned(),
                append,
            });
        }
        pending.push(PendingTopic {
            partitions,
            name: asked.name,
            id: asked.id,
        });
    }
    if !waiting.is_empty() {
        wait(
            ctx,
            call,
            (&mut pending, waiting),
            backing.as_ref(),
            deadline,
        )
        .await;
    }
    pending
}

fn first(
    ctx: &Ctx,
    call: &Call,
    topic: &Arc<Topic>,
    partition: ProducePartition,
    (backing, waiting): (Option<&Backing>, &BTreeSet<PartitionId>),
) -> First {
    let own = |records: Bytes| match backing {
        Some(_) => records,
        None => Bytes::copy_from_slice(&records),
    };
    let batch = match checked(partition.records.map(own), call.version) {
        Ok(batch) => batch,
        Err(refusal) => return First::Decided(Err(refusal)),
    };
    let index = PartitionIndex(partition.index);
    let id = topic.partition_id(index);
    if call.lane.refuses(id) || waiting.contains(&id) {
        return First::Decided(Err(Refusal::of_code(ErrorCode::Overloaded)));
    }
    match ctx
        .log()
        .room(&call.tenant, topic, index, batch.bytes().len())
    {
        Ok(room) => First::Decided(Ok(append(ctx, topic, batch, (room, backing)))),
        Err(error) if error.is_pressure() => First::Waits(Arc::clone(topic), index, batch),
        Err(error) => First::Decided(Err(Refusal::of_append(&error))),
    }
}

fn append(
    ctx: &Ctx,
    topic: &Topic,
    batch: Batch,
    (room, backing): (Room, Option<&Backing>),
) -> AppendFuture {
    let options = AppendOptions {
        backing: backing.cloned(),
        ..AppendOptions::default()
    };
    ctx.log().append_in(room, topic, batch, options)
}

/// Waits for room for all that has none, and refuses what got none in time.
async fn wait(
    ctx: &Ctx,
    call: &Call,
    (pending, waiting): (&mut [PendingTopic], Vec<Waiting>),
    backing: Option<&Backing>,
    deadline: Instant,
) {
    let appends = waiting.into_iter().map(|w| async move {
        let bytes = w.batch.bytes().len();
        let log = ctx.log();
        let room = log.room_within(&call.tenant, &w.topic, w.index, bytes, deadline);
        let outcome = match room.await {
            Ok(room) => Ok(append(ctx, &w.topic, w.batch, (room, backing))),
            Err(error) => {
                if error.is_pressure() {
                    refuse_behind(call, w.topic.partition_id(w.index));
                }
                Err(Refusal::of_append(&error))
            }
        };
        (w.at, outcome)
    });
    for ((topic, partition), outcome) in join_all(appends).await {
        pending[topic].partitions[partition].append = outcome;
    }
}

fn refuse_behind(call: &Call, partition: PartitionId) {
    call.lane.refuse(partition, call.number);
}

/// The frame's memory, which the batches stay in and keep as long as they are kept; absent where they are less than
/// half of it, and copied.
fn backing(call: &Call, request: &ProduceRequest) -> Option<Backing> {
    let partitions = request.topics.iter().flat_map(|t| &t.partitions);
    let batches = partitions.filter_map(|p| p.records.as_ref().map(Bytes::len));
    let bytes: usize = batches.sum();
    (bytes >= call.memory.bytes() / 2).then(|| call.memory.clone())
}

/// Why no part of the request can be served.
fn refusal_of_all(request: &ProduceRequest) -> Option<Refusal> {
    if !matches!(request.acks, -1..=1) {
        return Some(Refusal::of_code(ErrorCode::InvalidRequiredAcks));
    }
    request.transactional_id.as_ref().map(|_| {
        let code = ErrorCode::TransactionalIdAuthorizationFailed;
        Refusal::new(code, "transactions are not served yet")
    })
}

async fn topic_of(ctx: &Ctx, call: &Call, asked: &ProduceTopic) -> Result<Arc<Topic>, Refusal> {
    let found = if call.version >= TOPIC_IDS_FROM {
        resolve::by_id(ctx, call, asked.id).await
    } else {
        resolve::data_by_name(ctx, call, asked.name.as_str()).await
    };
    found.map_err(Refusal::of_code)
}
