//! Committed offsets (invariant 12).

use std::time::Duration;

use tidemark_meta::MetaStore;
use tidemark_meta::keys::group::GroupCountKey;
use tidemark_meta::{Mode, keys};
use tidemark_types::limits::OFFSET_METADATA_BYTES_MAX;

use super::world::*;
use crate::*;

#[tokio::test(start_paused = true)]
async fn a_commit_is_read_back_and_survives_the_coordinator() {
    let mut world = World::new().await;
    assert_eq!(world.committed(0).await, None);
    let outcome = world
        .groups
        .commit_offsets(&TENANT, commit(None, &[0, 1], 5));
    assert!(outcome.await.unwrap().iter().all(|(_, _, o)| o.is_ok()));
    world.take_over().await;
    assert_eq!(world.committed(1).await, Some(5));
    let all = world
        .groups
        .fetch_offsets(&TENANT, GROUP, OffsetSelection::All)
        .await;
    assert_eq!(all.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_the_current_generation_commits() {
    let world = World::new().await;
    let member = world.assemble(&[None]).await.remove(0);
    let commits = |request| world.groups.commit_offsets(&TENANT, request);
    commits(commit(Some(&member), &[0], 1)).await.unwrap();
    let mut old = commit(Some(&member), &[0], 99);
    old.generation = 0;
    assert_eq!(commits(old).await, Err(GroupError::IllegalGeneration));
    let outside = commits(commit(None, &[0], 99)).await;
    assert_eq!(
        outside,
        Err(GroupError::UnknownMemberId),
        "K7: the group has members"
    );
    let mut fenced = commit(Some(&member), &[0], 99);
    fenced.instance_id = Some("i".to_owned());
    assert_eq!(commits(fenced).await, Err(GroupError::UnknownMemberId));
    assert_eq!(world.committed(0).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_bad_member_of_a_batch_fails_alone() {
    let world = World::new().await;
    let joined = world.assemble(&[None, None]).await;
    let mut bad = commit(Some(&joined[1]), &[1], 99);
    bad.generation = 7;
    let mut long = commit(Some(&joined[1]), &[2, 3], 4);
    long.offsets[0].committed.metadata = "x".repeat(OFFSET_METADATA_BYTES_MAX + 1);
    let commits = |request| world.groups.commit_offsets(&TENANT, request);
    let (good, bad, long) = tokio::join!(
        commits(commit(Some(&joined[0]), &[0], 3)),
        commits(bad),
        commits(long),
    );
    assert!(good.is_ok());
    assert_eq!(bad, Err(GroupError::IllegalGeneration));
    let long = long.unwrap();
    assert!(long[0].2.is_err() && long[1].2.is_ok());
    assert_eq!(world.committed(0).await, Some(3));
    assert_eq!(world.committed(1).await, None);
    assert_eq!(world.committed(2).await, None);
    assert_eq!(world.committed(3).await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn unknown_outcomes_of_both_kinds_are_resolved() {
    for fate in [Fate::LostReply, Fate::LostRequest, Fate::Conflict] {
        let world = World::new().await;
        let commits = |offset| {
            let request = commit(None, &[0], offset);
            world.groups.commit_offsets(&TENANT, request)
        };
        world.fate([fate]);
        assert!(commits(5).await.is_ok(), "{fate:?}");
        world.fate([fate, fate]);
        assert!(commits(6).await.is_ok(), "{fate:?}");
        assert_eq!(world.committed(0).await, Some(6));
        let mut tx = world.store.begin();
        let key = GroupCountKey {
            tenant: TENANT.id(),
        };
        let count = keys::get(tx.as_mut(), &key, Mode::Serializable);
        assert_eq!(count.await.unwrap().unwrap().0, 1, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_coordinator_commits_nothing() {
    let mut world = World::new().await;
    let member = world.assemble(&[None]).await.remove(0);
    let old = world.take_over().await;
    let late = old.commit_offsets(&TENANT, commit(Some(&member), &[0], 99));
    assert_eq!(late.await, Err(GroupError::NotCoordinator));
    assert_eq!(world.committed(0).await, None);
    let now = world
        .groups
        .commit_offsets(&TENANT, commit(Some(&member), &[0], 7));
    assert!(now.await.is_ok());
    assert_eq!(world.committed(0).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn a_commit_before_a_leave_counts() {
    let world = World::new().await;
    let member = world.assemble(&[None]).await.remove(0);
    let leaving = vec![Leaving {
        member_id: member.member_id.clone(),
        instance_id: None,
        reason: None,
    }];
    let (committed, left) = tokio::join!(
        world
            .groups
            .commit_offsets(&TENANT, commit(Some(&member), &[0], 8)),
        world.groups.leave(&TENANT, GROUP, leaving),
    );
    assert!(committed.is_ok() && left.is_ok());
    assert_eq!(world.committed(0).await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_thousands_of_partitions_is_stored_in_parts() {
    let world = World::new().await;
    let partitions: Vec<_> = (0..2_500).collect();
    let outcome = world
        .groups
        .commit_offsets(&TENANT, commit(None, &partitions, 1));
    assert_eq!(outcome.await.unwrap().len(), 2_500);
    let all = world
        .groups
        .fetch_offsets(&TENANT, GROUP, OffsetSelection::All)
        .await;
    assert_eq!(all.unwrap().len(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_a_bounded_number_of_groups() {
    let config = GroupsConfig {
        groups_per_tenant_max: 1,
        ..GroupsConfig::default()
    };
    let world = World::with(config).await;
    let first = commit(None, &[0], 1);
    world.groups.commit_offsets(&TENANT, first).await.unwrap();
    let mut second = commit(None, &[0], 1);
    second.group = "other".to_owned();
    let refused = world.groups.commit_offsets(&TENANT, second.clone()).await;
    assert!(matches!(refused, Err(GroupError::OverLimit(_))));
    world.groups.delete(&TENANT, GROUP).await.unwrap();
    world.groups.commit_offsets(&TENANT, second).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn offsets_of_a_deleted_topic_are_swept_with_their_group() {
    let world = World::new().await;
    let outcome = world.groups.commit_offsets(&TENANT, commit(None, &[0], 1));
    outcome.await.unwrap();
    world.clock.sleep(Duration::from_secs(1_300)).await;
    assert_eq!(world.committed(0).await, None, "topic 9 does not exist");
    assert!(world.groups.list(&TENANT).await.unwrap().is_empty());
}
