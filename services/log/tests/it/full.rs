//! Full disks: what is refused, what goes on, and how often a shard asks for room.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidemark_log::{AppendError, AppendOptions};
use tidemark_lognode::sim::SimDisk;
use tidemark_lognode::{LogNode, LogNodeConfig};
use tidemark_meta::keys::extent::ExtentKey;
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Coded, ErrorCode, Offset, ShardId};

use crate::world::{BASE_MS, P0, TENANT, World, idempotent};

/// A full disk stays full for minutes: a pause of up to five seconds between tries is two and a half on average.
const MINUTES: u64 = 10;
const TRIES_MAX: u64 = MINUTES * 60 / 2;

/// The shard's epoch, and how many extents were made for it.
async fn tried(world: &World, shard: ShardId) -> (u64, u64) {
    let mut tx = world.store.begin();
    let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await;
    let range = ExtentKey::of_shard(shard);
    let extents = keys::scan::<ExtentKey>(tx.as_mut(), range, 10_000, Mode::Snapshot).await;
    let epoch = row.unwrap().unwrap().epoch.0;
    (epoch, extents.unwrap().len() as u64)
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

/// The real log node on a disk where every write fails: the shard cannot even be fenced, so it is lost and taken again.
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
        let (epochs, extents) = (after.0 - before.0, after.1 - before.1);
        assert!((30..TRIES_MAX).contains(&epochs), "{epochs} epochs");
        assert!(extents < TRIES_MAX, "{extents} extents");
        disk.set_writes_full(false);
        p.log.serving().await;
        if let Err(error) = stuck.await {
            assert_eq!(error.code(), ErrorCode::OutcomeUnknown);
        }
        let acked = p.send(&topic, idempotent(1, 0, 1, 1)).await.unwrap();
        assert_eq!(acked.base_offset, Offset(1));
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
