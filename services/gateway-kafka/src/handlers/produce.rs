//! Produce: batches into the log, in the order of the requests of a connection.
//!
//! The first stage ([`enqueue`]) resolves topics, checks batches (CRC included, once) and enqueues every partition's append; the
//! second waits for the commits while the connection goes on to its next request. `acks=1` and `acks=all` mean
//! the same: durable. `acks=0` is not answered; as in Kafka, an error then ends the connection, which is the
//! only way to tell the producer.

mod enqueue;
mod refusal;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tidemark_log::{AppendAck, AppendFuture};
use tidemark_records::{Batch, BatchError, Compression};
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode, PartitionIndex};
use tidemark_wire::messages::ProduceResponseData;
use tidemark_wire::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use tidemark_wire::produce::{ProduceRequest, VERSION_MIN, refuse_old};
use tidemark_wire::{ApiKey, KafkaString, encode_response};
use tokio::time::Instant;

use self::enqueue::enqueue;
use self::refusal::Refusal;
use crate::Ctx;
use crate::handler::{Answer, Call, CallError, Entry, Run, Staging, Waits};
use crate::memory::PRODUCE_PARTITION_BYTES;
use crate::resolve;

/// Versions below 3 are advertised because librdkafka decides by that what it may compress (KAFKA-18659), and
/// refused per partition when used.
pub(super) const ENTRY: Entry = Entry {
    key: ApiKey::Produce,
    name: "Produce",
    min: 0,
    max: 13,
    notes: "Versions 0 to 2 are advertised (KAFKA-18659) and answered UNSUPPORTED_VERSION. acks=1 and acks=all are \
            both durable. The records of an uncompressed batch are counted against its header, those of a compressed one \
            only where the topic is compacted. Transactional ids are refused until transactions are served.",
    waits: Waits::No,
    run: Run::Staged(admit),
};

/// Longest wait for a commit, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The part of it, one in this many, that a batch may wait for room: its answer should come before its client gives up.
const ROOM_WAIT: u32 = 2;
/// First version that may carry zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// First version that names the leader beside an error (KIP-951).
const LEADER_FROM: i16 = 10;
/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

struct Pending {
    index: i32,
    topic: Option<Arc<Topic>>,
    append: Result<AppendFuture, Refusal>,
}

struct PendingTopic {
    name: KafkaString,
    id: tidemark_wire::KafkaUuid,
    partitions: Vec<Pending>,
}

fn admit(ctx: Arc<Ctx>, call: Call, body: Bytes) -> Staging {
    Box::pin(async move {
        let request = ProduceRequest::decode(body, call.version)?;
        if call.version < VERSION_MIN {
            let error = ErrorCode::UnsupportedVersion.kafka();
            let answer = refuse_old(&request, call.version, call.correlation_id, error)?;
            return Ok(std::future::ready(Ok(Some(answer))).boxed());
        }
        let partitions: usize = request.topics.iter().map(|t| 1 + t.partitions.len()).sum();
        let held = ctx.decoded.take(partitions * PRODUCE_PARTITION_BYTES).await;
        let acks = request.acks;
        let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let (now, wait) = (ctx.clock.now(), asked.min(WAIT_MAX));
        let pending = enqueue(&ctx, &call, request, now + wait / ROOM_WAIT).await;
        if acks == 0 {
            return Ok(std::future::ready(unanswered(pending)).boxed());
        }
        Ok(async move {
            let _held = held;
            finish(ctx, call, pending, now + wait).await
        }
        .boxed())
    })
}

/// One batch of format v2, as Kafka demands of every partition since version 3.
fn checked(records: Option<Bytes>, version: i16) -> Result<Batch, Refusal> {
    let invalid = |why| Refusal::new(ErrorCode::InvalidRecord, why);
    let records = records
        .filter(|r| !r.is_empty())
        .ok_or_else(|| invalid("the partition carries no record batch"))?;
    let batch = Batch::parse(records).map_err(|e| Refusal::new(code_of(&e), e.to_string()))?;
    if batch.header().attributes.is_transactional() {
        // The request named no transactional id, or it would have been refused as a whole.
        let why = "a transactional batch needs a transactional id";
        return Err(Refusal::new(
            ErrorCode::TransactionalIdAuthorizationFailed,
            why,
        ));
    }
    batch
        .check_produced()
        .map_err(|e| Refusal::new(e.code(), e.to_string()))?;
    if batch.compression() == Compression::Zstd && version < ZSTD_FROM {
        let why = "zstd needs Produce version 7 or later";
        return Err(Refusal::new(ErrorCode::UnsupportedCompression, why));
    }
    Ok(batch)
}

/// Kafka's codes for a partition that does not carry exactly one batch: old formats, several batches and cut ones
/// are invalid records, formats that never were and bytes that do not sum up are corrupt.
fn code_of(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Magic { magic: 0 | 1 }
        | BatchError::Trailing { .. }
        | BatchError::Truncated { .. } => ErrorCode::InvalidRecord,
        BatchError::Magic { .. } => ErrorCode::CorruptBatch,
        other => other.code(),
    }
}

/// What becomes of `acks=0`: silence, or the end of the connection when an append was refused outright.
fn unanswered(pending: Vec<PendingTopic>) -> Answer {
    for p in pending.into_iter().flat_map(|t| t.partitions) {
        let refused = match p.append {
            Err(refusal) => Some(refusal.code),
            Ok(append) => match append.now_or_never() {
                Some(Err(e)) => Some(e.code()),
                Some(Ok(_)) | None => None,
            },
        };
        if let Some(code) = refused {
            return Err(CallError::Unanswered(code));
        }
    }
    Ok(None)
}

/// Waits for every append and answers.
async fn finish(
    ctx: Arc<Ctx>,
    call: Call,
    pending: Vec<PendingTopic>,
    deadline: Instant,
) -> Answer {
    let mut responses = Vec::with_capacity(pending.len());
    for topic in pending {
        let mut partition_responses = Vec::with_capacity(topic.partitions.len());
        for p in topic.partitions {
            let outcome = match p.append {
                Err(refusal) => Err(refusal),
                Ok(append) => match tokio::time::timeout_at(deadline, append).await {
                    Ok(outcome) => outcome.map_err(|e| Refusal::of_append(&e)),
                    // The append goes on (J7); an idempotent producer's retry finds it.
                    Err(_) => Err(Refusal::new(
                        ErrorCode::RequestTimedOut,
                        "the commit did not come within the request's timeout",
                    )),
                },
            };
            partition_responses.push(answered(&ctx, &call, p.index, p.topic.as_deref(), outcome));
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.id,
            partition_responses,
            ..Default::default()
        });
    }
    let answer = ProduceResponseData {
        node_endpoints: endpoints(&ctx, &responses),
        responses,
        ..Default::default()
    };
    Ok(Some(encode_response(
        &answer,
        call.version,
        call.correlation_id,
    )?))
}

fn answered(
    ctx: &Ctx,
    call: &Call,
    index: i32,
    topic: Option<&Topic>,
    outcome: Result<AppendAck, Refusal>,
) -> PartitionProduceResponse {
    match outcome {
        Ok(ack) => PartitionProduceResponse {
            index,
            base_offset: ack.base_offset.0,
            log_append_time_ms: ack.log_append_time_ms.unwrap_or(-1),
            log_start_offset: ack.log_start.0,
            ..Default::default()
        },
        Err(refusal) => {
            let error = refusal.code;
            let leader = topic
                .filter(|_| call.version >= LEADER_FROM)
                .and_then(|t| resolve::leader_hint(ctx, t, PartitionIndex(index), error));
            let mut answer = PartitionProduceResponse {
                index,
                error_code: error.kafka(),
                base_offset: -1,
                log_append_time_ms: -1,
                log_start_offset: -1,
                record_errors: refusal.record_errors(call.version),
                error_message: Some(refusal.message.into()),
                ..Default::default()
            };
            if let Some((leader_id, leader_epoch)) = leader {
                answer.current_leader = LeaderIdAndEpoch {
                    leader_id,
                    leader_epoch,
                    ..Default::default()
                };
            }
            answer
        }
    }
}

/// Where the leaders named in the answer are.
fn endpoints(ctx: &Ctx, responses: &[TopicProduceResponse]) -> Vec<NodeEndpoint> {
    let mut partitions = responses.iter().flat_map(|t| &t.partition_responses);
    if partitions.all(|p| p.current_leader.leader_id < 0) {
        return Vec::new();
    }
    vec![NodeEndpoint {
        node_id: ctx.cluster.node_id,
        host: ctx.cluster.host.clone().into(),
        port: i32::from(ctx.cluster.port),
        ..Default::default()
    }]
}
