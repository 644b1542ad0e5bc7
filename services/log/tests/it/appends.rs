//! Sequencing, deduplication, conditions, refusals.

use std::time::Duration;

use futures_util::FutureExt;
use tidemark_log::{AppendError, AppendOptions, IdempotencyKey};
use tidemark_records::{BatchBuilder, Compression};
use tidemark_topics::TopicRef;
use tidemark_types::{Coded, ErrorCode, Offset, PartitionIndex, ProducerId};

use crate::world::{BASE_MS, P0, TENANT, World, fetch_of, idempotent};

#[tokio::test(start_paused = true)]
async fn appends_get_dense_offsets_in_call_order_and_are_read_as_sent() {
    let world = World::new(1);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let sent: Vec<_> = (0..100)
        .map(|i| p.send(&topic, p.batch(&[&format!("v{i}"), "second"])))
        .collect();
    for (i, ack) in sent.into_iter().enumerate() {
        assert_eq!(ack.await.unwrap().base_offset, Offset(2 * i as i64));
    }
    let read = p.read_all(&topic, P0, 0).await;
    assert_eq!(read.len(), 200);
    for (i, (offset, value)) in read.iter().enumerate() {
        assert_eq!(*offset, i as i64);
        let expected = if i % 2 == 0 {
            format!("v{}", i / 2)
        } else {
            "second".to_owned()
        };
        assert_eq!(*value, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_in_flight_is_answered_with_the_original_and_not_before_it() {
    let world = World::new(2);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    world.replicas[0].pause_appends();
    let mut first = p.send(&topic, idempotent(7, 0, 0, 3));
    let mut again = p.send(&topic, idempotent(7, 0, 0, 3));
    let mut gap = p.send(&topic, idempotent(7, 0, 9, 3));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut again).now_or_never().is_none());
    assert!(
        (&mut gap).now_or_never().is_none(),
        "a refusal waits for what it depends on"
    );
    assert_eq!(
        p.log.offsets(&TENANT, &topic, P0).unwrap().high_watermark,
        Offset(0)
    );
    world.replicas[0].resume_appends();
    let first = first.await.unwrap();
    let again = again.await.unwrap();
    assert_eq!((first.base_offset, first.duplicate), (Offset(0), false));
    assert_eq!((again.base_offset, again.duplicate), (Offset(0), true));
    assert_eq!(gap.await.unwrap_err().code(), ErrorCode::OutOfOrderSequence);
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_conditional_append_is_refused_at_another_offset_and_its_retry_recognised() {
    let world = World::new(3);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let send = |expected, key: &'static str| {
        let options = AppendOptions {
            expected_offset: Some(Offset(expected)),
            idempotency: Some(IdempotencyKey {
                key: key.into(),
                fingerprint: 1,
            }),
            ..AppendOptions::default()
        };
        p.log.append(&TENANT, &topic, P0, p.batch(&["v"]), options)
    };
    assert_eq!(send(0, "a").await.unwrap().base_offset, Offset(0));
    let refused = AppendError::ExpectedOffset {
        expected: Offset(0),
        next: Offset(1),
    };
    assert_eq!(send(0, "b").await.unwrap_err(), refused);
    let retried = send(0, "a").await.unwrap();
    assert_eq!((retried.base_offset, retried.duplicate), (Offset(0), true));
    assert_eq!(send(1, "b").await.unwrap().base_offset, Offset(1));
}

#[tokio::test(start_paused = true)]
async fn what_breaks_the_topics_rules_is_refused_with_its_code() {
    let world = World::new(4);
    let p = world.start().await;
    let topic = p
        .topic_with("small", 1, &[("max.message.bytes", "200")])
        .await;
    let large = p.batch(&["x".repeat(300).as_str()]);
    let err = p.send(&topic, large).await.unwrap_err();
    assert_eq!(err.code(), ErrorCode::MessageTooLarge);

    let compacted = p
        .topic_with("compacted", 1, &[("cleanup.policy", "compact")])
        .await;
    let err = p.append(&compacted, &["no key"]).await.unwrap_err();
    assert_eq!(err.code(), ErrorCode::InvalidRecord);
    let named = AppendError::RecordsWithoutKey {
        at: vec![0],
        total: 1,
    };
    assert_eq!(err, named);
    let mut keyed = BatchBuilder::new(Compression::None);
    keyed.push(BASE_MS, Some(b"k"), Some(b"v"), &[]).unwrap();
    p.send(&compacted, keyed.build().unwrap()).await.unwrap();

    let late = p.topic("late", 1).await;
    let mut future = BatchBuilder::new(Compression::None);
    future
        .push(BASE_MS + 7_200_000, None, Some(b"v"), &[])
        .unwrap();
    let err = p.send(&late, future.build().unwrap()).await.unwrap_err();
    assert_eq!(err.code(), ErrorCode::InvalidTimestamp);

    for batch in [
        BatchBuilder::new(Compression::None)
            .producer(ProducerId(1), tidemark_types::ProducerEpoch(0), 0)
            .transactional(),
        BatchBuilder::new(Compression::None).control(),
    ] {
        let mut batch = batch;
        batch.push(BASE_MS, Some(b"k"), Some(b"v"), &[]).unwrap();
        let err = p.send(&late, batch.build().unwrap()).await.unwrap_err();
        let code = err.code();
        assert!(
            code == ErrorCode::InvalidTxnState || code == ErrorCode::InvalidRecord,
            "{err}"
        );
    }
    let nowhere = PartitionIndex(9);
    let options = AppendOptions::default();
    let sent = p
        .log
        .append(&TENANT, &late, nowhere, p.batch(&["v"]), options);
    assert_eq!(
        sent.await.unwrap_err().code(),
        ErrorCode::UnknownTopicOrPartition
    );
    assert!(p.read_all(&late, P0, 0).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn log_append_time_is_the_logs_and_comes_back_for_a_duplicate() {
    let world = World::new(5);
    let p = world.start().await;
    let config = [("message.timestamp.type", "LogAppendTime")];
    let topic = p.topic_with("t", 1, &config).await;
    world.clock.sleep(Duration::from_secs(3)).await;
    let now = world.clock.wall_ms();
    let ack = p.send(&topic, idempotent(7, 0, 0, 1)).await.unwrap();
    assert_eq!(ack.log_append_time_ms, Some(now));
    world.clock.sleep(Duration::from_secs(3)).await;
    let again = p.send(&topic, idempotent(7, 0, 0, 1)).await.unwrap();
    assert_eq!(again.log_append_time_ms, Some(now));
    let fetched = p.fetch(&topic, P0, 0, 1 << 20).await;
    let batch = crate::world::batches(&fetched).remove(0);
    assert_eq!(batch.header().max_timestamp, now);
}

#[tokio::test(start_paused = true)]
async fn a_shard_over_its_bounds_refuses_and_recovers() {
    let mut world = World::new(6);
    world.config.inflight_bytes_max = 10_000;
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    world.replicas[0].pause_appends();
    let value = "x".repeat(1_000);
    let sent: Vec<_> = (0..20)
        .map(|_| p.send(&topic, p.batch(&[&value])))
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(
        p.log
            .status()
            .shards
            .iter()
            .all(|s| s.inflight_bytes <= 10_000)
    );
    world.replicas[0].resume_appends();
    let mut acked = 0;
    for sent in sent {
        match sent.await {
            Ok(_) => acked += 1,
            Err(error) => assert_eq!(error.code(), ErrorCode::Overloaded),
        }
    }
    assert_eq!(acked, 9);
    assert_eq!(
        p.log
            .status()
            .shards
            .iter()
            .map(|s| s.inflight_bytes)
            .sum::<usize>(),
        0
    );
    p.append(&topic, &[&value]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_is_forgotten_and_one_made_again_starts_at_zero() {
    let world = World::new(7);
    let p = world.start().await;
    let old = p.topic("t", 1).await;
    p.append(&old, &["a", "b"]).await.unwrap();
    p.topics.delete(&TENANT, TopicRef::Name("t")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let err = p.append(&old, &["late"]).await.unwrap_err();
    assert_eq!(err.code(), ErrorCode::UnknownTopicOrPartition);
    let new = p.topic("t", 1).await;
    assert_eq!(p.append(&new, &["c"]).await.unwrap().base_offset, Offset(0));
    assert_eq!(p.read_all(&new, P0, 0).await, [(0, "c".to_owned())]);
    p.stop().await;
    let p = world.start().await;
    let partitions: usize = p.log.status().shards.iter().map(|s| s.partitions).sum();
    assert_eq!(partitions, 1);
}

#[tokio::test(start_paused = true)]
async fn producer_ids_are_never_given_twice() {
    let world = World::new(8);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let p = world.start().await;
        for _ in 0..1_100 {
            assert!(seen.insert(p.log.init_producer_id().await.unwrap().0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_producers_in_many_partitions_share_frames_and_keep_their_order() {
    let world = World::new(9);
    let p = world.start().await;
    let topic = p.topic("t", 8).await;
    let mut sent = Vec::new();
    for round in 0..50 {
        for index in 0..8 {
            let batch = idempotent(i64::from(index), 0, round * 2, 2);
            let index = PartitionIndex(index);
            let options = AppendOptions::default();
            sent.push(p.log.append(&TENANT, &topic, index, batch, options));
        }
    }
    for sent in sent {
        sent.await.unwrap();
    }
    let wanted: Vec<_> = (0..8).map(|i| (PartitionIndex(i), 0)).collect();
    let fetched = p.log.fetch(&TENANT, fetch_of(&topic, &wanted)).await;
    for (index, fetched) in fetched.iter().enumerate() {
        let values = crate::world::values(fetched);
        let expected: Vec<_> = (0..100).map(|s| (s, format!("{index}/0/{s}"))).collect();
        assert_eq!(values, expected);
    }
}
