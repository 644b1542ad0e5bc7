//! The log's older part in the object store: moved, given up, read back, through faults.

use std::sync::Arc;
use std::time::Duration;

use tidemark_blob::faulty::{Fault, Faults, Outage};
use tidemark_blob::{BlobStore, List};
use tidemark_log::{Isolation, OffsetSpec};
use tidemark_meta::keys::cold::{GarbageKey, Level0Key, Level0Row, PendingKey};
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_records::{BatchBuilder, Compression};
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode, PartitionIndex, ShardId};

use crate::world::{BASE_MS, P0, Process, TENANT, World};

/// What the store says lies in the object store.
pub(crate) struct Tiered {
    pub(crate) rows: Vec<(Level0Key, Level0Row)>,
    pub(crate) pending: usize,
    pub(crate) garbage: usize,
}

pub(crate) async fn tiered(world: &World, shard: ShardId) -> Tiered {
    let mut tx = world.store.begin();
    let (range, mode) = (Level0Key::of_shard(shard), Mode::Snapshot);
    let rows = keys::scan(tx.as_mut(), range, 10_000, mode).await.unwrap();
    let range = PendingKey::of_shard(shard);
    let pending = keys::scan::<PendingKey>(tx.as_mut(), range, 1_000, mode).await;
    let range = <GarbageKey as keys::Key>::all();
    let garbage = keys::scan::<GarbageKey>(tx.as_mut(), range, 1_000, mode).await;
    Tiered {
        rows,
        pending: pending.unwrap().len(),
        garbage: garbage.unwrap().len(),
    }
}

/// How many objects there are, but for the shards' states.
pub(crate) async fn held(world: &World) -> usize {
    let objects = &world.cold.as_ref().unwrap().objects;
    let page = objects.list(List::prefix("cold/")).await.unwrap();
    let mut states = 0;
    for shard in [ShardId(0), ShardId(1)] {
        states += usize::from(state(world, shard).await.is_some());
    }
    page.objects.len() - states
}

/// The row that names a shard's state.
pub(crate) async fn state(world: &World, shard: ShardId) -> Option<StateRow> {
    let mut tx = world.store.begin();
    let row = keys::get(tx.as_mut(), &StateKey(shard), Mode::Snapshot).await;
    row.unwrap()
}

/// Invariants 13 and 14 as far as rows and objects tell: every row's object is there, intact, and the rows and the
/// retained extents cover what is readable once.
pub(crate) async fn audit(world: &World) {
    let objects = &world.cold.as_ref().unwrap().objects;
    let found = tidemark_log::audit(&world.store, objects, &world.clock, i64::MIN).await;
    let found = found.unwrap();
    assert!(found.is_sound(), "{found:?}");
}

pub(crate) async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Appends `count` batches of two records to each partition, from number `from` on.
pub(crate) async fn fill(p: &Process, topic: &Arc<Topic>, from: usize, count: usize) {
    for i in from..from + count {
        for index in 0..topic.partition_count() {
            let values = [
                format!("{index}/{i}/a{}", "x".repeat(200)),
                format!("{index}/{i}/b"),
            ];
            let batch = p.batch(&[&values[0], &values[1]]);
            let index = PartitionIndex(index);
            let sent = p
                .log
                .append(&TENANT, topic, index, batch, Default::default());
            sent.await.unwrap();
        }
        if i % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Every byte a consumer is given, from the beginning to the end.
pub(crate) async fn bytes(p: &Process, topic: &Arc<Topic>, index: PartitionIndex) -> Vec<u8> {
    let (mut out, mut next) = (Vec::new(), 0);
    loop {
        let fetched = p.fetch(topic, index, next, 3_000).await;
        assert_eq!(fetched.error, None, "at {next}");
        let Some(last) = crate::world::values(&fetched)
            .last()
            .map(|(offset, _)| *offset)
        else {
            assert_eq!(next, fetched.high_watermark.0);
            return out;
        };
        next = last + 1;
        out.extend(fetched.batches.concat());
    }
}

pub(crate) async fn find(p: &Process, topic: &Arc<Topic>, spec: OffsetSpec) -> (i64, i64) {
    let isolation = Isolation::ReadUncommitted;
    let found = p.log.list_offset(&TENANT, topic, P0, spec, isolation).await;
    let found = found.unwrap();
    (found.offset.0, found.timestamp_ms)
}

fn frames_held(world: &World) -> usize {
    let shards = [ShardId(0), ShardId(1)];
    let extents = (0..300).flat_map(|index| {
        shards.map(|shard| tidemark_journal::ExtentId {
            shard,
            index: tidemark_types::ExtentIdx(index),
        })
    });
    let replica = &world.replicas[0];
    extents.map(|extent| replica.frames(extent).len()).sum()
}

/// What a check of a stopped service says after each kind of damage, and only then.
#[tokio::test(start_paused = true)]
async fn an_audit_names_what_is_gone_damaged_uncovered_and_left_over() {
    let world = World::tiered(1);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 150).await;
    pause(5).await;
    p.stop().await;
    let objects = &world.cold.as_ref().unwrap().objects;
    let audited = async |orphans_before_ms| {
        let found =
            tidemark_log::audit(&world.store, objects, &world.clock, orphans_before_ms).await;
        found.unwrap()
    };
    let shard = topic.partition(P0).unwrap().shard;
    let rows = tiered(&world, shard).await.rows;
    assert!(rows.len() > 3, "{rows:?}");
    let whole = audited(i64::MAX).await;
    assert!(whole.is_sound() && whole.orphans.is_empty(), "{whole:?}");
    assert!(whole.totals.objects >= rows.len() as u64 && whole.totals.bytes > 0);

    let key = |at: usize| {
        let name = format!("/{}", rows[at].1.object);
        let held = objects.snapshot();
        held.into_keys()
            .find(|k| k.as_str().ends_with(&name))
            .unwrap()
    };
    let (rotten, gone) = (key(0), key(1));
    assert!(objects.rot(&rotten, 60, 0x10), "a byte of its first block");
    assert!(objects.lose(&gone));
    let found = audited(i64::MAX).await;
    let named: Vec<_> = found.bad.iter().map(|bad| bad.key.as_str()).collect();
    assert_eq!(named, [rotten.as_str(), gone.as_str()]);
    assert_eq!(found.bad[1].why, "it is not there");
    assert!(!found.is_sound());

    // A row that is gone leaves a gap behind the rows before it, and an object that no row names.
    let unnamed = key(2);
    let mut tx = world.store.begin();
    keys::clear(tx.as_mut(), &rows[2].0);
    tx.commit().await.unwrap();
    let found = audited(i64::MAX).await;
    assert!(
        found
            .uncovered
            .iter()
            .any(|u| u.why.contains("in no object")),
        "{found:?}"
    );
    let orphans: Vec<_> = found.orphans.iter().map(|o| o.key.as_str()).collect();
    assert_eq!(orphans, [unnamed.as_str()]);
    assert!(
        audited(i64::MIN).await.orphans.is_empty(),
        "too young to say"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_tiered_and_given_up_reads_byte_for_byte_as_before() {
    let world = World::tiered(1);
    world.fill_disks(0);
    let p = world.start().await;
    let topic = p.topic("t", 3).await;
    fill(&p, &topic, 0, 150).await;
    let all = |p| {
        let topic = &topic;
        async move {
            [
                bytes(p, topic, P0).await,
                bytes(p, topic, PartitionIndex(2)).await,
            ]
        }
    };
    let before = all(&p).await;
    assert!(p.log.tier_counters().objects > 3);
    assert_eq!(
        p.log.tier_counters().gets,
        0,
        "read from the journal while it is there"
    );
    assert_eq!(
        p.log.tier_counters().extents_released,
        0,
        "kept as a read cache"
    );
    let held = frames_held(&world);
    world.fill_disks(700);
    pause(5).await;
    assert!(p.log.tier_counters().extents_released > 10);
    assert!(
        frames_held(&world) < held / 4,
        "{} of {held}",
        frames_held(&world)
    );
    assert_eq!(all(&p).await, before);
    assert!(p.log.tier_counters().gets > 0);
    audit(&world).await;
    // A restart knows all of it, and goes on.
    p.stop().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    fill(&p, &topic, 150, 50).await;
    pause(5).await;
    let after = bytes(&p, &topic, P0).await;
    assert_eq!(after[..before[0].len()], before[0]);
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 400);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_seldom_written_is_found_among_many_objects() {
    let world = World::tiered(2);
    let p = world.start().await;
    let (busy, rare) = (p.topic("busy", 2).await, p.topic("rare", 2).await);
    for round in 0..4 {
        fill(&p, &rare, round, 1).await;
        fill(&p, &busy, round * 60, 60).await;
    }
    pause(10).await;
    for index in [P0, PartitionIndex(1)] {
        for from in 0..8 {
            let read = p.read_all(&rare, index, from).await;
            let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (from..8).collect::<Vec<_>>());
        }
        for from in [0, 7, 133, 300, 479] {
            let read = p.read_all(&busy, index, from).await;
            assert_eq!(read.first().unwrap().0, from);
            assert_eq!(read.len() as i64, 480 - from);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_up_while_the_object_store_is_away_and_all_recovers() {
    let world = World::tiered(3);
    let cold = world.cold.clone().unwrap();
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    cold.store
        .begin_outage(Outage::Unreachable, Some(Duration::from_secs(3_600)));
    fill(&p, &topic, 0, 100).await;
    pause(1_800).await;
    assert_eq!(p.log.tier_counters().extents_released, 0);
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 200);
    world.fill_disks(900);
    pause(2).await;
    let refused = p.append(&topic, &["v"]).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Overloaded);
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 200);
    pause(1_900).await;
    assert!(p.log.tier_counters().extents_released > 0);
    world.fill_disks(500);
    pause(2).await;
    p.append(&topic, &["v"]).await.unwrap();
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 201);
    audit(&world).await;
}

/// T1 through everything at once: metadata commits that fail, vanish or land late, and an object store on a bad day.
#[tokio::test(start_paused = true)]
async fn faults_everywhere_lose_nothing_and_leave_no_orphans() {
    for seed in 10..16 {
        let world = World::tiered(seed);
        let cold = world.cold.clone().unwrap();
        let p = world.start().await;
        let topic = p.topic("t", 2).await;
        fill(&p, &topic, 0, 20).await;
        // A put that hangs would for ever: what gives it up is the decorator that repeats, which is not here.
        let stormy = Faults {
            hang: 0,
            delay_max: Duration::from_millis(20),
            ..Faults::stormy()
        };
        cold.store.set_faults(stormy);
        world.store.set_faults(tidemark_meta::faulty::Faults {
            conflict: 50,
            unavailable: 50,
            ..tidemark_meta::faulty::Faults::default()
        });
        for _ in 0..3 {
            world.store.plan(tidemark_meta::faulty::Fault::LostReply);
            fill(&p, &topic, 20, 10).await;
        }
        pause(60).await;
        // The owner goes in the middle of it, without a word; the next one takes over.
        let q = world.start().await;
        let topic = q.find("t").await;
        fill(&q, &topic, 50, 30).await;
        pause(60).await;
        cold.store.heal();
        world
            .store
            .set_faults(tidemark_meta::faulty::Faults::default());
        pause(300).await;
        for index in [P0, PartitionIndex(1)] {
            let read = q.read_all(&topic, index, 0).await;
            let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (0..160).collect::<Vec<_>>(), "seed {seed}");
        }
        // Orphans go at once, and once more later, when late puts have landed.
        world.fill_disks(0);
        pause(3_000).await;
        let mut live = 0;
        for shard in [ShardId(0), ShardId(1)] {
            let tiered = tiered(&world, shard).await;
            live += tiered.rows.len();
            assert_eq!((tiered.pending, tiered.garbage), (0, 0), "seed {seed}");
        }
        audit(&world).await;
        assert_eq!(held(&world).await, live, "seed {seed}");
        drop(p);
    }
}

/// A crash between intent, put and commit: what the old owner put is garbage, and its late commit is not taken.
#[tokio::test(start_paused = true)]
async fn an_owner_that_dies_between_put_and_commit_leaves_an_orphan_that_is_collected() {
    let world = World::tiered(4);
    let cold = world.cold.clone().unwrap();
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let shard = topic.partition(P0).unwrap().shard;
    // The first put never returns, and lands much later.
    cold.store.plan(Fault::Hang);
    fill(&p, &topic, 0, 60).await;
    pause(5).await;
    assert_eq!(tiered(&world, shard).await.pending, 1);
    let q = world.start().await;
    let topic = q.find("t").await;
    pause(120).await;
    let found = tiered(&world, shard).await;
    assert_eq!(found.pending, 0);
    assert!(!found.rows.is_empty());
    // Anyone collects, the fenced process too.
    let orphans = [&p, &q].map(|one| one.log.tier_counters().orphans);
    assert_eq!(orphans.iter().sum::<u64>(), 1);
    audit(&world).await;
    assert_eq!(q.read_all(&topic, P0, 0).await.len(), 120);
    drop(p);
}

#[tokio::test(start_paused = true)]
async fn offsets_are_found_by_time_and_by_place_in_the_object_store() {
    let world = World::tiered(5);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    assert_eq!(find(&p, &topic, OffsetSpec::LatestTiered).await, (-1, -1));
    let time = |record: i64| {
        let batch = record / 2;
        BASE_MS - 1_000_000 + record * 10 - if batch % 10 == 9 { 500 } else { 0 }
    };
    for batch in 0..200 {
        let mut builder = BatchBuilder::new(Compression::Lz4);
        for record in [2 * batch, 2 * batch + 1] {
            let value = format!("{record}{}", "x".repeat(200));
            builder
                .push(time(record), None, Some(value.as_bytes()), &[])
                .unwrap();
        }
        p.send(&topic, builder.build().unwrap()).await.unwrap();
        if batch % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    pause(10).await;
    for at in (-700..4_100).step_by(35) {
        let ms = BASE_MS - 1_000_000 + at;
        let expected = (0..200)
            .find(|b| time(2 * b + 1) >= ms)
            .map(|b| if time(2 * b) >= ms { 2 * b } else { 2 * b + 1 });
        let expected = expected.map_or((-1, -1), |r| (r, time(r)));
        let found = find(&p, &topic, OffsetSpec::Timestamp(ms)).await;
        assert_eq!(found, expected, "time {at}");
    }
    let newest = (0..400).map(time).max().unwrap();
    let found = find(&p, &topic, OffsetSpec::MaxTimestamp).await;
    assert_eq!(found.1, newest);
    assert_eq!(find(&p, &topic, OffsetSpec::Earliest).await, (0, -1));
    let (local, _) = find(&p, &topic, OffsetSpec::EarliestLocal).await;
    let (last_tiered, _) = find(&p, &topic, OffsetSpec::LatestTiered).await;
    assert!(local > 100 && local < 400, "{local}");
    assert_eq!(
        last_tiered,
        local - 1,
        "all that is sealed is tiered, and given up"
    );
}

/// O3: a segment that is not there sends the reader to the rows, once; what fails for good is an error, not a wrong answer.
#[tokio::test(start_paused = true)]
async fn damage_and_loss_in_the_object_store_are_errors_and_bad_answers_are_asked_again() {
    let world = World::tiered(6);
    let cold = world.cold.clone().unwrap();
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 100).await;
    pause(10).await;
    for fault in [
        Fault::NotFound,
        Fault::Rotten,
        Fault::Truncated,
        Fault::Reset,
    ] {
        cold.store.plan(fault);
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), 200, "{fault:?}");
    }
    let (key, bytes) = cold.objects.snapshot().into_iter().next().unwrap();
    // A bit in the middle of the data, for good.
    assert!(cold.objects.rot(&key, bytes.len() / 3, 4));
    p.stop().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    let mut failed = 0;
    let mut next = 0;
    while next < 200 {
        let fetched = p.fetch(&topic, P0, next, 3_000).await;
        let read = crate::world::values(&fetched);
        match read.last() {
            Some((last, _)) => next = last + 1,
            None => {
                assert_eq!(fetched.error, Some(ErrorCode::StorageError));
                failed += 1;
                next += 2;
            }
        }
    }
    assert!(failed > 0);
}
