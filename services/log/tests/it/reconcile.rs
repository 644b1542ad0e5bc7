//! Objects that nothing names are found and deleted; nothing else is (T3).

use std::collections::BTreeSet;
use std::time::Duration;

use tidemark_blob::faulty::Faults;
use tidemark_blob::{BlobKey, BlobStore, Put};
use tidemark_meta::keys::reconcile::{ReconcileKey, ReconcileRow};
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_types::{Epoch, ObjectId, ShardId};

use crate::tiering::{audit, fill, pause, tiered};
use crate::world::{P0, World};

const HOUR: Duration = Duration::from_secs(3_600);

fn world(seed: u64, period: Duration) -> World {
    let mut world = World::tiered(seed);
    world.cold.as_mut().unwrap().config.reconcile_period = period;
    world
}

/// Puts an object behind the service's back, as a put that was in doubt lands.
pub(crate) async fn stray(world: &World, shard: ShardId, epoch: u64, number: u32) -> BlobKey {
    let sum = u64::from(shard.0) + epoch + u64::from(number);
    let epoch = Epoch(epoch);
    let object = ObjectId {
        shard,
        epoch,
        number,
    };
    put(world, &format!("cold/{:02x}/{object}", sum % 256)).await
}

async fn put(world: &World, name: &str) -> BlobKey {
    let key = BlobKey::new(name).unwrap();
    let put = Put::new(key.clone(), "anything", &world.entropy);
    world.cold.as_ref().unwrap().objects.put(put).await.unwrap();
    key
}

fn held(world: &World) -> BTreeSet<BlobKey> {
    let objects = world.cold.as_ref().unwrap().objects.snapshot();
    objects.into_keys().collect()
}

async fn noted(world: &World, shard: ShardId) -> Option<ReconcileRow> {
    let mut tx = world.store.begin();
    let row = keys::get(tx.as_mut(), &ReconcileKey(shard), Mode::Snapshot).await;
    row.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_nothing_names_is_deleted_and_what_is_another_s_is_left_alone() {
    let world = world(1, HOUR);
    let p = world.start().await;
    let topic = p.topic("t", 2).await;
    fill(&p, &topic, 0, 100).await;
    pause(5).await;
    let mut forgotten = BTreeSet::new();
    for (shard, number) in [(0, 0x1000), (0, 0x1001), (1, 0x1000)] {
        forgotten.insert(stray(&world, ShardId(shard), 1, number).await);
    }
    let mut others = BTreeSet::new();
    // Of an epoch to come, of a shard there is none of, of no object, in another's folder, and far from all.
    others.insert(stray(&world, ShardId(0), 900, 5).await);
    others.insert(stray(&world, ShardId(70), 1, 5).await);
    for name in [
        "cold/00/00000000-what",
        "cold/05/00000000-0000000000000001-00002000",
        "cold/00/00000000-0000000000000001-0000200A",
        "elsewhere/cold/x",
    ] {
        others.insert(put(&world, name).await);
    }
    pause(2 * 3_600).await;
    let counters = p.log.tier_counters();
    assert!(
        counters.reconciles >= 2 && counters.reconcile_lists >= 512,
        "{counters:?}"
    );
    assert_eq!(counters.reconcile_condemned, 3);
    assert!(counters.reconcile_foreign >= 3, "{counters:?}");
    let after = held(&world);
    assert!(after.is_disjoint(&forgotten), "{forgotten:?}");
    assert!(after.is_superset(&others), "{others:?}");
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 200);
    audit(&world).await;
    // With the grace, and once more.
    assert_eq!(tiered(&world, ShardId(0)).await.garbage, 0);
}

#[tokio::test(start_paused = true)]
async fn a_period_of_zero_lists_nothing() {
    let world = world(2, Duration::ZERO);
    let p = world.start().await;
    let stray = stray(&world, ShardId(0), 1, 9).await;
    pause(3_600).await;
    assert_eq!(p.log.tier_counters().reconcile_lists, 0);
    assert!(held(&world).contains(&stray));
    assert_eq!(noted(&world, ShardId(0)).await, None);
}

/// Tiering, compaction and collection go on while objects are listed, and each request takes its time.
#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_is_never_taken_for_forgotten() {
    for seed in 20..24 {
        let mut world = world(seed, Duration::from_secs(1));
        let config = &mut world.cold.as_mut().unwrap().config;
        config.segment_bytes = 20_000;
        config.compaction_period = Duration::from_secs(2);
        config.merge_objects = (2, 4);
        config.squeeze_objects = (2, 4);
        config.merge_partition_bytes = 1_000;
        config.grace = Duration::from_secs(5);
        config.second_delete = Duration::from_secs(20);
        let slow = Faults {
            delay_max: Duration::from_secs(2),
            ..Faults::default()
        };
        world.cold.as_ref().unwrap().store.set_faults(slow);
        let p = world.start().await;
        let topic = p.topic("t", 2).await;
        for round in 0..60 {
            fill(&p, &topic, round * 20, 20).await;
            pause(10).await;
        }
        let counters = p.log.tier_counters();
        assert!(counters.reconcile_lists > 300, "{counters:?}");
        assert!(
            counters.objects > 30 && counters.objects_deleted > 30,
            "{counters:?}"
        );
        assert_eq!(counters.reconcile_condemned, 0, "seed {seed}");
        world.cold.as_ref().unwrap().store.heal();
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), 2_400);
        audit(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn faults_and_new_owners_in_the_middle_lose_nothing_and_forget_nothing() {
    for seed in 30..34 {
        let world = world(seed, Duration::from_secs(600));
        let cold = world.cold.clone().unwrap();
        let p = world.start().await;
        let topic = p.topic("t", 2).await;
        fill(&p, &topic, 0, 60).await;
        let mut forgotten = BTreeSet::new();
        for number in 0x1000..0x1080 {
            forgotten.insert(stray(&world, ShardId(number % 2), 1, number).await);
        }
        cold.store.set_faults(Faults {
            delay_max: Duration::from_millis(20),
            ..Faults::stormy()
        });
        world.store.set_faults(tidemark_meta::faulty::Faults {
            conflict: 50,
            unavailable: 50,
            ..tidemark_meta::faulty::Faults::default()
        });
        let mut owners = vec![p];
        for round in 1..6 {
            for _ in 0..3 {
                world.store.plan(tidemark_meta::faulty::Fault::LostReply);
                pause(100).await;
            }
            // The owner goes in the middle of it, without a word.
            let next = world.start().await;
            let topic = next.find("t").await;
            fill(&next, &topic, 60 * round, 20).await;
            owners.push(next);
        }
        cold.store.heal();
        world
            .store
            .set_faults(tidemark_meta::faulty::Faults::default());
        pause(3_600).await;
        let condemned: u64 = owners
            .iter()
            .map(|p| p.log.tier_counters().reconcile_condemned)
            .sum();
        assert!(condemned >= 128, "seed {seed}: {condemned}");
        let p = owners.last().unwrap();
        let topic = p.find("t").await;
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), 320, "seed {seed}");
        audit(&world).await;
        assert!(held(&world).is_disjoint(&forgotten), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_owner_goes_on_where_the_last_one_was() {
    let world = world(3, HOUR);
    let p = world.start().await;
    let shard = ShardId(0);
    let far = async |row: &Option<ReconcileRow>| row.is_some_and(|row| row.prefix >= 128);
    let mut row = noted(&world, shard).await;
    while !far(&row).await {
        pause(1).await;
        row = noted(&world, shard).await;
    }
    p.stop().await;
    let p = world.start().await;
    let due = row.unwrap().due_ms;
    while noted(&world, shard).await.unwrap().due_ms == due {
        pause(1).await;
    }
    let lists = p.log.tier_counters().reconcile_lists;
    assert!((1..=128).contains(&(lists % 256)), "{lists}");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_delays_a_listing_by_little_more_than_a_period() {
    let world = world(4, HOUR);
    let p = world.start().await;
    pause(2 * 3_600).await;
    let due = noted(&world, ShardId(0)).await.unwrap().due_ms;
    assert!(due > world.clock.wall_ms());
    world.clock.jump_wall(-30 * 86_400_000);
    let before = p.log.tier_counters().reconciles;
    pause(2 * 3_600).await;
    assert!(p.log.tier_counters().reconciles >= before + 2);
}
