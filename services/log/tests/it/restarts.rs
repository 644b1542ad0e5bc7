//! A restart is a takeover: what was acked stays, what was retried is recognised, zombies harm nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use tidemark_log::{AppendOptions, IdempotencyKey, ShardState};
use tidemark_topics::TopicRef;
use tidemark_types::{Coded, ErrorCode, Offset, PartitionIndex};

use crate::world::{P0, Process, TENANT, World, idempotent};

#[tokio::test(start_paused = true)]
async fn everything_acked_survives_restarts_and_dedup_goes_on() {
    for copies in [1, 3] {
        let world = World::replicated(60, copies);
        for round in 0..5i32 {
            let p = world.start().await;
            let topic = if round == 0 {
                p.topic("t", 1).await
            } else {
                p.find("t").await
            };
            if round > 0 {
                let last = p
                    .send(&topic, idempotent(5, 0, (round - 1) * 3, 3))
                    .await
                    .unwrap();
                assert!(
                    last.duplicate,
                    "the last batch before the restart is remembered"
                );
                assert_eq!(last.base_offset, Offset(i64::from(round - 1) * 3));
            }
            let ack = p
                .send(&topic, idempotent(5, 0, round * 3, 3))
                .await
                .unwrap();
            assert_eq!(ack.base_offset, Offset(i64::from(round) * 3));
            let read = p.read_all(&topic, P0, 0).await;
            let expected: Vec<_> = (0..i64::from(round + 1) * 3)
                .map(|i| (i, format!("5/0/{i}")))
                .collect();
            assert_eq!(read, expected);
            if round % 2 == 0 {
                p.stop().await;
            }
        }
    }
}

/// K4: a batch that was sequenced, reached the disk and was never acked is found by its retry.
#[tokio::test(start_paused = true)]
async fn a_retry_of_what_was_never_acked_gets_the_original_offset() {
    let world = World::replicated(61, 3);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    p.send(&topic, idempotent(5, 0, 0, 2)).await.unwrap();
    // Two of three replicas hold back: the third has it, nobody acks.
    world.replicas[0].pause_appends();
    world.replicas[1].pause_appends();
    let mut lost = p.send(&topic, idempotent(5, 0, 2, 2));
    let key = IdempotencyKey {
        key: "once".into(),
        fingerprint: 3,
    };
    let options = AppendOptions {
        expected_offset: Some(Offset(4)),
        idempotency: Some(key),
        ..AppendOptions::default()
    };
    let batch = p.batch(&["keyed"]);
    let mut keyed = p
        .log
        .append(&TENANT, &topic, P0, batch.clone(), options.clone());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!((&mut lost).now_or_never().is_none());
    for replica in &world.replicas[..2] {
        replica.crash();
        replica.resume_appends();
    }
    // The fence quorum must be the one that includes the third.
    world.replicas[0].set_reachable(false);
    let next = world.start().await;
    // K5: indeterminate for those who waited.
    assert_eq!(lost.await.unwrap_err().code(), ErrorCode::OutcomeUnknown);
    assert_eq!(
        (&mut keyed).await.unwrap_err().code(),
        ErrorCode::OutcomeUnknown
    );
    let again = next.send(&topic, idempotent(5, 0, 2, 2)).await.unwrap();
    assert_eq!((again.base_offset, again.duplicate), (Offset(2), true));
    let again = next
        .log
        .append(&TENANT, &topic, P0, batch, options)
        .await
        .unwrap();
    assert_eq!((again.base_offset, again.duplicate), (Offset(4), true));
    assert_eq!(next.read_all(&topic, P0, 0).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_owner_acks_nothing_and_says_so() {
    let world = World::new(62);
    let zombie = world.start().await;
    let topic = zombie.topic("t", 1).await;
    zombie.append(&topic, &["a"]).await.unwrap();
    let next = world.start().await;
    let err = zombie.append(&topic, &["zombie"]).await.unwrap_err();
    let code = err.code();
    assert!(
        code == ErrorCode::OutcomeUnknown || code == ErrorCode::NotLeader,
        "{err}"
    );
    let acked = next.append(&topic, &["b"]).await.unwrap();
    let read = next.read_all(&topic, P0, 0).await;
    assert_eq!(
        read.len(),
        usize::try_from(acked.base_offset.0).unwrap() + 1
    );
    assert!(!read.iter().any(|(_, v)| v == "zombie"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(
        zombie
            .log
            .status()
            .shards
            .iter()
            .all(|s| !matches!(s.state, ShardState::Serving { .. }))
    );
    next.append(&topic, &["c"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_what_was_sent() {
    let world = World::new(63);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    world.replicas[0].pause_appends();
    let sent: Vec<_> = (0..30)
        .map(|i| p.send(&topic, idempotent(1, 0, i, 1)))
        .collect();
    let stopped = p.tasks.shutdown(Duration::from_secs(60));
    let (stopped, ()) = tokio::join!(stopped, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.replicas[0].resume_appends();
    });
    stopped.unwrap();
    for sent in sent {
        sent.await.unwrap();
    }
    let next = world.start().await;
    assert_eq!(next.read_all(&topic, P0, 0).await.len(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_journal_keeps_its_shard_closed_and_the_other_serves() {
    let world = World::new(64);
    let p = world.start().await;
    let topic = p.topic("t", 4).await;
    for index in 0..4 {
        let batch = p.batch(&["v"]);
        let options = AppendOptions::default();
        let sent = p
            .log
            .append(&TENANT, &topic, PartitionIndex(index), batch, options);
        sent.await.unwrap();
    }
    let shard = topic.partition(P0).unwrap().shard;
    p.stop().await;
    let extent = tidemark_journal::ExtentId {
        shard,
        index: tidemark_types::ExtentIdx(0),
    };
    let last = world.replicas[0].frames(extent).last().unwrap().lsn;
    world.replicas[0].damage(extent, last);
    let p = world.start_unready().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    for status in p.log.status().shards {
        match status.state {
            ShardState::Closed { why } => {
                assert_eq!(status.shard, shard);
                let named = format!("{extent}");
                assert!(
                    why.contains(&named) && why.contains(&last.to_string()),
                    "{why}"
                );
            }
            state => {
                assert_ne!(status.shard, shard);
                assert!(matches!(state, ShardState::Serving { .. }), "{state:?}");
            }
        }
    }
    let err = p.append(&topic, &["late"]).await.unwrap_err();
    assert_eq!(err.code(), ErrorCode::StorageError);
    // The operator goes on without the damaged range; what lies before it is there.
    p.leases.unclean_seal(shard).await.unwrap();
    p.log.reopen(shard);
    p.log.serving().await;
    let before = p.read_all(&topic, P0, 0).await.len();
    let ack = p.append(&topic, &["after"]).await.unwrap();
    assert_eq!(ack.base_offset.0, i64::try_from(before).unwrap());
}

/// A model of what clients may see, against random appends, retries and restarts.
#[tokio::test(start_paused = true)]
async fn random_work_with_restarts_loses_and_doubles_nothing() {
    for seed in 0..8 {
        let mut world = World::replicated(seed, if seed % 2 == 0 { 1 } else { 3 });
        world.config.roll_bytes = 3_000;
        world.config.tail_cache_bytes = 4_000;
        let mut p = world.start().await;
        let topic = p.topic("t", 3).await;
        // (producer, sequence) → offset, per partition; and each producer's next sequence.
        let mut acked: BTreeMap<(i32, i64, i32), i64> = BTreeMap::new();
        let mut next: BTreeMap<(i32, i64), i32> = BTreeMap::new();
        for step in 0..150 {
            let index = i32::try_from(world.entropy.below(3)).unwrap();
            let producer = i64::try_from(world.entropy.below(3)).unwrap();
            let sequence = *next.get(&(index, producer)).unwrap_or(&0);
            let send = |p: &crate::world::Process| {
                let batch = idempotent(producer, 0, sequence, 2);
                let options = AppendOptions::default();
                p.log
                    .append(&TENANT, &topic, PartitionIndex(index), batch, options)
            };
            let answer = if step % 25 == 24 {
                // The owner is replaced while this is in flight.
                let sent = send(&p);
                p = world.start().await;
                sent.await
            } else {
                send(&p).await
            };
            let ack = match answer {
                Ok(ack) => ack,
                Err(error) => {
                    assert!(error.code().is_retriable(), "{error}");
                    send(&p).await.unwrap()
                }
            };
            next.insert((index, producer), sequence + 2);
            acked.insert((index, producer, sequence), ack.base_offset.0);
        }
        for index in 0..3 {
            let read = p.read_all(&topic, PartitionIndex(index), 0).await;
            let ours = acked.iter().filter(|((i, ..), _)| *i == index);
            let mut expected: Vec<(i64, String)> = ours
                .flat_map(|((_, producer, sequence), offset)| {
                    [
                        (*offset, format!("{producer}/0/{sequence}")),
                        (*offset + 1, format!("{producer}/0/{}", sequence + 1)),
                    ]
                })
                .collect();
            expected.sort();
            assert_eq!(read, expected, "seed {seed}, partition {index}");
        }
    }
}

/// A frame that waits while thousands of topics are deleted is still one that a restart can replay.
#[tokio::test(start_paused = true)]
async fn deletions_during_a_wait_for_the_log_node_leave_a_shard_that_can_be_taken() {
    const TOPICS: usize = 8_300;
    let mut world = World::new(69);
    world.config.shards = 1;
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let mut doomed = Vec::new();
    for i in 0..TOPICS {
        let topic = p.topic(&format!("doomed{i}"), 1).await;
        p.append(&topic, &["v"]).await.unwrap();
        doomed.push(topic);
    }
    world.replicas[0].set_reachable(false);
    let waits = p.append(&topic, &["waits"]);
    let delete = async {
        for topic in doomed {
            let uuid = TopicRef::Uuid(topic.uuid);
            p.topics.delete(&TENANT, uuid).await.unwrap();
        }
        world.replicas[0].set_reachable(true);
    };
    let (waited, ()) = tokio::join!(waits, delete);
    assert_eq!(waited.unwrap().base_offset, Offset(0));
    p.append(&topic, &["goes on"]).await.unwrap();
    p.stop().await;
    let started = tokio::time::timeout(Duration::from_secs(60), world.start());
    let p = started.await.expect("the shard is served");
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 2);
}

/// K3: offsets that DeleteRecords passed are never given to anything else, even when an unclean seal lost them.
#[tokio::test(start_paused = true)]
async fn a_partition_whose_end_was_lost_below_its_beginning_goes_on_where_it_begins() {
    let world = World::new(65);
    let p = world.start().await;
    let topic = p.topic("t", 8).await;
    let shard = topic.partition(P0).unwrap().shard;
    let is_there = |i: &i32| topic.partition(PartitionIndex(*i)).unwrap().shard == shard;
    let other = PartitionIndex((1..8).find(is_there).unwrap());
    let send = async |p: &Process, index| {
        let options = AppendOptions::default();
        let sent = p
            .log
            .append(&TENANT, &topic, index, p.batch(&["v"]), options);
        sent.await.unwrap().base_offset.0
    };
    for _ in 0..4 {
        send(&p, P0).await;
    }
    let extent = tidemark_journal::ExtentId {
        shard,
        index: tidemark_types::ExtentIdx(0),
    };
    let kept = world.replicas[0].frames(extent).last().unwrap().lsn.next();
    for _ in 0..6 {
        send(&p, P0).await;
        send(&p, other).await;
    }
    for (index, before) in [(P0, 8), (other, 5)] {
        let deleted = p
            .log
            .delete_records(&TENANT, &topic, index, Some(Offset(before)));
        assert_eq!(deleted.await.unwrap(), Offset(before));
    }
    p.stop().await;
    world.replicas[0].damage(extent, kept);
    let mut p = world.start_unready().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    p.leases.unclean_seal(shard).await.unwrap();
    p.log.reopen(shard);
    p.log.serving().await;
    for (index, begin) in [(P0, 8), (other, 5)] {
        let offsets = p.log.offsets(&TENANT, &topic, index).unwrap();
        assert_eq!(offsets.log_start, Offset(begin));
        assert_eq!(offsets.high_watermark, Offset(begin));
        let lost = p.fetch(&topic, index, begin - 1, 1_000).await;
        assert_eq!(lost.error, Some(ErrorCode::OffsetOutOfRange));
        assert_eq!(send(&p, index).await, begin);
    }
    for _ in 0..2 {
        // The next owner knows it from the checkpoint.
        p.stop().await;
        p = world.start().await;
        for (index, begin) in [(P0, 8), (other, 5)] {
            let read = p.read_all(&topic, index, begin).await;
            assert_eq!(read.len(), 1, "{read:?}");
        }
    }
}
