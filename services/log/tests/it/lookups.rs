//! Offsets by position, time and leader epoch.

use std::time::Duration;

use tidemark_journal::memory::Faults;
use tidemark_log::{EpochEnd, Isolation, OffsetSpec};
use tidemark_records::{Batch, BatchBuilder, Compression};
use tidemark_types::{Coded, ErrorCode, LeaderEpoch, Offset};

use crate::world::{BASE_MS, P0, Process, TENANT, World};

async fn find(
    p: &Process,
    topic: &std::sync::Arc<tidemark_topics::Topic>,
    spec: OffsetSpec,
) -> (i64, i64) {
    let isolation = Isolation::ReadUncommitted;
    let found = p.log.list_offset(&TENANT, topic, P0, spec, isolation).await;
    let found = found.unwrap();
    (found.offset.0, found.timestamp_ms)
}

#[tokio::test(start_paused = true)]
async fn offsets_are_found_by_time_in_memory_and_in_the_journal() {
    for (cache, indexes) in [(0, 0), (0, 1 << 20), (2_000, 1 << 20), (1 << 20, 0)] {
        let mut world = World::new(40);
        world.config.tail_cache_bytes = cache;
        world.config.index_cache_bytes = indexes;
        world.config.roll_bytes = 20_000;
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        assert_eq!(find(&p, &topic, OffsetSpec::MaxTimestamp).await, (-1, -1));
        assert_eq!(find(&p, &topic, OffsetSpec::Timestamp(0)).await, (-1, -1));
        assert_eq!(find(&p, &topic, OffsetSpec::Earliest).await, (0, -1));
        assert_eq!(find(&p, &topic, OffsetSpec::Latest).await, (0, -1));
        // Batches of two records; times grow by 10, but every tenth batch lies back by 500.
        let time = |record: i64| {
            let batch = record / 2;
            BASE_MS - 1_000_000 + record * 10 - if batch % 10 == 9 { 500 } else { 0 }
        };
        for batch in 0..200 {
            let mut builder = BatchBuilder::new(Compression::None);
            for record in [2 * batch, 2 * batch + 1] {
                let value = "x".repeat(200);
                builder
                    .push(time(record), None, Some(value.as_bytes()), &[])
                    .unwrap();
            }
            p.send(&topic, builder.build().unwrap()).await.unwrap();
        }
        for at in (-700..4_100).step_by(35) {
            let ms = BASE_MS - 1_000_000 + at;
            // Kafka's rule: the first batch whose largest timestamp reaches it, then the first record of it.
            let expected = (0..200)
                .find(|b| time(2 * b + 1) >= ms)
                .map(|b| if time(2 * b) >= ms { 2 * b } else { 2 * b + 1 });
            let expected = expected.map_or((-1, -1), |r| (r, time(r)));
            let found = find(&p, &topic, OffsetSpec::Timestamp(ms)).await;
            assert_eq!(found, expected, "time {at}, cache {cache}");
        }
        let newest = (0..400).map(time).max().unwrap();
        let first = (0..400).find(|r| time(*r) == newest).unwrap();
        assert_eq!(
            find(&p, &topic, OffsetSpec::MaxTimestamp).await,
            (first, newest)
        );
        assert_eq!(find(&p, &topic, OffsetSpec::Latest).await, (400, -1));
        assert_eq!(find(&p, &topic, OffsetSpec::EarliestLocal).await, (0, -1));
        assert_eq!(find(&p, &topic, OffsetSpec::LatestTiered).await, (-1, -1));
    }
}

/// K1: the end of the log is claimed only with a proof that began after the request.
#[tokio::test(start_paused = true)]
async fn latest_needs_proof_and_a_zombie_has_none() {
    let world = World::new(41);
    let zombie = world.start().await;
    let topic = zombie.topic("t", 1).await;
    zombie.append(&topic, &["a"]).await.unwrap();
    let list = |p: &Process| {
        let (log, topic) = (p.log.clone(), topic.clone());
        let spec = OffsetSpec::Latest;
        async move {
            log.list_offset(&TENANT, &topic, P0, spec, Isolation::ReadUncommitted)
                .await
        }
    };
    world.replicas[0].set_reachable(false);
    let err = list(&zombie).await.unwrap_err();
    assert_eq!(err.code(), ErrorCode::OffsetNotAvailable);
    world.replicas[0].set_reachable(true);
    let next = world.start().await;
    let err = list(&zombie).await.unwrap_err();
    assert_eq!(err.code(), ErrorCode::NotLeader);
    assert_eq!(list(&next).await.unwrap().offset, Offset(1));
}

/// K6.
#[tokio::test(start_paused = true)]
async fn leader_epochs_end_where_the_next_one_began() {
    let world = World::new(42);
    let mut starts = Vec::new();
    for round in 0..4 {
        let p = world.start().await;
        let topic = if round == 0 {
            p.topic("t", 1).await
        } else {
            p.find("t").await
        };
        // The third owner appends nothing: its epoch gets no entry.
        if round != 2 {
            let ack = p.append(&topic, &["a", "b"]).await.unwrap();
            starts.push((ack.leader_epoch, ack.base_offset));
        }
        if round == 3 {
            let end = async |epoch: i32| {
                p.log
                    .leader_epoch_end(&TENANT, &topic, P0, None, LeaderEpoch(epoch))
                    .await
                    .unwrap()
            };
            let is = |epoch: LeaderEpoch, end: i64| EpochEnd {
                epoch,
                end: Offset(end),
            };
            let [(first, _), (second, at), (last, last_at)] = starts[..] else {
                panic!("three owners appended");
            };
            assert_eq!((at.0, last_at.0), (2, 4));
            assert_eq!(last.0, second.0 + 2);
            assert_eq!(end(first.0).await, is(first, 2));
            assert_eq!(end(second.0).await, is(second, 4));
            assert_eq!(end(second.0 + 1).await, is(second, 4));
            assert_eq!(end(last.0).await, is(last, 6));
            assert_eq!(end(first.0 - 1).await, is(LeaderEpoch(first.0 - 1), 0));
            assert_eq!(end(last.0 + 1).await, is(LeaderEpoch(-1), -1));
            let stale = Some(second);
            let refused = p.log.leader_epoch_end(&TENANT, &topic, P0, stale, first);
            let refused = refused.await.unwrap_err();
            assert_eq!(refused.code(), ErrorCode::FencedLeaderEpoch);
        }
        p.stop().await;
    }
}

/// What leaves the tail for the journal while a lookup reads the journal is found all the same.
#[tokio::test(start_paused = true)]
async fn a_batch_that_leaves_memory_during_a_lookup_by_time_is_found() {
    for seed in 0..20 {
        let mut world = World::new(400 + seed);
        world.config.tail_cache_bytes = 3_000;
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        p.append(&topic, &["old"]).await.unwrap();
        p.stop().await;
        let p = world.start().await;
        world.clock.sleep(Duration::from_secs(1)).await;
        let wanted = world.clock.wall_ms();
        p.append(&topic, &["wanted"]).await.unwrap();
        world.clock.sleep(Duration::from_secs(1)).await;
        world.replicas[0].set_faults(Faults {
            delay_max: Duration::from_millis(50),
            ..Faults::default()
        });
        let (found, ()) = tokio::join!(find(&p, &topic, OffsetSpec::Timestamp(wanted)), async {
            let sent: Vec<_> = (0..12)
                .map(|_| p.send(&topic, p.batch(&["x".repeat(500).as_str()])))
                .collect();
            for sent in sent {
                sent.await.unwrap();
            }
        });
        assert_eq!(found, (1, wanted), "seed {seed}");
    }
}

/// A batch with these bytes changed and its CRC made right again, as a broken or hostile producer sends it.
fn forged(batch: &Batch, at: usize, with: &[u8]) -> Batch {
    let mut bytes = batch.bytes().to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]);
    let crc = u32::try_from(crc).unwrap();
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::parse(bytes.into()).unwrap()
}

/// A batch that does not decompress, or whose header names a time that no record has, breaks no lookup.
#[tokio::test(start_paused = true)]
async fn a_batch_that_does_not_decode_breaks_no_lookup_by_time() {
    for cache in [0, 1 << 20] {
        let mut world = World::new(43);
        world.config.tail_cache_bytes = cache;
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        let batch = |compression, ms: i64| {
            let mut builder = BatchBuilder::new(compression);
            for i in 0..2 {
                let time = BASE_MS + ms + i;
                builder.push(time, None, Some(&[7; 100]), &[]).unwrap();
            }
            builder.build().unwrap()
        };
        let corrupt = batch(Compression::Gzip, 200);
        let middle = corrupt.bytes().len() / 2 + 20;
        let corrupt = forged(&corrupt, middle, &[0xff; 8]);
        assert!(tidemark_records::records(&corrupt, 1 << 20).is_err());
        let lying = batch(Compression::Snappy, 300);
        let lying = forged(&lying, 35, &(BASE_MS + 390).to_be_bytes());
        for batch in [
            batch(Compression::None, 100),
            corrupt.clone(),
            lying,
            batch(Compression::Zstd, 400),
        ] {
            p.send(&topic, batch).await.unwrap();
        }
        let at = async |ms: i64| {
            let spec = OffsetSpec::Timestamp(BASE_MS + ms);
            let (offset, found) = find(&p, &topic, spec).await;
            (offset, found - BASE_MS)
        };
        assert_eq!(at(101).await, (1, 101));
        // The corrupt batch, by its header: it begins there, and its largest time is 201.
        assert_eq!(at(150).await, (2, 201));
        assert_eq!(at(201).await, (2, 201));
        assert_eq!(at(301).await, (5, 301));
        // Only the header says so: the first record that late is another batch's.
        assert_eq!(at(350).await, (6, 400));
        assert_eq!(at(401).await, (7, 401));
        let newest = find(&p, &topic, OffsetSpec::MaxTimestamp).await;
        assert_eq!(newest, (7, BASE_MS + 401));
        let late = batch(Compression::Gzip, 500);
        p.send(&topic, forged(&late, middle, &[0xff; 8]))
            .await
            .unwrap();
        let newest = find(&p, &topic, OffsetSpec::MaxTimestamp).await;
        assert_eq!(newest, (8, BASE_MS + 501));
        // Headers that only lie cost a bounded number of looks.
        for _ in 0..40 {
            let lying = forged(
                &batch(Compression::None, 0),
                35,
                &(BASE_MS + 900).to_be_bytes(),
            );
            p.send(&topic, lying).await.unwrap();
        }
        let (offset, found) = at(900).await;
        assert!((10..90).contains(&offset), "{offset}");
        assert_eq!(found, 900);
    }
}
