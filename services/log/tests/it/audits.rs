//! The audit beside a running service: it finds what one of a stopped service finds, and nothing that only moves.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tidemark_blob::{BlobKey, BlobStore, Put};
use tidemark_log::{Audit, AuditError, AuditOptions, audit};
use tidemark_meta::keys::cold1::{Level1Key, Level1Row};
use tidemark_meta::{MetaStore, keys};
use tidemark_topics::{Topic, TopicRef};
use tidemark_types::Offset;

use crate::reconcile::stray;
use crate::tiering::{fill, pause, tiered};
use crate::world::{Cold, P0, Process, TENANT, World};

async fn running(p: &Process, options: AuditOptions) -> Audit {
    let mut run = p.log.audit(options).unwrap();
    let mut found = Audit::default();
    while let Some(event) = run.next().await {
        found.add(event.unwrap());
    }
    found
}

fn everything() -> AuditOptions {
    AuditOptions {
        orphans_before_ms: Some(i64::MAX),
        ..AuditOptions::default()
    }
}

/// The names of a shard's objects, in log order.
async fn names(world: &World, topic: &Topic) -> Vec<BlobKey> {
    let rows = tiered(world, topic.partition(P0).unwrap().shard).await.rows;
    let held = world.cold.as_ref().unwrap().objects.snapshot();
    let name = |object: String| {
        held.keys()
            .find(|key| key.as_str().ends_with(&object))
            .unwrap()
    };
    rows.iter()
        .map(|(_, row)| name(row.object.to_string()).clone())
        .collect()
}

/// Harms objects and rows behind everybody's back.
async fn harm(world: &World, topic: &Topic, what: &str) {
    let Cold { objects, .. } = world.cold.clone().unwrap();
    let names = names(world, topic).await;
    assert!(names.len() > 3, "{names:?}");
    match what {
        "healthy" => {}
        "deleted" => assert!(objects.lose(&names[1])),
        "a flipped byte" => assert!(objects.rot(&names[1], 60, 0x10)),
        "truncated" => {
            let bytes = objects.snapshot()[&names[1]].clone();
            let short = bytes.slice(..bytes.len() - 10);
            let put = Put::new(names[1].clone(), short, &world.entropy).replacing();
            objects.put(put).await.unwrap();
        }
        "an orphan" => {
            stray(world, topic.partition(P0).unwrap().shard, 1, 0xffff).await;
            let name = BlobKey::new("cold/00/whatever").unwrap();
            let put = Put::new(name, "anything", &world.entropy);
            objects.put(put).await.unwrap();
        }
        "a row that leaves a gap" => {
            let rows = tiered(world, topic.partition(P0).unwrap().shard).await.rows;
            let mut tx = world.store.begin();
            keys::clear(tx.as_mut(), &rows[2].0);
            tx.commit().await.unwrap();
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_service_finds_what_a_stopped_one_does() {
    // Bad objects, gaps, orphans.
    for (what, expected) in [
        ("healthy", [0, 0, 0]),
        ("deleted", [1, 1, 0]),
        ("a flipped byte", [1, 0, 0]),
        ("truncated", [1, 1, 0]),
        ("an orphan", [0, 0, 2]),
        ("a row that leaves a gap", [0, 1, 1]),
    ] {
        let world = World::tiered(1);
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        fill(&p, &topic, 0, 150).await;
        pause(5).await;
        harm(&world, &topic, what).await;
        let beside = running(&p, everything()).await;
        p.stop().await;
        let objects = &world.cold.as_ref().unwrap().objects;
        let stopped = audit(&world.store, objects, &world.clock, i64::MAX).await;
        let stopped = stopped.unwrap();
        let found = [
            beside.bad.len(),
            beside.uncovered.len(),
            beside.orphans.len(),
        ];
        assert_eq!(found, expected, "{what}: {beside:?}");
        assert_eq!(beside.is_sound(), expected[..2] == [0, 0]);
        let lists = |a: Audit| (a.bad, a.uncovered, a.orphans);
        assert_eq!(lists(beside), lists(stopped), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_at_a_time_and_it_stops_when_nobody_listens() {
    let world = World::tiered(2);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 150).await;
    pause(5).await;
    let slow = AuditOptions {
        bytes_per_s: NonZeroU64::new(1_000),
        ..AuditOptions::default()
    };
    let mut first = p.log.audit(slow).unwrap();
    // At that rate it takes a minute, and tells that it goes on.
    assert!(first.next().await.unwrap().is_ok());
    let second = p.log.audit(slow);
    assert!(matches!(second, Err(AuditError::Running)), "{second:?}");
    drop(first);
    let began = world.clock.now();
    let found = running(&p, slow).await;
    let took = world.clock.now() - began;
    assert!(found.is_sound(), "{found:?}");
    let least = Duration::from_millis(found.totals.bytes) - Duration::from_secs(20);
    assert!(took > least, "{took:?} for {} bytes", found.totals.bytes);
}

/// Of a shard with more gaps than are told, the totals say how many were left out.
#[tokio::test(start_paused = true)]
async fn what_is_found_and_not_told_is_counted() {
    let world = World::tiered(4);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    p.stop().await;
    let (shard, partition) = (topic.partition(P0).unwrap().shard, topic.partition_id(P0));
    for gaps in [999, 1_000, 1_205] {
        let mut tx = world.store.begin();
        // Every other offset is in no row.
        for base in (0..gaps).map(|i| 2 * i + 1) {
            let end = Offset(base + 1);
            let key = Level1Key {
                shard,
                partition,
                end,
            };
            let row = Level1Row {
                base: Offset(base),
                object: None,
                clean: end,
                horizon_ms: None,
            };
            keys::put(tx.as_mut(), &key, &row);
        }
        tx.commit().await.unwrap();
        let objects = &world.cold.as_ref().unwrap().objects;
        let found = audit(&world.store, objects, &world.clock, i64::MAX).await;
        let found = found.unwrap();
        let told = found.uncovered.len() as u64;
        assert_eq!(told, gaps.min(1_000).unsigned_abs());
        assert_eq!(told + found.totals.omitted, gaps.unsigned_abs());
    }
}

/// Everything that changes rows and objects at once, with next to no grace: nothing of it is a finding.
#[tokio::test(start_paused = true)]
async fn nothing_is_found_beside_everything_that_changes_the_log() {
    let mut world = World::tiered(3);
    let config = &mut world.cold.as_mut().unwrap().config;
    config.segment_bytes = 20_000;
    config.compaction_period = Duration::from_secs(2);
    config.retention_period = Duration::from_secs(3);
    config.collect_period = Duration::from_secs(1);
    config.merge_objects = (2, 4);
    config.squeeze_objects = (2, 4);
    config.merge_partition_bytes = 1_000;
    config.clean_bytes = 1;
    config.grace = Duration::from_millis(500);
    config.second_delete = Duration::from_secs(5);
    config.reconcile_period = Duration::from_secs(60);
    let p = world.start().await;
    let small = [("retention.bytes", "30000")];
    let kept = p.topic_with("kept", 2, &[]).await;
    let short = p.topic_with("short", 2, &small).await;
    let audits = async {
        let (mut changed, mut objects) = (0, 0);
        pause(20).await;
        for round in 0..40 {
            let options = AuditOptions {
                bytes_per_s: NonZeroU64::new(20_000 << (round % 4)),
                ..everything()
            };
            let found = running(&p, options).await;
            assert!(found.is_sound() && found.orphans.is_empty(), "{found:?}");
            assert_eq!(found.totals.unchecked, 0);
            changed += found.totals.changed;
            objects += found.totals.objects;
        }
        (changed, objects)
    };
    let load = async {
        for round in 0.. {
            let name = format!("passing-{round}");
            let passing = p.topic(&name, 1).await;
            let topics: [&Arc<Topic>; 3] = [&kept, &short, &passing];
            for topic in topics {
                fill(&p, topic, round * 10, 10).await;
            }
            let _ = p
                .log
                .delete_records(&TENANT, &kept, P0, Some(Offset(round as i64 * 9)))
                .await;
            pause(1).await;
            p.topics
                .delete(&TENANT, TopicRef::Name(&name))
                .await
                .unwrap();
        }
    };
    let (changed, objects) = tokio::select! {
        biased;
        made = audits => made,
        () = load => unreachable!("it goes on"),
    };
    let counters = p.log.tier_counters();
    assert!(changed > 0 && objects > 100, "{changed} of {objects}");
    assert!(
        counters.compaction_puts > 10 && counters.objects_deleted > 50,
        "{counters:?}"
    );
    assert_eq!(counters.reconcile_condemned, 0);
}
