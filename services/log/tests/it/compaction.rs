//! Compaction: objects of one partition, and topics that keep the latest record of each key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemark_blob::faulty::{Faults, Outage};
use tidemark_log::{Isolation, OffsetSpec, TierConfig};
use tidemark_meta::keys::cold1::{Level1Key, Level1Row};
use tidemark_meta::keys::state::StateKey;
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_records::{BatchBuilder, Compression, Record};
use tidemark_segment::{Covers, Index, verify};
use tidemark_topics::{ConfigOp, Topic, TopicRef};
use tidemark_types::{Offset, PartitionId, PartitionIndex, ShardId};

use crate::tiering::{audit, bytes, fill, find, held, pause, tiered};
use crate::world::{BASE_MS, P0, Process, TENANT, World, batches};

fn world(seed: u64, change: impl FnOnce(&mut TierConfig)) -> World {
    let mut world = World::tiered(seed);
    let cold = world.cold.as_mut().unwrap();
    cold.config.segment_bytes = 20_000;
    cold.config.compaction_period = Duration::from_secs(5);
    cold.config.merge_objects = (2, 4);
    cold.config.squeeze_objects = (2, 4);
    cold.config.merge_partition_bytes = 1_000;
    cold.config.clean_bytes = 1;
    change(&mut cold.config);
    world
}

async fn level1(world: &World, shard: ShardId) -> Vec<(Level1Key, Level1Row)> {
    let mut tx = world.store.begin();
    let range = Level1Key::of_shard(shard);
    keys::scan(tx.as_mut(), range, 10_000, Mode::Snapshot)
        .await
        .unwrap()
}

/// Invariants 13 and 14 for the partitions' own segments: each row's object is there, whole and of these offsets, and a
/// partition's rows follow one another.
async fn audit_own(world: &World) -> usize {
    let held = world.cold.as_ref().unwrap().objects.snapshot();
    let mut objects = 0;
    for shard in [ShardId(0), ShardId(1)] {
        audit(world).await;
        let mut ends: BTreeMap<PartitionId, Offset> = BTreeMap::new();
        for (key, row) in level1(world, shard).await {
            let before = ends.insert(key.partition, key.end);
            assert!(
                before.is_none_or(|end| end == row.base),
                "gap before {key:?}"
            );
            assert!(row.base < key.end && row.base <= row.clean && row.clean <= key.end);
            let Some(found) = row.object else { continue };
            objects += 1;
            let name = format!("/{}", found.object);
            let object = held.iter().find(|(k, _)| k.as_str().ends_with(&name));
            let bytes = object.unwrap_or_else(|| panic!("{name} is gone")).1;
            assert_eq!(bytes.len() as u64, found.bytes);
            let at = usize::try_from(found.index_at).unwrap();
            let index = Index::decode(&bytes[at..], found.index_at).unwrap();
            let (first, end) = (row.base, key.end);
            assert_eq!(index.header.covers, Covers::Offsets { first, end });
            let part = index.find(key.partition).unwrap();
            for (i, block) in part.blocks().iter().enumerate() {
                let range = part.range(i..i + 1);
                let from = usize::try_from(range.start).unwrap();
                let to = usize::try_from(range.end).unwrap();
                verify(block, &bytes[from..to]).unwrap();
            }
        }
    }
    objects
}

/// Every object is of a row once the grace has passed, and nothing waits.
async fn no_litter(world: &World) {
    let own = audit_own(world).await;
    let mut rows = own;
    for shard in [ShardId(0), ShardId(1)] {
        let tiered = tiered(world, shard).await;
        assert_eq!((tiered.pending, tiered.garbage), (0, 0));
        rows += tiered.rows.len();
    }
    assert_eq!(held(world).await, rows);
}

/// A record to write: its key, and a value unless it is a tombstone.
type Put = (u32, Option<String>);

async fn put(p: &Process, topic: &Arc<Topic>, ms: i64, puts: &[Put]) -> i64 {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for (key, value) in puts {
        let (key, value) = (key.to_string(), value.as_deref().map(str::as_bytes));
        builder.push(ms, Some(key.as_bytes()), value, &[]).unwrap();
    }
    let sent = p.send(topic, builder.build().unwrap()).await;
    sent.unwrap().base_offset.0
}

fn now(world: &World) -> i64 {
    world.clock.wall_ms()
}

/// Rounds of `keys` updates, ten records a batch.
async fn updates(world: &World, p: &Process, topic: &Arc<Topic>, keys: u32, rounds: u32) {
    for round in 0..rounds {
        let all: Vec<Put> = (0..keys)
            .map(|key| (key, Some(format!("{round}{}", "x".repeat(60)))))
            .collect();
        for some in all.chunks(10) {
            put(p, topic, now(world), some).await;
        }
        pause(1).await;
    }
}

/// Every record a reader is given from `from` to the end, batch by batch as a consumer goes.
async fn read(p: &Process, topic: &Arc<Topic>, from: i64) -> Vec<Record> {
    let (mut next, mut all) = (from, Vec::new());
    loop {
        let fetched = p.fetch(topic, P0, next, 3_000).await;
        assert_eq!(fetched.error, None, "at {next}");
        let batches = batches(&fetched);
        let Some(last) = batches.last() else {
            assert_eq!(next, fetched.high_watermark.0);
            return all;
        };
        let after = last.header().next_offset().0;
        for batch in &batches {
            let records = tidemark_records::records(batch, 1 << 20).unwrap();
            all.extend(records.into_iter().filter(|r| r.offset.0 >= next));
        }
        next = after;
    }
}

fn table(records: &[Record]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut table = BTreeMap::new();
    for record in records {
        let Some(key) = &record.key else { continue };
        match &record.value {
            Some(value) => table.insert(key.to_vec(), value.to_vec()),
            None => table.remove(&key.to_vec()),
        };
    }
    table
}

#[tokio::test(start_paused = true)]
async fn partitions_get_objects_of_their_own_and_read_byte_for_byte_as_before() {
    let world = world(40, |_| {});
    let p = world.start().await;
    let topic = p.topic("t", 3).await;
    fill(&p, &topic, 0, 20).await;
    let mut before = Vec::new();
    for round in 1..9 {
        fill(&p, &topic, round * 20, 20).await;
        pause(7).await;
    }
    for index in 0..3 {
        before.push(bytes(&p, &topic, PartitionIndex(index)).await);
        assert_eq!(
            p.read_all(&topic, PartitionIndex(index), 0).await.len(),
            360
        );
    }
    let counters = p.log.tier_counters();
    assert!(counters.compaction_puts > 3, "{counters:?}");
    // Each byte once, and few requests: what `merge` states.
    assert!(counters.compaction_put_bytes < counters.object_bytes * 11 / 10);
    assert!(counters.compaction_gets < 2 * counters.objects + counters.compaction_puts);
    let rows = tiered(&world, topic.partition(P0).unwrap().shard).await;
    assert!(rows.rows.len() < 6, "{} objects of all", rows.rows.len());
    // From any offset, and by time.
    for from in [1, 99, 100, 101, 231] {
        let read = p.read_all(&topic, P0, from).await;
        assert_eq!(read.first().unwrap().0, from);
        assert_eq!(read.len() as i64, 360 - from);
    }
    audit_own(&world).await;
    p.stop().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    for (index, before) in (0..).zip(&before) {
        assert_eq!(bytes(&p, &topic, PartitionIndex(index)).await, *before);
    }
    world.fill_disks(0);
    pause(3_000).await;
    no_litter(&world).await;
    assert_eq!(bytes(&p, &topic, P0).await, before[0]);
}

/// Own objects cover what hot extents hold too: a reader that goes from the ones to the others misses nothing.
#[tokio::test(start_paused = true)]
async fn readers_go_on_from_own_objects_to_hot_extents() {
    let world = world(45, |config| {
        config.segment_bytes = 1_000_000;
        config.merge_objects = (12, 40);
        config.squeeze_objects = (12, 40);
    });
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 80).await;
    pause(10).await;
    // From here on nothing is given up: what is compacted lies in both.
    world.fill_disks(0);
    for round in 2..6 {
        fill(&p, &topic, round * 40, 40).await;
        pause(8).await;
        for from in (0..80 * i64::try_from(round).unwrap()).step_by(7) {
            let read = p.read_all(&topic, P0, from).await;
            let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
            let end = 80 * (i64::try_from(round).unwrap() + 1);
            assert_eq!(offsets, (from..end).collect::<Vec<_>>());
        }
    }
    let rows = level1(&world, topic.partition(P0).unwrap().shard).await;
    let (local, _) = find(&p, &topic, OffsetSpec::EarliestLocal).await;
    assert!(
        rows.iter()
            .any(|(key, row)| row.base.0 < local && key.end.0 > local)
    );
}

/// What producers and readers move at the least that makes the log busy, how long compaction waits then, and the objects that
/// one run takes at the most; whether it has run half a minute, and three minutes, after the last append.
#[tokio::test(start_paused = true)]
async fn compaction_waits_while_the_log_is_busy() {
    for (bytes_per_s, patience_s, objects, expected) in [
        (0, 60, 1_000, [false, true]),
        (0, 3_600, 1_000, [false, false]),
        (0, 3_600, 2, [true, true]),
        (1, 3_600, 1_000, [true, true]),
    ] {
        let world = world(46, |config| {
            config.busy_bytes_per_s = bytes_per_s;
            config.compaction_patience = Duration::from_secs(patience_s);
            config.merge_objects = (2, objects);
        });
        let p = world.start().await;
        let topic = p.topic("t", 2).await;
        fill(&p, &topic, 0, 80).await;
        let mut ran = [false; 2];
        for (ran, seconds) in ran.iter_mut().zip([30, 150]) {
            pause(seconds).await;
            *ran = p.log.tier_counters().compaction_puts > 0;
        }
        assert!(p.log.tier_counters().objects >= 4);
        assert_eq!(ran, expected, "{bytes_per_s} {patience_s} {objects}");
    }
}

/// Work that was done lets the next wait as long; work that failed does not: it is tried again at the next look.
#[tokio::test(start_paused = true)]
async fn compaction_that_failed_does_not_wait_anew() {
    let world = world(47, |config| {
        config.busy_bytes_per_s = 0;
        config.compaction_patience = Duration::from_secs(120);
        config.merge_objects = (2, 1_000);
    });
    let cold = world.cold.clone().unwrap();
    let p = world.start().await;
    let topic = p.topic("t", 2).await;
    let puts = || p.log.tier_counters().compaction_puts;
    fill(&p, &topic, 0, 80).await;
    pause(60).await;
    cold.store.begin_outage(Outage::Unreachable, None);
    pause(120).await;
    let failed = p.log.tier_counters().compaction_failures;
    assert!(failed > 0 && puts() == 0, "{failed}");
    cold.store.heal();
    pause(30).await;
    let before = puts();
    assert!(before > 0);
    fill(&p, &topic, 80, 80).await;
    pause(60).await;
    assert_eq!(puts(), before, "what is due next waits anew");
    pause(120).await;
    assert!(puts() > before);
}

/// A shard whose partitions take too little for objects of their own: neighbours become one object.
#[tokio::test(start_paused = true)]
async fn small_objects_of_all_partitions_become_one() {
    let world = world(44, |config| {
        config.object_bytes = 60_000;
        config.merge_partition_bytes = u64::MAX;
    });
    let p = world.start().await;
    let (topic, mut doomed) = (p.topic("t", 3).await, p.topic("doomed", 1).await);
    let mut most = 0;
    let shards = [ShardId(0), ShardId(1)];
    for round in 0..30 {
        fill(&p, &topic, round * 8, 8).await;
        fill(&p, &doomed, round * 8, 8).await;
        pause(8).await;
        audit(&world).await;
        for shard in shards {
            most = most.max(tiered(&world, shard).await.rows.len());
        }
        if round == 20 {
            let gone = TopicRef::Name("doomed");
            p.topics.delete(&TENANT, gone).await.unwrap();
            doomed = p.topic("doomed", 1).await;
        }
    }
    let counters = p.log.tier_counters();
    assert!(counters.objects > 30 && most < 15, "{most}: {counters:?}");
    assert!(counters.compaction_put_bytes < 5 * counters.object_bytes);
    let mut before = Vec::new();
    for index in (0..3).map(PartitionIndex) {
        before.push(bytes(&p, &topic, index).await);
        assert_eq!(p.read_all(&topic, index, 0).await.len(), 480);
        assert_eq!(p.read_all(&topic, index, 211).await.len(), 269);
    }
    p.stop().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    for (index, before) in (0..).map(PartitionIndex).zip(before) {
        assert_eq!(bytes(&p, &topic, index).await, before);
    }
    world.fill_disks(0);
    pause(3_000).await;
    no_litter(&world).await;
}

#[tokio::test(start_paused = true)]
async fn retention_and_deletion_reach_own_objects_too() {
    let world = world(41, |_| {});
    let p = world.start().await;
    let (topic, other) = (p.topic("t", 1).await, p.topic("other", 1).await);
    for round in 0..6 {
        fill(&p, &topic, round * 20, 20).await;
        fill(&p, &other, round * 20, 20).await;
        pause(8).await;
    }
    let shard = topic.partition(P0).unwrap().shard;
    let rows = level1(&world, shard).await.len();
    assert!(rows > 2, "{rows}");
    let deleted = p.log.delete_records(&TENANT, &topic, P0, Some(Offset(150)));
    assert_eq!(deleted.await.unwrap(), Offset(150));
    p.topics
        .delete(&TENANT, TopicRef::Name("other"))
        .await
        .unwrap();
    world.fill_disks(0);
    pause(3_000).await;
    no_litter(&world).await;
    let of_other = level1(&world, other.partition(P0).unwrap().shard).await;
    assert!(
        of_other
            .iter()
            .all(|(key, _)| key.partition.topic != other.id)
    );
    assert!(level1(&world, shard).await.len() < rows);
    assert_eq!(p.read_all(&topic, P0, 150).await.len(), 90);
    // By time, out of own objects.
    let short = ConfigOp::Set {
        name: "retention.ms".to_owned(),
        value: "600000".to_owned(),
    };
    p.topics
        .alter_config(&TENANT, "t", vec![short], false)
        .await
        .unwrap();
    pause(600).await;
    assert_eq!(p.read_all(&topic, P0, 240).await.len(), 0);
    assert_eq!(level1(&world, shard).await.len(), 0);
}

/// Metadata commits that fail, vanish or land late, an object store on a bad day, and owners that die in the middle.
#[tokio::test(start_paused = true)]
async fn faults_everywhere_lose_nothing_and_leave_no_litter() {
    for seed in 50..56 {
        let world = world(seed, |_| {});
        let cold = world.cold.clone().unwrap();
        let p = world.start().await;
        let topic = p.topic("t", 2).await;
        let compact = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        let table_of = p.topic_with("c", 1, &compact).await;
        cold.store.set_faults(Faults {
            delay_max: Duration::from_millis(20),
            ..Faults::stormy()
        });
        world.store.set_faults(tidemark_meta::faulty::Faults {
            conflict: 50,
            unavailable: 50,
            ..tidemark_meta::faulty::Faults::default()
        });
        let mut last = p;
        for round in 0..4 {
            world.store.plan(tidemark_meta::faulty::Fault::LostReply);
            fill(&last, &topic, 20 * round, 20).await;
            updates(&world, &last, &table_of, 30, 6).await;
            pause(20 + 3 * seed % 7).await;
            // The owner goes without a word; the next one takes over.
            let next = world.start().await;
            last = next;
        }
        cold.store.heal();
        world
            .store
            .set_faults(tidemark_meta::faulty::Faults::default());
        pause(300).await;
        for index in [P0, PartitionIndex(1)] {
            let read = last.read_all(&topic, index, 0).await;
            let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (0..160).collect::<Vec<_>>(), "seed {seed}");
        }
        let records = read(&last, &table_of, 0).await;
        assert_eq!(table(&records).len(), 30);
        assert!(
            table(&records)
                .values()
                .all(|value| value.starts_with(b"5x"))
        );
        assert!(records.len() < 300, "{} of 720 are left", records.len());
        world.fill_disks(0);
        pause(3_000).await;
        no_litter(&world).await;
    }
}

/// Owners that die at any moment of a run: between intent, put and commit, between the objects of one partition, before the
/// sweep.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_of_a_run_loses_nothing() {
    for step in (0..60).step_by(3) {
        let world = world(100 + step, |config| {
            config.grace = Duration::from_secs(20);
            config.second_delete = Duration::from_secs(40);
        });
        let cold = world.cold.clone().unwrap();
        let p = world.start().await;
        let topic = p.topic("t", 2).await;
        let compact = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        let table_of = p.topic_with("c", 1, &compact).await;
        cold.store.set_faults(Faults {
            delay_max: Duration::from_millis(4),
            ..Faults::default()
        });
        world.store.set_faults(tidemark_meta::faulty::Faults {
            delay_max: Duration::from_millis(2),
            ..tidemark_meta::faulty::Faults::default()
        });
        fill(&p, &topic, 0, 60).await;
        updates(&world, &p, &table_of, 30, 6).await;
        while p.log.tier_counters().compaction_gets == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(step)).await;
        let q = world.start().await;
        let whole = async || {
            for index in [P0, PartitionIndex(1)] {
                let read = q.read_all(&topic, index, 0).await;
                let offsets: Vec<i64> = read.iter().map(|(offset, _)| *offset).collect();
                assert_eq!(offsets, (0..120).collect::<Vec<_>>(), "step {step}");
            }
            let found = table(&read(&q, &table_of, 0).await);
            assert_eq!(found.len(), 30);
            assert!(found.values().all(|value| value.starts_with(b"5x")));
        };
        whole().await;
        p.stop().await;
        cold.store.heal();
        world
            .store
            .set_faults(tidemark_meta::faulty::Faults::default());
        pause(20).await;
        whole().await;
        world.fill_disks(0);
        pause(150).await;
        no_litter(&world).await;
    }
}

#[tokio::test(start_paused = true)]
async fn compacted_topics_keep_the_latest_record_of_each_key() {
    // Room for about forty keys a run: a hundred take several.
    for memory in [2_500, 1 << 20] {
        let world = world(42, |config| config.compaction_memory_bytes = memory);
        let p = world.start().await;
        let compact = [
            ("cleanup.policy", "compact"),
            ("delete.retention.ms", "600000"),
            ("min.cleanable.dirty.ratio", "0"),
        ];
        let topic = p.topic_with("c", 1, &compact).await;
        updates(&world, &p, &topic, 100, 12).await;
        let gone: Vec<Put> = (0..5).map(|key| (key, None)).collect();
        put(&p, &topic, now(&world), &gone).await;
        fill_to_roll(&world, &p, &topic).await;
        pause(120).await;
        let records = read(&p, &topic, 0).await;
        let left = records.iter().filter(|r| r.offset.0 < 1_200).count();
        assert_eq!(left, 95, "each key once, without those deleted");
        assert_eq!(records.iter().filter(|r| r.value.is_none()).count(), 5);
        let found = table(&records);
        assert_eq!(
            (0..100)
                .filter(|k| found.contains_key(k.to_string().as_bytes()))
                .count(),
            95
        );
        for record in records.iter().filter(|r| r.offset.0 < 1_200) {
            let key: i64 = std::str::from_utf8(record.key.as_ref().unwrap())
                .unwrap()
                .parse()
                .unwrap();
            assert_eq!(record.offset.0, 1_100 + key, "offsets do not change");
        }
        // From an offset in a gap the next record there is comes.
        let from_gap = read(&p, &topic, 500).await;
        assert_eq!(from_gap.first().unwrap().offset.0, 1_105);
        // By time too.
        let spec = OffsetSpec::Timestamp(BASE_MS);
        let isolation = Isolation::ReadUncommitted;
        let first = p
            .log
            .list_offset(&TENANT, &topic, P0, spec, isolation)
            .await;
        assert_eq!(first.unwrap().offset, Offset(1_105));
        // Tombstones go after their time; a restart changes nothing.
        p.stop().await;
        let p = world.start().await;
        let topic = p.find("c").await;
        pause(900).await;
        let records = read(&p, &topic, 0).await;
        assert!(records.iter().all(|r| r.value.is_some()));
        assert_eq!(table(&records), found);
        let counters = p.log.tier_counters();
        world.fill_disks(0);
        pause(3_000).await;
        no_litter(&world).await;
        // Nothing more to do: no run goes on for ever.
        let later = p.log.tier_counters();
        assert_eq!(later.compaction_puts, counters.compaction_puts);
    }
}

/// Writes until what came before is sealed and tiered.
async fn fill_to_roll(world: &World, p: &Process, topic: &Arc<Topic>) {
    for i in 0..30 {
        let value = Some(format!("{i}{}", "y".repeat(200)));
        let random = u32::try_from(world.entropy.below(1 << 30)).unwrap();
        put(p, topic, now(world), &[(1_000 + random, value)]).await;
        pause(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn lags_and_ratio_say_when() {
    let world = world(43, |_| {});
    let p = world.start().await;
    let hour = "3600000";
    let config = |extra: &'static str, value: &'static str| {
        vec![
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.3"),
            (extra, value),
        ]
    };
    let young = p
        .topic_with("young", 1, &config("min.compaction.lag.ms", hour))
        .await;
    let old = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "1"),
        ("max.compaction.lag.ms", hour),
    ];
    let old = p.topic_with("old", 1, &old).await;
    for topic in [&young, &old] {
        updates(&world, &p, topic, 20, 10).await;
        fill_to_roll(&world, &p, topic).await;
    }
    pause(120).await;
    let count = async |topic| read(&p, topic, 0).await.len();
    assert_eq!((count(&young).await, count(&old).await), (230, 230));
    pause(3_600).await;
    assert!(count(&young).await < 60, "past its min lag");
    assert!(count(&old).await < 60, "past its max lag");
}

mod model {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Whatever is written: at any time a reader from the beginning builds the right table, of records that were
        /// written at these offsets, in order.
        #[test]
        fn a_reader_always_builds_the_same_table(
            rounds in prop::collection::vec(
                (prop::collection::vec((0..30_u32, prop::bool::weighted(0.8)), 1..60), 0..40_u64),
                4..20,
            ),
            memory in 1_000..10_000_usize,
            segment_bytes in 2_000..20_000_u64,
            seed in 0..1_000_u64,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(always(rounds, memory, segment_bytes, seed));
        }
    }

    async fn always(
        rounds: Vec<(Vec<(u32, bool)>, u64)>,
        memory: usize,
        segment_bytes: u64,
        seed: u64,
    ) {
        let world = world(seed, |config| {
            config.compaction_memory_bytes = memory;
            config.segment_bytes = segment_bytes;
        });
        let mut p = world.start().await;
        let compact = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", "20000"),
        ];
        let topic = p.topic_with("c", 1, &compact).await;
        let mut written: BTreeMap<i64, (u32, Option<String>)> = BTreeMap::new();
        for (number, (puts, seconds)) in rounds.into_iter().enumerate() {
            for (key, has_value) in puts {
                let value = has_value.then(|| format!("{number}{}", "z".repeat(80)));
                let at = put(&p, &topic, now(&world), &[(key, value.clone())]).await;
                written.insert(at, (key, value));
            }
            pause(seconds).await;
            if number % 5 == 4 {
                p.stop().await;
                p = world.start().await;
            }
            check(&p, &topic, &written).await;
        }
        pause(200).await;
        check(&p, &topic, &written).await;
        audit_own(&world).await;
    }

    async fn check(
        p: &Process,
        topic: &Arc<Topic>,
        written: &BTreeMap<i64, (u32, Option<String>)>,
    ) {
        let records = read(p, topic, 0).await;
        assert!(
            records
                .windows(2)
                .all(|pair| pair[0].offset < pair[1].offset)
        );
        let mut expected = BTreeMap::new();
        for (key, value) in written.values() {
            let key = key.to_string().into_bytes();
            match value {
                Some(value) => expected.insert(key, value.clone().into_bytes()),
                None => expected.remove(&key),
            };
        }
        for record in &records {
            let (key, value) = &written[&record.offset.0];
            assert_eq!(record.key.as_deref(), Some(key.to_string().as_bytes()));
            assert_eq!(record.value.as_deref(), value.as_deref().map(str::as_bytes));
        }
        assert_eq!(table(&records), expected);
    }
}

/// The disks are gone and most of the log lies in own objects, compacted ones among them: everything goes on where it was.
#[tokio::test(start_paused = true)]
async fn a_compacted_log_outlives_its_disks() {
    for (seed, with_state) in [(80, true), (81, false)] {
        let mut world = world(seed, |_| {});
        let p = world.start().await;
        let topic = p.topic("t", 2).await;
        let compact = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.1"),
        ];
        let compacted = p.topic_with("c", 1, &compact).await;
        for round in 0..6 {
            fill(&p, &topic, round * 20, 20).await;
            updates(&world, &p, &compacted, 40, 2).await;
            pause(7).await;
        }
        assert!(p.log.tier_counters().records_compacted > 100);
        let before = [
            bytes(&p, &topic, P0).await,
            bytes(&p, &topic, PartitionIndex(1)).await,
        ];
        let latest = table(&read(&p, &compacted, 0).await);
        let (end, _) = find(&p, &compacted, OffsetSpec::Latest).await;
        p.stop().await;
        for shard in [ShardId(0), ShardId(1)] {
            assert!(!level1(&world, shard).await.is_empty());
            if !with_state {
                let mut tx = world.store.begin();
                keys::clear(tx.as_mut(), &StateKey(shard));
                tx.commit().await.unwrap();
            }
        }
        world.wipe();
        world.give_up().await;
        let p = world.start().await;
        let (topic, compacted) = (p.find("t").await, p.find("c").await);
        for (index, before) in (0..).map(PartitionIndex).zip(&before) {
            assert_eq!(bytes(&p, &topic, index).await, *before, "seed {seed}");
        }
        assert_eq!(find(&p, &compacted, OffsetSpec::Latest).await.0, end);
        assert_eq!(table(&read(&p, &compacted, 0).await), latest);
        let next = put(&p, &compacted, now(&world), &[(1, Some("new".to_owned()))]).await;
        assert_eq!(next, end);
        for round in 6..9 {
            fill(&p, &topic, round * 20, 20).await;
            pause(7).await;
        }
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), 360);
        audit_own(&world).await;
    }
}

/// Compaction left nothing of a partition, and what came behind was on the disks alone: offsets below where it got to are never
/// given again.
#[tokio::test(start_paused = true)]
async fn a_rebuild_goes_on_behind_what_compaction_took_away() {
    let mut world = world(82, |_| {});
    let p = world.start().await;
    let compact = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("delete.retention.ms", "1000"),
    ];
    let topic = p.topic_with("c", 1, &compact).await;
    let shard = topic.partition(P0).unwrap().shard;
    updates(&world, &p, &topic, 20, 3).await;
    let gone: Vec<Put> = (0..20).map(|key| (key, None)).collect();
    put(&p, &topic, now(&world), &gone).await;
    let (end, _) = find(&p, &topic, OffsetSpec::Latest).await;
    p.stop().await;
    // What holds the end of the log is not compacted: one more record comes, which is never tiered.
    let p = world.start().await;
    let topic = p.find("c").await;
    put(&p, &topic, now(&world), &[(77, Some("lost".to_owned()))]).await;
    pause(120).await;
    let own = level1(&world, shard).await;
    assert!(own.iter().all(|(_, row)| row.object.is_none()), "{own:?}");
    assert_eq!(own.last().unwrap().0.end, Offset(end));
    assert_eq!(tiered(&world, shard).await.rows, []);
    let mut tx = world.store.begin();
    keys::clear(tx.as_mut(), &StateKey(shard));
    tx.commit().await.unwrap();
    world.wipe();
    world.give_up().await;

    let p = world.start().await;
    let topic = p.find("c").await;
    assert_eq!(find(&p, &topic, OffsetSpec::Latest).await.0, end);
    let next = put(&p, &topic, now(&world), &[(1, Some("new".to_owned()))]).await;
    assert_eq!(next, end);
    let records = read(&p, &topic, 0).await;
    assert_eq!(
        records.iter().map(|r| r.offset.0).collect::<Vec<_>>(),
        [end]
    );
    audit_own(&world).await;
    p.stop().await;
}
