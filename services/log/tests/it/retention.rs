//! Retention, DeleteRecords and deleted topics: where partitions begin, and what becomes of the objects.

use std::time::Duration;

use tidemark_log::{Isolation, OffsetSpec, TruncateError};
use tidemark_topics::{ConfigOp, TopicRef};
use tidemark_types::{Coded, ErrorCode, Offset, ShardId};

use crate::tiering::{audit, fill, held, pause, tiered};
use crate::world::{P0, TENANT, World};

async fn earliest(
    p: &crate::world::Process,
    topic: &std::sync::Arc<tidemark_topics::Topic>,
) -> i64 {
    let (spec, isolation) = (OffsetSpec::Earliest, Isolation::ReadUncommitted);
    let found = p.log.list_offset(&TENANT, topic, P0, spec, isolation).await;
    found.unwrap().offset.0
}

#[tokio::test(start_paused = true)]
async fn deleted_records_are_gone_for_every_reader_and_their_objects_after_the_grace() {
    let world = World::tiered(30);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 100).await;
    pause(10).await;
    let delete = |before| p.log.delete_records(&TENANT, &topic, P0, before);
    for bad in [-2, 201] {
        let refused = delete(Some(Offset(bad))).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::OffsetOutOfRange, "{bad}");
    }
    assert_eq!(delete(Some(Offset(101))).await.unwrap(), Offset(101));
    assert_eq!(delete(Some(Offset(7))).await.unwrap(), Offset(101));
    assert_eq!(earliest(&p, &topic).await, 101);
    assert_eq!(p.read_all(&topic, P0, 101).await.len(), 99);
    let fetched = p.fetch(&topic, P0, 100, 1_000).await;
    assert_eq!(fetched.error, Some(ErrorCode::OffsetOutOfRange));
    let before = held(&world).await;
    pause(120).await;
    assert_eq!(held(&world).await, before, "not before the grace");
    pause(10 * 60).await;
    let left = held(&world).await;
    assert!(left < before, "{left} of {before}");
    assert_eq!(p.read_all(&topic, P0, 101).await.len(), 99);
    p.stop().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    assert_eq!(earliest(&p, &topic).await, 101);
    assert_eq!(
        p.log
            .delete_records(&TENANT, &topic, P0, None)
            .await
            .unwrap(),
        Offset(200)
    );
    assert_eq!(p.read_all(&topic, P0, 200).await, []);
    p.append(&topic, &["next"]).await.unwrap();
    assert_eq!(
        p.read_all(&topic, P0, 200).await,
        [(200, "next".to_owned())]
    );
    audit(&world).await;
}

#[tokio::test(start_paused = true)]
async fn compact_only_topics_refuse_deletion_by_offset() {
    let world = World::tiered(31);
    let p = world.start().await;
    let topic = p.topic_with("c", 1, &[("cleanup.policy", "compact")]).await;
    let refused = p.log.delete_records(&TENANT, &topic, P0, None).await;
    assert_eq!(refused, Err(TruncateError::Compacted));
}

#[tokio::test(start_paused = true)]
async fn time_and_size_limits_hold_from_the_moment_they_are_set() {
    let world = World::tiered(32);
    let p = world.start().await;
    let topic = p.topic_with("t", 1, &[("retention.ms", "-1")]).await;
    let shard = topic.partition(P0).unwrap().shard;
    fill(&p, &topic, 0, 100).await;
    pause(2 * 60 * 60).await;
    assert_eq!(earliest(&p, &topic).await, 0);
    let set = |name: &str, value: &str| {
        let set = ConfigOp::Set {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        p.topics.alter_config(&TENANT, "t", vec![set], false)
    };
    let all: u64 = tiered(&world, shard)
        .await
        .rows
        .iter()
        .map(|(_, row)| row.bytes)
        .sum();
    set("retention.bytes", &(all / 2).to_string())
        .await
        .unwrap();
    pause(120).await;
    let half = earliest(&p, &topic).await;
    assert!(half > 40 && half < 120, "{half}");
    let topic = p.find("t").await;
    assert_eq!(p.read_all(&topic, P0, half).await.len() as i64, 200 - half);
    fill(&p, &topic, 100, 60).await;
    set("retention.ms", "3600000").await.unwrap();
    pause(120).await;
    let fresh = earliest(&p, &topic).await;
    assert!((half + 1..=201).contains(&fresh), "{fresh}");
    assert_eq!(
        p.read_all(&topic, P0, fresh).await.len() as i64,
        320 - fresh
    );
    pause(3_700).await;
    // What is hot waits: the rest is past its time.
    let last = earliest(&p, &topic).await;
    assert!(last > 280, "{last}");
    world.fill_disks(0);
    pause(3_000).await;
    let left = tiered(&world, shard).await;
    assert_eq!((left.rows.len(), left.garbage), (0, 0));
    assert_eq!(held(&world).await, 0);
    audit(&world).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topics_objects_go_and_one_of_the_same_name_is_another() {
    let world = World::tiered(33);
    let p = world.start().await;
    let (topic, other) = (p.topic("t", 2).await, p.topic("other", 2).await);
    fill(&p, &topic, 0, 100).await;
    pause(10).await;
    p.topics.delete(&TENANT, TopicRef::Name("t")).await.unwrap();
    let again = p.topic("t", 2).await;
    assert_ne!(again.id, topic.id);
    fill(&p, &again, 500, 5).await;
    fill(&p, &other, 0, 5).await;
    assert_eq!(p.read_all(&again, P0, 0).await.len(), 10);
    let before = held(&world).await;
    world.fill_disks(0);
    pause(3_000).await;
    assert!(held(&world).await < before);
    let mut rows = 0;
    for shard in [ShardId(0), ShardId(1)] {
        let tiered = tiered(&world, shard).await;
        assert_eq!((tiered.pending, tiered.garbage), (0, 0));
        rows += tiered.rows.len();
    }
    audit(&world).await;
    assert_eq!(held(&world).await, rows);
    assert_eq!(p.read_all(&again, P0, 0).await.len(), 10);
    tokio::time::sleep(Duration::from_secs(1)).await;
}
