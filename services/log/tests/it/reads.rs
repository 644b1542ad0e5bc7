//! Fetch: byte rules, long poll, the tail cache and the journal behind it.

use std::time::Duration;

use bytes::Bytes;
use tidemark_journal::{FrameBody, FrameKind};
use tidemark_log::{AppendOptions, Isolation, OffsetSpec};
use tidemark_meta::keys::partition::PartitionKey;
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_runtime::Tasks;
use tidemark_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

use crate::world::{P0, TENANT, World, batches, fetch_of, values};

#[tokio::test(start_paused = true)]
async fn a_long_poll_wakes_on_data_and_gives_up_at_its_deadline() {
    let world = World::new(20);
    let p = world.start().await;
    let topic = p.topic("t", 2).await;
    let mut request = fetch_of(&topic, &[(P0, 0), (PartitionIndex(1), 0)]);
    request.max_wait = Duration::from_secs(30);
    let started = world.clock.now();
    let empty = p.log.fetch(&TENANT, request.clone()).await;
    assert_eq!(world.clock.now() - started, Duration::from_secs(30));
    assert!(
        empty
            .iter()
            .all(|f| f.error.is_none() && f.batches.is_empty())
    );

    let started = world.clock.now();
    let (fetched, ()) = tokio::join!(p.log.fetch(&TENANT, request), async {
        world.clock.sleep(Duration::from_secs(2)).await;
        p.append(&topic, &["here"]).await.unwrap();
    });
    assert_eq!(world.clock.now() - started, Duration::from_secs(2));
    assert_eq!(values(&fetched[0]), [(0, "here".to_owned())]);
    assert_eq!(fetched[0].high_watermark.0, 1);
}

#[tokio::test(start_paused = true)]
async fn min_bytes_gathers_and_the_deadline_answers_with_what_there_is() {
    let world = World::new(21);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let mut request = fetch_of(&topic, &[(P0, 0)]);
    request.max_wait = Duration::from_secs(30);
    request.min_bytes = 500;
    let append = async {
        for _ in 0..3 {
            world.clock.sleep(Duration::from_secs(1)).await;
            p.append(&topic, &["x".repeat(200).as_str()]).await.unwrap();
        }
    };
    let started = world.clock.now();
    let (fetched, ()) = tokio::join!(p.log.fetch(&TENANT, request.clone()), append);
    assert_eq!(world.clock.now() - started, Duration::from_secs(3));
    let gathered = values(&fetched[0]).len();
    assert!(gathered == 2 || gathered == 3, "{gathered}");
    request.partitions[0].offset.0 = 2;
    let fetched = p.log.fetch(&TENANT, request).await;
    assert_eq!(values(&fetched[0]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_batch_is_returned_whatever_its_size_and_no_other() {
    let world = World::new(22);
    let p = world.start().await;
    let topic = p.topic("t", 2).await;
    let other = PartitionIndex(1);
    for _ in 0..3 {
        p.append(&topic, &["x".repeat(1_000).as_str()])
            .await
            .unwrap();
        let batch = p.batch(&["y".repeat(1_000).as_str()]);
        let options = tidemark_log::AppendOptions::default();
        let sent = p.log.append(&TENANT, &topic, other, batch, options);
        sent.await.unwrap();
    }
    let mut request = fetch_of(&topic, &[(P0, 0), (other, 0)]);
    request.max_bytes = 10;
    let fetched = p.log.fetch(&TENANT, request.clone()).await;
    assert_eq!(batches(&fetched[0]).len(), 1);
    assert_eq!(batches(&fetched[1]).len(), 0);
    request.max_bytes = 1 << 20;
    request.partitions[0].max_bytes = 1;
    request.partitions[1].max_bytes = 2_500;
    let fetched = p.log.fetch(&TENANT, request).await;
    assert_eq!(batches(&fetched[0]).len(), 1);
    assert_eq!(batches(&fetched[1]).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_offset_inside_a_batch_returns_the_whole_batch() {
    let world = World::new(23);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    p.append(&topic, &["a", "b", "c"]).await.unwrap();
    p.append(&topic, &["d"]).await.unwrap();
    let fetched = p.fetch(&topic, P0, 1, 1 << 20).await;
    assert_eq!(values(&fetched).first(), Some(&(0, "a".to_owned())));
    assert_eq!(values(&fetched).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_the_cache_dropped_comes_from_the_journal_the_same() {
    for cache in [0, 3_000, 1 << 20] {
        let mut world = World::new(24);
        world.config.tail_cache_bytes = cache;
        let p = world.start().await;
        let topic = p.topic("t", 3).await;
        for i in 0..300 {
            let index = PartitionIndex(i % 3);
            let batch = p.batch(&[&format!("{i}"), "x".repeat(400).as_str()]);
            let options = tidemark_log::AppendOptions::default();
            let sent = p.log.append(&TENANT, &topic, index, batch, options);
            sent.await.unwrap();
        }
        for index in 0..3 {
            let read = p.read_all(&topic, PartitionIndex(index), 0).await;
            assert_eq!(read.len(), 200, "cache of {cache}");
            for (i, (offset, value)) in read.iter().enumerate() {
                assert_eq!(*offset, i as i64);
                if i % 2 == 0 {
                    let i = i32::try_from(i).unwrap();
                    assert_eq!(*value, format!("{}", i / 2 * 3 + index));
                }
            }
            let middle = p.read_all(&topic, PartitionIndex(index), 77).await;
            assert_eq!(middle[..], read[77..], "cache of {cache}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn offsets_outside_the_log_and_foreign_epochs_are_refused() {
    let world = World::new(25);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    p.append(&topic, &["a"]).await.unwrap();
    let fetched = p.fetch(&topic, P0, 2, 1 << 20).await;
    assert_eq!(fetched.error, Some(ErrorCode::OffsetOutOfRange));
    assert_eq!((fetched.log_start.0, fetched.high_watermark.0), (0, 1));
    let fetched = p.fetch(&topic, P0, -1, 1 << 20).await;
    assert_eq!(fetched.error, Some(ErrorCode::OffsetOutOfRange));
    let fetched = p.fetch(&topic, PartitionIndex(5), 0, 1 << 20).await;
    assert_eq!(fetched.error, Some(ErrorCode::UnknownTopicOrPartition));
    let ours = p.log.offsets(&TENANT, &topic, P0).unwrap().leader_epoch;
    for (epoch, error) in [
        (ours.0 - 1, Some(ErrorCode::FencedLeaderEpoch)),
        (ours.0, None),
        (ours.0 + 1, Some(ErrorCode::UnknownLeaderEpoch)),
    ] {
        let mut request = fetch_of(&topic, &[(P0, 0)]);
        request.partitions[0].current_leader_epoch = Some(LeaderEpoch(epoch));
        assert_eq!(p.log.fetch(&TENANT, request).await[0].error, error);
    }
    // K2: without proof of ownership nobody is told that an offset does not exist.
    world.replicas[0].set_reachable(false);
    let fetched = p.fetch(&topic, P0, 2, 1 << 20).await;
    assert_eq!(fetched.error, Some(ErrorCode::OffsetNotAvailable));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_fetch_learns_that_the_shard_is_lost() {
    let world = World::new(26);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let mut request = fetch_of(&topic, &[(P0, 0)]);
    request.max_wait = Duration::from_secs(300);
    let (fetched, ()) = tokio::join!(p.log.fetch(&TENANT, request), async {
        world.clock.sleep(Duration::from_secs(1)).await;
        p.tasks.shutdown(Duration::from_secs(60)).await.unwrap();
    });
    assert_eq!(fetched[0].error, Some(ErrorCode::NotLeader));
}

/// J1: an extent whose owner died within its checkpoint holds nothing, and hides nothing of those before it.
#[tokio::test(start_paused = true)]
async fn half_a_checkpoint_between_extents_hides_nothing_from_readers() {
    let mut world = World::new(27);
    world.config.tail_cache_bytes = 0;
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let mut times = Vec::new();
    for i in 0..3 {
        times.push(world.clock.wall_ms());
        p.append(&topic, &[&format!("{i}")]).await.unwrap();
        world.clock.sleep(Duration::from_secs(10)).await;
    }
    p.stop().await;
    let tasks = Tasks::new();
    let shard = topic.partition(P0).unwrap().shard;
    let taken = world.leases(&tasks).await.take(shard).await.unwrap();
    let half = FrameBody {
        kind: FrameKind::Checkpoint,
        head: Bytes::from_static(&[1, 0, 0, 0, 0, 0, 0, 0, 0]),
        parts: Vec::new(),
    };
    let lsn = taken.writer.append(half).unwrap();
    taken.writer.wait_committed(lsn.next()).await.unwrap();
    drop(taken);
    tasks.shutdown(Duration::from_secs(60)).await.unwrap();
    for i in 3..6 {
        let p = world.start().await;
        times.push(world.clock.wall_ms());
        p.append(&topic, &[&format!("{i}")]).await.unwrap();
        world.clock.sleep(Duration::from_secs(10)).await;
        p.stop().await;
    }
    let p = world.start().await;
    let expected: Vec<_> = (0..6).map(|i| (i, format!("{i}"))).collect();
    assert_eq!(p.read_all(&topic, P0, 0).await, expected);
    for (offset, ms) in (0..).zip(times) {
        let spec = OffsetSpec::Timestamp(ms);
        let isolation = Isolation::ReadUncommitted;
        let found = p
            .log
            .list_offset(&TENANT, &topic, P0, spec, isolation)
            .await;
        assert_eq!(found.unwrap().offset, Offset(offset));
    }
}

/// K3: the row of a partition says where it begins, to a running owner within seconds and to a new one at once.
#[tokio::test(start_paused = true)]
async fn the_partitions_row_says_where_it_begins() {
    let world = World::new(28);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    for i in 0..5 {
        p.append(&topic, &[&format!("{i}")]).await.unwrap();
    }
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 5);
    let key = PartitionKey(topic.partition_id(P0));
    let set = async |log_start| {
        let mut tx = world.store.begin();
        let row = keys::get(tx.as_mut(), &key, Mode::Serializable).await;
        let mut row = row.unwrap().unwrap();
        row.log_start = Offset(log_start);
        keys::put(tx.as_mut(), &key, &row);
        tx.commit().await.unwrap();
    };
    set(3).await;
    for _ in 0..5 {
        world.clock.sleep(Duration::from_secs(1)).await;
        p.fetch(&topic, P0, 4, 1 << 20).await;
    }
    let refused = p.fetch(&topic, P0, 2, 1 << 20).await;
    assert_eq!(refused.error, Some(ErrorCode::OffsetOutOfRange));
    assert_eq!(refused.log_start, Offset(3));
    world.store.set_outage(true);
    world.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(p.read_all(&topic, P0, 3).await.len(), 2);
    world.store.set_outage(false);
    set(4).await;
    p.stop().await;
    let p = world.start().await;
    assert_eq!(
        p.log.offsets(&TENANT, &topic, P0).unwrap().log_start,
        Offset(4)
    );
    // Beyond the end it goes on there: no offset that was deleted is given out again.
    set(9).await;
    p.stop().await;
    let p = world.start().await;
    assert_eq!(
        p.log.offsets(&TENANT, &topic, P0).unwrap().log_start,
        Offset(9)
    );
}

/// However often data comes, an answer is due when its time is up, with all of it.
#[tokio::test(start_paused = true)]
async fn a_fetch_that_wants_more_than_comes_answers_in_time() {
    let world = World::new(90);
    let p = world.start().await;
    let topic = p.topic("t", 8).await;
    let all: Vec<_> = (0..8).map(|i| (PartitionIndex(i), 0)).collect();
    let mut request = fetch_of(&topic, &all);
    request.min_bytes = 40 << 20;
    request.max_wait = Duration::from_secs(10);
    let started = world.clock.now();
    let busy = async {
        for i in 0.. {
            let options = AppendOptions::default();
            let index = PartitionIndex(i % 8);
            let sent = p
                .log
                .append(&TENANT, &topic, index, p.batch(&["v"]), options);
            sent.await.unwrap();
            world.clock.sleep(Duration::from_millis(50)).await;
        }
    };
    let fetched = tokio::select! {
        biased;
        fetched = p.log.fetch(&TENANT, request) => fetched,
        () = busy => unreachable!("it goes on"),
    };
    assert_eq!((world.clock.now() - started).as_secs(), 10);
    let counts: Vec<usize> = fetched.iter().map(|f| values(f).len()).collect();
    assert!(counts.iter().all(|n| (24..=26).contains(n)), "{counts:?}");
}
