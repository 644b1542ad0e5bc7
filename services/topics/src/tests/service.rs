//! One process.

use tidemark_types::{Coded, ErrorCode, PartitionIndex, TopicUuid};

use super::*;
use crate::{ConfigOp, ConfigSource, TopicError, TopicRef};

fn set(name: &str, value: &str) -> ConfigOp {
    ConfigOp::Set {
        name: name.into(),
        value: value.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_created_topic_is_found_every_way() {
    let mut world = World::new(1);
    let (maker, other) = (world.process(), world.process());
    let made = maker.create(&TENANT, new("orders.eu", 6)).await.unwrap();
    assert_eq!(made.created_ms, NOW_MS);
    assert_ne!(made.uuid, TopicUuid::ZERO);
    for topics in [&maker, &other] {
        let found = topics.lookup(&TENANT, "orders.eu").await.unwrap();
        assert_eq!(found.as_ref(), Some(&made));
        let by_uuid = topics.lookup_uuid(&TENANT, made.uuid).await.unwrap();
        assert_eq!(by_uuid.as_ref(), Some(&made));
        assert_eq!(topics.get(made.id).await.unwrap().as_ref(), Some(&made));
        let listed = topics.list(&TENANT).await.unwrap();
        assert_eq!(listed.as_slice(), std::slice::from_ref(&made));
        assert_eq!(topics.cached(&TENANT, "orders.eu"), Some(made.clone()));
    }
    assert!(made.partition(PartitionIndex(5)).is_some());
    assert!(made.partition(PartitionIndex(6)).is_none());
    assert!(made.partition(PartitionIndex(-1)).is_none());
    assert_eq!(world.all_rows().await, [1, 1, 1, 6, 6]);
}

#[tokio::test(start_paused = true)]
async fn partitions_go_round_the_shards() {
    let topics = World::new(2).process();
    let made = topics.create(&TENANT, new("a", 8)).await.unwrap();
    for shard in 0..SHARDS {
        let held = made.partitions.iter().filter(|p| p.shard.0 == shard);
        assert_eq!(held.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn names_follow_kafkas_rules() {
    let topics = World::new(3).process();
    let create = |name: &'static str| topics.create(&TENANT, new(name, 1));
    create("a.b").await.unwrap();
    let exists = create("a.b").await.unwrap_err();
    assert_eq!(exists.code(), ErrorCode::TopicAlreadyExists);
    let collides = create("a_b").await.unwrap_err();
    assert_eq!(collides.code(), ErrorCode::InvalidTopicName);
    assert_eq!(
        collides.to_string(),
        "Topic 'a_b' collides with existing topic: a.b"
    );
    let bad = create("a b").await.unwrap_err();
    assert_eq!(bad.code(), ErrorCode::InvalidTopicName);
    let reserved = create("__consumer_offsets").await.unwrap_err();
    assert_eq!(reserved.code(), ErrorCode::InvalidRequest);
    for absent in ["a_b", "a b", "__consumer_offsets", ""] {
        assert!(topics.lookup(&TENANT, absent).await.unwrap().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn counts_and_configs_are_checked_before_anything_is_made() {
    let mut world = World::new(4);
    let topics = world.process();
    for (count, code) in [
        (0, ErrorCode::InvalidPartitions),
        (-1, ErrorCode::InvalidPartitions),
        (100_001, ErrorCode::InvalidPartitions),
    ] {
        let error = topics.create(&TENANT, new("a", count)).await.unwrap_err();
        assert_eq!(error.code(), code);
    }
    let bad = configured("a", &[("retention.ms", "x")]);
    let error = topics.create(&TENANT, bad).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    let dry = NewTopic {
        validate_only: true,
        ..configured("a", &[("retention.ms", "5")])
    };
    let imagined = topics.create(&TENANT, dry.clone()).await.unwrap();
    assert_eq!(imagined.config.retention_ms, Some(5));
    assert_eq!(world.all_rows().await, [0; 5]);
    topics.create(&TENANT, new("a", 1)).await.unwrap();
    let error = topics.create(&TENANT, dry).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::TopicAlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_leaves_nothing_and_its_name_makes_another_topic() {
    let mut world = World::new(5);
    let topics = world.process();
    let mut deleted = topics.subscribe_deleted();
    let first = topics.create(&TENANT, new("a", 3)).await.unwrap();
    let gone = topics.delete(&TENANT, TopicRef::Name("a")).await.unwrap();
    assert_eq!((gone.id, gone.uuid), (first.id, first.uuid));
    assert_eq!(deleted.recv().await.unwrap(), first.id);
    assert_eq!(world.all_rows().await, [0; 5]);
    assert!(topics.get(first.id).await.unwrap().is_none());
    let second = topics.create(&TENANT, new("a", 1)).await.unwrap();
    assert_ne!((second.id, second.uuid), (first.id, first.uuid));
    let error = topics
        .delete(&TENANT, TopicRef::Uuid(first.uuid))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnknownTopicId);
    let gone = topics
        .delete(&TENANT, TopicRef::Uuid(second.uuid))
        .await
        .unwrap();
    assert_eq!(gone.name, "a");
    let error = topics
        .delete(&TENANT, TopicRef::Name("a"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(start_paused = true)]
async fn partitions_are_added_and_never_removed() {
    let mut world = World::new(6);
    let topics = world.process();
    let made = topics.create(&TENANT, new("a", 2)).await.unwrap();
    let grow = |total, dry| topics.create_partitions(&TENANT, "a", total, dry);
    assert_eq!(grow(5, true).await.unwrap().partitions.len(), 5);
    assert_eq!(world.all_rows().await[3], 2);
    let grown = grow(5, false).await.unwrap();
    assert_eq!(grown.partitions[..2], made.partitions[..]);
    assert_eq!(grown.partitions.len(), 5);
    assert_eq!(topics.cached(&TENANT, "a"), Some(grown));
    for total in [5, 4, 0, 100_001] {
        let error = grow(total, false).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidPartitions, "{total}");
    }
    let error = topics
        .create_partitions(&TENANT, "b", 5, false)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(start_paused = true)]
async fn config_changes_are_seen_at_once_and_all_or_none() {
    let topics = World::new(7).process();
    let made = topics.create(&TENANT, new("a", 1)).await.unwrap();
    let alter = |ops, dry| topics.alter_config(&TENANT, "a", ops, dry);
    let dry = alter(vec![set("retention.ms", "9")], true).await.unwrap();
    assert_eq!(dry.config.retention_ms, Some(9));
    assert_eq!(topics.cached(&TENANT, "a"), Some(made.clone()));
    let altered = alter(vec![set("retention.ms", "7")], false).await.unwrap();
    assert_eq!(altered.config.retention_ms, Some(7));
    assert!(altered.revision > made.revision);
    let same = alter(vec![set("retention.ms", "7")], false).await.unwrap();
    assert_eq!(same.revision, altered.revision);
    let half = vec![set("flush.ms", "1"), set("retention.ms", "x")];
    assert!(matches!(
        alter(half, false).await,
        Err(TopicError::Config(_))
    ));
    assert_eq!(topics.cached(&TENANT, "a"), Some(altered.clone()));
    let entries = topics.describe_config(&altered);
    let own: Vec<_> = entries
        .iter()
        .filter(|e| e.source == ConfigSource::Topic)
        .map(|e| e.spec.name)
        .collect();
    assert_eq!(own, ["retention.ms"]);
}

#[tokio::test(start_paused = true)]
async fn auto_creation_uses_the_defaults_and_happens_once() {
    let mut world = World::new(8);
    let (a, b) = (world.process(), world.process());
    let (x, y) = tokio::join!(
        a.lookup_or_create(&TENANT, "auto"),
        b.lookup_or_create(&TENANT, "auto")
    );
    let (x, y) = (x.unwrap(), y.unwrap());
    assert_eq!(x.id, y.id);
    assert_eq!(x.partitions.len(), 1);
    assert_eq!(world.all_rows().await[0], 1);
    assert!(a.lookup_or_create(&TENANT, "not ok").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_topic_of_many_partitions_is_made_grown_and_deleted_in_steps() {
    let mut world = World::new(9);
    let topics = world.process();
    let made = topics.create(&TENANT, new("big", 5_000)).await.unwrap();
    assert_eq!(made.partitions.len(), 5_000);
    let grown = topics
        .create_partitions(&TENANT, "big", 7_001, false)
        .await
        .unwrap();
    assert_eq!(grown.partitions.len(), 7_001);
    let stored = world.process().lookup(&TENANT, "big").await.unwrap();
    assert_eq!(stored, Some(grown));
    assert_eq!(world.all_rows().await, [1, 1, 1, 7_001, 7_001]);
    topics.delete(&TENANT, TopicRef::Name("big")).await.unwrap();
    assert_eq!(world.all_rows().await, [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn cached_topics_are_served_while_the_store_is_down() {
    let mut world = World::new(10);
    let topics = world.process();
    let made = topics.create(&TENANT, new("a", 1)).await.unwrap();
    topics.list(&TENANT).await.unwrap();
    world.faults.down_after(0);
    assert_eq!(
        topics.lookup(&TENANT, "a").await.unwrap(),
        Some(made.clone())
    );
    assert_eq!(topics.list(&TENANT).await.unwrap(), [made]);
    let error = topics.lookup(&TENANT, "b").await.unwrap_err();
    assert!(error.code().is_retriable());
    let error = topics.create(&TENANT, new("b", 1)).await.unwrap_err();
    assert!(error.code().is_retriable());
}
