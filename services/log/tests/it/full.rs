//! Full disks: what is refused, what goes on, and how often a shard asks for room.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidemark_blob::faulty::Outage;
use tidemark_journal::DiskUse;
use tidemark_log::{AppendError, AppendOptions};
use tidemark_lognode::sim::SimDisk;
use tidemark_lognode::{LogNode, LogNodeConfig};
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Coded, ErrorCode, Offset, ShardId};

use crate::tiering::{audit, pause};
use crate::world::{BASE_MS, P0, TENANT, World, idempotent};

/// A full disk stays full for minutes: a pause of up to five seconds between tries is two and a half on average.
const MINUTES: u64 = 10;
const TRIES_MAX: u64 = MINUTES * 60 / 2;

/// The shard's epoch, and how many extents were made for it.
async fn tried(world: &World, shard: ShardId) -> (u64, u64) {
    let mut tx = world.store.begin();
    let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await;
    let epoch = row.unwrap().unwrap().epoch.0;
    (epoch, world.extents(shard).await.len() as u64)
}

/// Appends are refused, reads go on, and once there is room everything in flight is acked, under the same epoch.
#[tokio::test(start_paused = true)]
async fn a_log_node_that_takes_no_frames_is_asked_ever_more_rarely_and_the_shard_stays_owned() {
    let world = World::new(83);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let shard = topic.partition(P0).unwrap().shard;
    for round in 0..3 {
        let sequence = 2 * round;
        let before = tried(&world, shard).await;
        p.send(&topic, idempotent(1, 0, sequence, 1)).await.unwrap();
        world.replicas[0].set_full(true);
        let stuck = p.send(&topic, idempotent(1, 0, sequence + 1, 1));
        tokio::time::sleep(Duration::from_secs(60 * MINUTES)).await;
        let refused = p.send(&topic, idempotent(1, 0, sequence + 2, 1)).await;
        assert_eq!(refused.unwrap_err().code(), ErrorCode::StorageError);
        assert_eq!(
            p.read_all(&topic, P0, 0).await.len(),
            usize::try_from(sequence).unwrap() + 1
        );
        let after = tried(&world, shard).await;
        assert_eq!(after.0, before.0, "the shard was never lost");
        let tries = after.1 - before.1;
        assert!((60..TRIES_MAX).contains(&tries), "{tries} extents");
        world.replicas[0].set_full(false);
        let acked = tokio::time::timeout(Duration::from_secs(6), stuck).await;
        let acked = acked.expect("acked soon after there is room").unwrap();
        assert_eq!(acked.base_offset, Offset(i64::from(sequence) + 1));
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    p.stop().await;
    let p = world.start().await;
    let expected: Vec<_> = (0..6).map(|i| (i, format!("1/0/{i}"))).collect();
    assert_eq!(p.read_all(&topic, P0, 0).await, expected);
}

/// The real log node on a disk where every write fails: the shard stays owned all the same.
#[tokio::test(start_paused = true)]
async fn a_disk_without_room_for_anything_is_asked_ever_more_rarely() {
    for seed in 90..93 {
        let (entropy, clock, tasks) = (
            Entropy::seeded(seed),
            Clock::simulated(BASE_MS),
            Tasks::new(),
        );
        let disk = SimDisk::new(&entropy);
        let config = LogNodeConfig::small();
        let opened = LogNode::open(Arc::new(disk.clone()), config, &clock, &entropy, &tasks);
        let world = World::on(seed, opened.await.unwrap());
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        let shard = topic.partition(P0).unwrap().shard;
        p.send(&topic, idempotent(1, 0, 0, 1)).await.unwrap();
        let before = tried(&world, shard).await;
        disk.set_writes_full(true);
        let stuck = p.send(&topic, idempotent(1, 0, 1, 1));
        tokio::time::sleep(Duration::from_secs(60 * MINUTES)).await;
        let after = tried(&world, shard).await;
        let (epochs, tries) = (after.0 - before.0, after.1 - before.1);
        assert_eq!(epochs, 0, "the shard was never lost");
        assert!((60..TRIES_MAX).contains(&tries), "{tries} extents");
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), 1);
        disk.set_writes_full(false);
        assert_eq!(stuck.await.unwrap().base_offset, Offset(1));
        let again = p.send(&topic, idempotent(1, 0, 1, 1)).await.unwrap();
        assert!(again.duplicate && again.base_offset == Offset(1));
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), 2);
        p.stop().await;
    }
}

/// Who waits for room on a nearly full disk gets it once the disk takes appends again, and hears at its deadline if not.
#[tokio::test(start_paused = true)]
async fn a_nearly_full_disk_makes_appends_wait_for_it() {
    let world = World::tiered(84);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    world.fill_disks(900);
    p.append(&topic, &["noticed by this one"]).await.unwrap();
    let refused = p.log.room(&TENANT, &topic, P0, 100).unwrap_err();
    assert!(
        matches!(refused, AppendError::DiskNearlyFull(_)),
        "{refused}"
    );
    let within = |seconds| {
        let deadline = world.clock.now() + Duration::from_secs(seconds);
        p.log.room_within(&TENANT, &topic, P0, 100, deadline)
    };
    let refused = within(10).await.unwrap_err();
    assert!(
        matches!(refused, AppendError::DiskNearlyFull(_)),
        "{refused}"
    );
    let later = async {
        world.clock.sleep(Duration::from_secs(30)).await;
        world.fill_disks(100);
    };
    let (room, ()) = tokio::join!(within(120), later);
    let batch = p.batch(&["waited"]);
    let options = AppendOptions::default();
    let sent = p.log.append_in(room.unwrap(), &topic, batch, options);
    assert_eq!(sent.await.unwrap().base_offset, Offset(1));
}

/// The line is bounded, and who waits in it when the shard is lost is told.
#[tokio::test(start_paused = true)]
async fn the_line_for_room_is_bounded_and_ends_with_the_shard() {
    let mut world = World::new(85);
    world.config.inflight_bytes_max = 10_000;
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let held = p.log.room(&TENANT, &topic, P0, 10_000).unwrap();
    let deadline = world.clock.now() + Duration::from_secs(600);
    let wait = || Box::pin(p.log.room_within(&TENANT, &topic, P0, 4_000, deadline));
    let (mut first, mut second) = (wait(), wait());
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    let third = wait().now_or_never().expect("the line is full");
    assert!(matches!(third, Err(AppendError::Overloaded(_))));
    drop(held);
    drop(first.await.unwrap());
    p.tasks.shutdown(Duration::from_secs(60)).await.unwrap();
    assert!(matches!(second.await, Err(AppendError::NotLeader(_))));
}

/// Takeovers in a row at a full disk while the object store is away: each wants an extent and a checkpoint, and what is kept
/// for those is used up. Every owner reads all the same, and once the store is back it tiers and releases: no room is needed
/// to make room. (Found by seed 412 of the simulator with small disks: only an owner with a checkpoint tiered, so there was
/// never room for one.)
#[tokio::test(start_paused = true)]
async fn takeovers_in_a_row_at_a_full_disk_are_survived() {
    for seed in 86..88 {
        let (entropy, clock, tasks) = (
            Entropy::seeded(seed),
            Clock::simulated(BASE_MS),
            Tasks::new(),
        );
        let disk = SimDisk::new(&entropy);
        let config = LogNodeConfig {
            segment_bytes: 32 << 10,
            disk_bytes_max: 18 * (32 << 10),
            takeover_bytes: 32 << 10,
            ..LogNodeConfig::small()
        };
        // One for checkpoints, one that fences filled up, one that they go on in.
        let most = config.disk_bytes_max + 3 * config.segment_bytes + 4096;
        let opened = LogNode::open(Arc::new(disk.clone()), config, &clock, &entropy, &tasks);
        let mut world = World::on(seed, opened.await.unwrap());
        world.add_cold();
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        p.topic("other", 1).await;
        let store = &world.cold.as_ref().unwrap().store;
        store.begin_outage(Outage::Unreachable, Some(Duration::from_secs(300)));
        let mut acked: usize = 0;
        let value = "x".repeat(900);
        while p.append(&topic, &[&value]).await.is_ok() {
            acked += 1;
        }
        assert!(acked > 20, "{acked}");
        let mut last = p;
        for _ in 0..14 {
            last = world.start_unready().await;
            pause(10).await;
            assert_eq!(last.read_all(&topic, P0, 0).await.len(), acked);
        }
        let refused = last.append(&topic, &["v"]).await.unwrap_err();
        assert!(refused.code().is_retriable(), "{refused}");
        let held: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
        assert!(held <= most, "{held} bytes");
        pause(300 - 14 * 10 + 60).await;
        last.append(&topic, &["v"]).await.unwrap();
        assert_eq!(last.read_all(&topic, P0, 0).await.len(), acked + 1);
        audit(&world).await;
        last.stop().await;
        let p = world.start().await;
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), acked + 1);
    }
}

/// A shard that takes little keeps old segments alive by its one small extent, so it rolls when much was written beside it;
/// also behind a restart of the log node, which counts from 0 again.
#[tokio::test(start_paused = true)]
async fn an_extent_that_holds_space_back_is_rolled_after_a_restart_of_its_log_node_too() {
    let mut world = World::tiered(91);
    world.config.roll_bytes = 1 << 20;
    let wrote = |written_bytes| {
        world.replicas[0].set_disk_use(Some(DiskUse {
            used_bytes: 700,
            budget_bytes: 1_000,
            written_bytes,
        }));
    };
    wrote(10_000);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    p.append(&topic, &["little"]).await.unwrap();
    pause(3).await;
    for written in [0, 100, 200] {
        wrote(written);
        pause(3).await;
        assert_eq!(p.log.tier_counters().objects, 0, "at {written}");
    }
    wrote(250);
    pause(10).await;
    assert_eq!(p.log.tier_counters().objects, 1);
}

/// Owners that died before they could say that their checkpoints were committed, and a disk that takes no other checkpoint:
/// whoever takes over says it, and what lies before is given up. (Found by seed 364 of the simulator: the disk stayed full.)
#[tokio::test(start_paused = true)]
async fn a_committed_checkpoint_that_was_never_marked_makes_room_at_a_full_disk() {
    let world = World::tiered(92);
    world.fill_disks(0);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let shard = topic.partition(P0).unwrap().shard;
    let value = "x".repeat(900);
    for _ in 0..20 {
        p.append(&topic, &[&value]).await.unwrap();
        pause(1).await;
    }
    p.stop().await;
    let before = world.extents(shard).await;
    assert!(before.len() > 2, "{} extents", before.len());
    let mut tx = world.store.begin();
    for (key, mut row) in before.iter().cloned() {
        row.ckpt = false;
        keys::put(tx.as_mut(), &key, &row);
    }
    tx.commit().await.unwrap();

    world.replicas[0].set_full(true);
    world.fill_disks(990);
    let p = world.start_unready().await;
    pause(20).await;
    let left = world.extents(shard).await;
    let (newest, _) = before.last().unwrap();
    assert_eq!((left[0].0.index, left[0].1.ckpt), (newest.index, true));
    world.replicas[0].set_full(false);
    world.fill_disks(0);
    pause(10).await;
    p.append(&topic, &["v"]).await.unwrap();
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 21);
}
