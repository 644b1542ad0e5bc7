//! Tests of the data path through a whole service in memory: what is produced is fetched, at every version.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_records::{BatchBuilder, Compression, split};
use tidemark_types::{ProducerEpoch, ProducerId};
use tidemark_wire::messages::*;
use tidemark_wire::{KafkaString, KafkaUuid};

use crate::alloc;
use crate::handler::CallError;
use crate::testing::{self, START_MS, call, create_topic, ctx};
use crate::{Ctx, resolve};

pub(crate) fn batch(value: &[u8]) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None);
    batch
        .push(START_MS, Some(b"k"), Some(value), &[])
        .expect("fits");
    batch.build().expect("builds").into_bytes()
}

fn sequenced(id: i64, sequence: i32) -> Bytes {
    let batch = BatchBuilder::new(Compression::None);
    let mut batch = batch.producer(ProducerId(id), ProducerEpoch(0), sequence);
    batch.push(START_MS, None, Some(b"v"), &[]).expect("fits");
    batch.build().expect("builds").into_bytes()
}

/// The batch as a transactional producer sends it: the bit, and the checksum over it.
fn with_transactional_bit(batch: &Bytes) -> Bytes {
    let mut raw = BytesMut::from(&batch[..]);
    raw[22] |= 0x10;
    // CRC-32C, bit by bit.
    let crc = raw[21..].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ if c & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    raw[17..21].copy_from_slice(&(!crc).to_be_bytes());
    raw.freeze()
}

/// A topic of one partition, as either way of naming it needs.
pub(crate) struct Named {
    pub(crate) name: KafkaString,
    id: KafkaUuid,
}

pub(crate) async fn topic(ctx: &Ctx, name: &str) -> Named {
    let made = create_topic(ctx, name, 1).await;
    Named::of(&made)
}

impl Named {
    pub(crate) fn of(topic: &tidemark_topics::Topic) -> Self {
        Self {
            name: KafkaString::from(topic.name.clone()),
            id: resolve::wire_id(topic.uuid),
        }
    }

    fn at(&self, by_id: bool) -> (KafkaString, KafkaUuid) {
        if by_id {
            (KafkaString::default(), self.id)
        } else {
            (self.name.clone(), KafkaUuid::ZERO)
        }
    }

    pub(crate) fn produce(&self, version: i16, records: Option<Bytes>) -> ProduceRequestData {
        let (name, topic_id) = self.at(version >= 13);
        ProduceRequestData {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                name,
                topic_id,
                partition_data: vec![PartitionProduceData {
                    records,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    pub(crate) fn fetch(&self, version: i16, offset: i64, session: (i32, i32)) -> FetchRequestData {
        let (topic, topic_id) = self.at(version >= 13);
        FetchRequestData {
            max_wait_ms: 100,
            min_bytes: 1,
            session_id: session.0,
            session_epoch: session.1,
            topics: vec![fetch_request::FetchTopic {
                topic,
                topic_id,
                partitions: vec![fetch_request::FetchPartition {
                    fetch_offset: offset,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        }
    }
}

pub(crate) async fn produced(
    ctx: &Arc<Ctx>,
    request: &ProduceRequestData,
    version: i16,
) -> produce_response::PartitionProduceResponse {
    let mut answer = call(ctx, request, version).await;
    answer.responses.remove(0).partition_responses.remove(0)
}

#[tokio::test(start_paused = true)]
async fn what_any_version_produces_any_version_fetches() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    for version in 3..=13 {
        let value = format!("v{version}");
        let request = t.produce(version, Some(batch(value.as_bytes())));
        let answer = produced(&ctx, &request, version).await;
        assert_eq!(answer.error_code, 0, "version {version}");
        assert_eq!(answer.base_offset, i64::from(version) - 3);
    }
    for version in 4..=18 {
        let answer = call(&ctx, &t.fetch(version, 2, (0, -1)), version).await;
        let partition = &answer.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, 11));
        let records = partition.records.clone().expect("records");
        let offsets: Vec<i64> = split(records)
            .map(|b| b.expect("a whole batch").header().base_offset.0)
            .collect();
        assert_eq!(offsets, (2..11).collect::<Vec<_>>(), "version {version}");
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_answer_with_changes_only() {
    let ctx = ctx().await;
    let (a, b) = (topic(&ctx, "a").await, topic(&ctx, "b").await);
    let mut first = a.fetch(13, 0, (0, 0));
    first.topics.extend(b.fetch(13, 0, (0, 0)).topics);
    let opened = call(&ctx, &first, 13).await;
    assert_eq!(opened.responses.len(), 2);
    let id = opened.session_id;
    let next = |epoch| FetchRequestData {
        topics: Vec::new(),
        ..a.fetch(13, 0, (id, epoch))
    };
    let quiet = call(&ctx, &next(1), 13).await;
    assert_eq!((quiet.error_code, quiet.responses.len()), (0, 0));
    produced(&ctx, &b.produce(13, Some(batch(b"x"))), 13).await;
    let news = call(&ctx, &next(2), 13).await;
    assert_eq!(news.responses.len(), 1);
    assert_eq!(news.responses[0].topic_id, b.id);
    let mut forget = next(3);
    forget.forgotten_topics_data = vec![fetch_request::ForgottenTopic {
        topic_id: b.id,
        partitions: vec![0],
        ..Default::default()
    }];
    let without = call(&ctx, &forget, 13).await;
    assert_eq!((without.error_code, without.responses.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_waits_for_data_and_is_woken_by_it() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    let mut waiting = t.fetch(12, 0, (0, -1));
    waiting.max_wait_ms = 60_000;
    let started = ctx.clock.now();
    let request = t.produce(9, Some(batch(b"x")));
    let (fetched, _) = tokio::join!(call(&ctx, &waiting, 12), produced(&ctx, &request, 9));
    let records = fetched.responses[0].partitions[0].records.clone();
    assert!(!records.expect("records").is_empty());
    assert!(ctx.clock.now() - started < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn fetches_whose_clients_go_leave_nothing_behind() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    let mut waiting = t.fetch(12, 0, (0, -1));
    waiting.max_wait_ms = 60_000;
    let mut part = waiting.topics[0].partitions.clone();
    for _ in 0..3 {
        part.extend_from_within(..);
    }
    waiting.topics[0].partitions = part;
    alloc::reset();
    for _ in 0..1_000 {
        let short = Duration::from_millis(1);
        let left = tokio::time::timeout(short, call(&ctx, &waiting, 12)).await;
        assert!(left.is_err());
    }
    let kept = alloc::live();
    assert!(kept < 32 << 10, "{kept} bytes are kept of 1,000 fetches");
}

#[tokio::test(start_paused = true)]
async fn bad_batches_are_refused_with_kafkas_codes() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    let good = batch(b"x");
    let patched = |at: usize, byte: u8| {
        let mut raw = BytesMut::from(&good[..]);
        raw[at] = byte;
        Some(raw.freeze())
    };
    let two: Bytes = [&good[..], &good[..]].concat().into();
    for (records, code) in [
        (None, 87),
        (Some(Bytes::new()), 87),
        (patched(16, 1), 87),
        (Some(two), 87),
        (patched(62, 0xff), 2),
        (patched(16, 3), 2),
        (Some(good.slice(..40)), 87),
        (Some(good.slice(..good.len() - 3)), 87),
        (Some(with_transactional_bit(&good)), 53),
        (Some(batch(&vec![7; 1_100_000])), 10),
    ] {
        let answer = produced(&ctx, &t.produce(9, records), 9).await;
        assert_eq!((answer.error_code, answer.base_offset), (code, -1));
        assert!(answer.error_message.is_some());
    }
    let listed = call(&ctx, &t.fetch(12, 0, (0, -1)), 12).await;
    assert_eq!(listed.responses[0].partitions[0].high_watermark, 0);
}

#[tokio::test(start_paused = true)]
async fn requests_that_cannot_be_served_are_refused_whole() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    let request = t.produce(9, Some(batch(b"x")));
    let acks = ProduceRequestData {
        acks: 7,
        ..request.clone()
    };
    assert_eq!(produced(&ctx, &acks, 9).await.error_code, 21);
    let transactional = ProduceRequestData {
        transactional_id: Some(KafkaString::from_static("tx")),
        ..request.clone()
    };
    assert_eq!(produced(&ctx, &transactional, 9).await.error_code, 53);
    let mut elsewhere = request.clone();
    elsewhere.topic_data[0].name = KafkaString::from_static("none");
    assert_eq!(produced(&ctx, &elsewhere, 9).await.error_code, 3);
    let mut beyond = request;
    beyond.topic_data[0].partition_data[0].index = 9;
    assert_eq!(produced(&ctx, &beyond, 9).await.error_code, 3);
    let mut unknown = t.produce(13, Some(batch(b"x")));
    unknown.topic_data[0].topic_id = KafkaUuid::from_parts(9, 9);
    assert_eq!(produced(&ctx, &unknown, 13).await.error_code, 100);
}

#[tokio::test(start_paused = true)]
async fn acks_0_is_silent_and_ends_the_connection_on_an_error() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    let mut request = t.produce(9, Some(batch(b"x")));
    request.acks = 0;
    let silent = testing::send(&ctx, testing::frame(&request, 9)).await;
    assert!(silent.expect("served").is_none());
    let arrived = call(&ctx, &t.fetch(12, 0, (0, -1)), 12).await;
    assert_eq!(arrived.responses[0].partitions[0].high_watermark, 1);
    request.topic_data[0].name = KafkaString::from_static("none");
    let failed = testing::send(&ctx, testing::frame(&request, 9)).await;
    assert!(matches!(failed, Err(CallError::Unanswered(_))));
}

#[tokio::test(start_paused = true)]
async fn old_versions_of_produce_are_answered_with_an_error() {
    let ctx = ctx().await;
    for version in 0..3 {
        let mut frame = BytesMut::new();
        let body = [
            0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        frame.put_i32(10 + i32::try_from(body.len()).unwrap());
        frame.put_i16(0);
        frame.put_i16(version);
        frame.put_i32(testing::CORRELATION_ID);
        frame.put_i16(-1);
        frame.put_slice(&body);
        let raw = testing::send(&ctx, frame.freeze()).await;
        let raw = raw.expect("served").expect("answered");
        // Length, correlation id, one topic "t", one partition 0: then the error.
        assert_eq!(raw[23..25], 35_i16.to_be_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn idempotent_producers_get_ids_and_their_retries_the_first_offset() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    let mut ids = Vec::new();
    for version in 0..=5 {
        let answer = call(&ctx, &InitProducerIdRequestData::default(), version).await;
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert!(!ids.contains(&answer.producer_id));
        ids.push(answer.producer_id);
    }
    let id = ids[0];
    for (sequence, offset) in [(0, 0), (1, 1), (0, 0), (1, 1), (2, 2)] {
        let request = t.produce(9, Some(sequenced(id, sequence)));
        let answer = produced(&ctx, &request, 9).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, offset));
    }
    let gap = t.produce(9, Some(sequenced(id, 9)));
    assert_eq!(produced(&ctx, &gap, 9).await.error_code, 45);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_listed_at_every_version() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    for _ in 0..3 {
        produced(&ctx, &t.produce(9, Some(batch(b"x"))), 9).await;
    }
    let request = |timestamp| ListOffsetsRequestData {
        replica_id: -1,
        topics: vec![list_offsets_request::ListOffsetsTopic {
            name: t.name.clone(),
            partitions: vec![list_offsets_request::ListOffsetsPartition {
                timestamp,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    for version in 1..=11 {
        for (timestamp, offset) in [(-1, 3), (-2, 0), (START_MS, 0), (START_MS + 1, -1)] {
            let answer = call(&ctx, &request(timestamp), version).await;
            let found = &answer.topics[0].partitions[0];
            assert_eq!(
                (found.error_code, found.offset),
                (0, offset),
                "version {version}, timestamp {timestamp}"
            );
        }
    }
    let pending = call(&ctx, &request(-6), 11).await;
    assert_eq!(pending.topics[0].partitions[0].error_code, 35);
}

#[tokio::test(start_paused = true)]
async fn leader_epochs_end_where_the_log_does() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    produced(&ctx, &t.produce(9, Some(batch(b"x"))), 9).await;
    let named = MetadataRequestData {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(t.name.clone()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let metadata = call(&ctx, &named, 9).await;
    let epoch = metadata.topics[0].partitions[0].leader_epoch;
    for version in 2..=4 {
        let request = |leader_epoch, partition| OffsetForLeaderEpochRequestData {
            topics: vec![offset_for_leader_epoch_request::OffsetForLeaderTopic {
                topic: t.name.clone(),
                partitions: vec![offset_for_leader_epoch_request::OffsetForLeaderPartition {
                    partition,
                    current_leader_epoch: epoch,
                    leader_epoch,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = call(&ctx, &request(epoch, 0), version).await;
        let end = &answer.topics[0].partitions[0];
        assert_eq!((end.error_code, end.leader_epoch), (0, epoch));
        assert_eq!(end.end_offset, 1);
        let nobodys = call(&ctx, &request(-1, 0), version).await;
        let end = &nobodys.topics[0].partitions[0];
        assert_eq!(
            (end.error_code, end.leader_epoch, end.end_offset),
            (0, -1, -1)
        );
        let unknown = call(&ctx, &request(epoch, 7), version).await;
        assert_eq!(unknown.topics[0].partitions[0].error_code, 3);
    }
}
