//! Groups and their committed offsets.

use tidemark_groups::{CommitRequest, CommittedOffset, OffsetToCommit};
use tidemark_types::{LeaderEpoch, Offset, PartitionIndex};

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn committed_offsets_have_a_lag() {
    let world = World::with_topic(2).await;
    for _ in 0..5 {
        world
            .produce("?partition=1", r#"{"records":[{"value":"v"}]}"#)
            .await
            .ok();
    }
    let topic = world
        .topics
        .lookup(&world.tenant, "t")
        .await
        .unwrap()
        .unwrap();
    let request = CommitRequest {
        group: "g 1".to_owned(),
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        retention: None,
        offsets: vec![OffsetToCommit {
            topic: topic.id,
            partition: PartitionIndex(1),
            committed: CommittedOffset {
                offset: Offset(2),
                leader_epoch: LeaderEpoch(-1),
                metadata: "note".to_owned(),
            },
        }],
    };
    let outcomes = world
        .groups
        .commit_offsets(&world.tenant, request)
        .await
        .unwrap();
    assert!(
        outcomes.iter().all(|(.., outcome)| outcome.is_ok()),
        "{outcomes:?}"
    );
    let offsets = world.get("/v1/groups/g%201/offsets").await.ok();
    assert_eq!(offsets["lag"], 3);
    let one = &offsets["offsets"][0];
    assert_eq!(one["topic"], "t");
    assert_eq!(one["partition"], 1);
    assert_eq!(one["offset"], 2);
    assert_eq!(one["high_watermark"], 5);
    assert_eq!(one["metadata"], "note");
    let listed = world.get("/v1/groups").await.ok();
    assert_eq!(listed["groups"][0]["group"], "g 1");
    assert_eq!(listed["groups"][0]["state"], "Empty");
    assert_eq!(
        world.get("/v1/groups/g%201").await.ok()["members"],
        serde_json::json!([])
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_groups() {
    let world = World::ready().await;
    world
        .get("/v1/groups/none")
        .await
        .problem(404, "group_id_not_found");
    let offsets = world.get("/v1/groups/none/offsets").await.ok();
    assert_eq!(offsets["offsets"], serde_json::json!([]));
}
