//! Several processes, and what a crash leaves behind.

use std::time::Duration;

use tidemark_runtime::Tasks;

use super::*;
use crate::{ConfigOp, TopicRef};

/// Longer than any process takes to follow a change.
const FOLLOWED: Duration = Duration::from_secs(3);

async fn two_processes(seed: u64) -> (World, Topics, Topics, Tasks) {
    let mut world = World::new(seed);
    let (a, b) = (world.process(), world.process());
    let tasks = Tasks::new();
    a.follow(&tasks);
    b.follow(&tasks);
    (world, a, b, tasks)
}

#[tokio::test(start_paused = true)]
async fn changes_of_one_process_reach_the_caches_of_another() {
    let (world, a, b, _tasks) = two_processes(20).await;
    let kept = a.create(&TENANT, new("kept", 1)).await.unwrap();
    let gone = a.create(&TENANT, new("gone", 1)).await.unwrap();
    assert_eq!(b.list(&TENANT).await.unwrap().len(), 2);
    world.clock.sleep(FOLLOWED).await;
    let mut deleted = b.subscribe_deleted();
    let set = ConfigOp::Set {
        name: "retention.ms".into(),
        value: "5".into(),
    };
    a.alter_config(&TENANT, "kept", vec![set], false)
        .await
        .unwrap();
    a.delete(&TENANT, TopicRef::Name("gone")).await.unwrap();
    a.create(&TENANT, new("more", 2)).await.unwrap();
    world.clock.sleep(FOLLOWED).await;
    assert_eq!(deleted.recv().await.unwrap(), gone.id);
    let cached = b.cached(&TENANT, "kept").unwrap();
    assert_eq!((cached.id, cached.config.retention_ms), (kept.id, Some(5)));
    assert!(b.cached(&TENANT, "gone").is_none());
    assert!(b.cached(&TENANT, "more").is_some());
    assert_eq!(
        seen(&b.list(&TENANT).await.unwrap()),
        seen(&a.list(&TENANT).await.unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_delays_following_but_loses_no_change() {
    let (world, a, b, _tasks) = two_processes(21).await;
    a.create(&TENANT, new("a", 1)).await.unwrap();
    b.list(&TENANT).await.unwrap();
    world.clock.sleep(FOLLOWED).await;
    a.delete(&TENANT, TopicRef::Name("a")).await.unwrap();
    world.faults.down_after(0);
    world.clock.sleep(FOLLOWED).await;
    assert!(b.cached(&TENANT, "a").is_some());
    world.faults.up();
    world.clock.sleep(FOLLOWED).await;
    assert!(b.cached(&TENANT, "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_creation_cut_off_is_finished_by_the_next_one_and_stays_invisible_till_then() {
    let mut world = World::new(22);
    let (a, b) = (world.process(), world.process());
    world.faults.down_after(2);
    assert!(a.create(&TENANT, new("big", 3_000)).await.is_err());
    world.faults.up();
    assert!(b.lookup(&TENANT, "big").await.unwrap().is_none());
    assert!(b.list(&TENANT).await.unwrap().is_empty());
    let error = b.create(&TENANT, new("big", 3)).await.unwrap_err();
    assert!(matches!(error, crate::TopicError::Exists { .. }));
    let found = b.lookup(&TENANT, "big").await.unwrap().unwrap();
    assert_eq!(found.partitions.len(), 3_000);
    assert_eq!(world.all_rows().await, [1, 1, 1, 3_000, 3_000]);
}

#[tokio::test(start_paused = true)]
async fn what_a_crash_left_is_finished_by_whoever_lists() {
    for survived in 1..4 {
        let mut world = World::new(30 + survived);
        let (a, b) = (world.process(), world.process());
        let tasks = Tasks::new();
        b.follow(&tasks);
        a.create(&TENANT, new("shrunk", 3_000)).await.unwrap();
        a.create(&TENANT, new("grown", 10)).await.unwrap();
        world.faults.down_after(survived);
        assert!(
            a.create_partitions(&TENANT, "grown", 4_000, false)
                .await
                .is_err()
        );
        world.faults.down_after(survived);
        a.delete(&TENANT, TopicRef::Name("shrunk")).await.unwrap();
        world.faults.up();
        let listed = b.list(&TENANT).await.unwrap();
        assert_eq!(
            listed.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
            ["grown"]
        );
        assert_eq!(listed[0].partitions.len(), 10);
        world.clock.sleep(Duration::from_secs(30)).await;
        assert_eq!(world.all_rows().await, [1, 1, 1, 4_000, 4_000]);
        let grown = b.cached(&TENANT, "grown").unwrap();
        assert_eq!(grown.partitions.len(), 4_000);
        tasks.shutdown(FOLLOWED).await.unwrap();
    }
}
