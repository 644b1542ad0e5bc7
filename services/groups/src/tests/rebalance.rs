//! Members come, go and come back.

use super::world::*;
use crate::*;

#[tokio::test(start_paused = true)]
async fn members_that_come_together_share_the_first_generation() {
    let world = World::new().await;
    let joined = world.assemble(&[None, None, None]).await;
    assert!(joined.iter().all(|j| j.generation == 1));
    assert_eq!(
        joined.iter().filter(|j| j.leader == j.member_id).count(),
        1,
        "one leader"
    );
    assert_eq!(joined.iter().map(|j| j.members.len()).sum::<usize>(), 3);
    let described = world.groups.describe(&TENANT, GROUP).await.unwrap();
    assert_eq!(described.state, GroupState::Stable);
    assert_eq!(described.members.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_new_member_comes_back_with_the_id_it_was_given() {
    let world = World::new().await;
    let mut request = join("", None, "a");
    request.requires_known_member_id = true;
    let refused = world.joining(request.clone()).await.unwrap().unwrap_err();
    let GroupError::MemberIdRequired { member_id } = refused else {
        panic!("{refused}");
    };
    request.member_id.clone_from(&member_id);
    let joined = world.joining(request).await.unwrap().unwrap();
    assert_eq!(joined.member_id, member_id);
    let stranger = world.joining(join("made-up", None, "a")).await.unwrap();
    assert_eq!(stranger, Err(GroupError::UnknownMemberId));
}

#[tokio::test(start_paused = true)]
async fn a_second_member_makes_the_first_rejoin() {
    let world = World::new().await;
    let first = world.assemble(&[None]).await.remove(0);
    let second = world.joining(join("", None, "a"));
    world.sleep(1).await;
    assert_eq!(
        world.heartbeat(&first).await,
        Err(GroupError::RebalanceInProgress)
    );
    let again = world.joining(join(&first.member_id, None, "a"));
    let joined = [
        again.await.unwrap().unwrap(),
        second.await.unwrap().unwrap(),
    ];
    assert_eq!(joined[0].generation, 2);
    assert_eq!(joined[0].leader, first.member_id, "the leader stays");
    world.settle(&joined).await;
    assert_eq!(
        world.heartbeat(&first).await,
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(world.heartbeat(&joined[1]).await, Ok(()));
}

/// KIP-429: what a member owns is in its metadata; once it has revoked it rejoins, and that rebalances.
#[tokio::test(start_paused = true)]
async fn a_cooperative_member_rejoins_after_revoking() {
    let world = World::new().await;
    let joined = world.assemble(&[None, None]).await;
    let (leader, follower) = if joined[0].leader == joined[0].member_id {
        (&joined[0], &joined[1])
    } else {
        (&joined[1], &joined[0])
    };
    let same = world.joining(join(&follower.member_id, None, "a"));
    assert_eq!(
        same.await.unwrap().unwrap().generation,
        1,
        "nothing new, no rebalance"
    );
    let revoked = world.joining(join(&follower.member_id, None, "owns less"));
    world.sleep(1).await;
    assert_eq!(
        world.heartbeat(leader).await,
        Err(GroupError::RebalanceInProgress)
    );
    let leads = world.joining(join(&leader.member_id, None, "a"));
    assert_eq!(revoked.await.unwrap().unwrap().generation, 2);
    assert_eq!(leads.await.unwrap().unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_member_expires_and_the_others_go_on() {
    let world = World::new().await;
    let joined = world.assemble(&[None, None]).await;
    let (alive, silent) = (&joined[0], &joined[1]);
    for _ in 0..3 {
        world.sleep(4).await;
        let _ = world.heartbeat(alive).await;
    }
    assert_eq!(
        world.heartbeat(silent).await,
        Err(GroupError::UnknownMemberId)
    );
    let again = world.joining(join(&alive.member_id, None, "a"));
    let next = again.await.unwrap().unwrap();
    assert_eq!((next.generation, next.members.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_static_member_restarts_without_a_rebalance() {
    let world = World::new().await;
    let joined = world.assemble(&[Some("i1"), Some("i2")]).await;
    for (who, instance) in ["i1", "i2"].into_iter().enumerate() {
        let again = world.joining(join("", Some(instance), "a"));
        let again = again.await.unwrap().unwrap();
        assert_eq!(again.generation, 1);
        assert_ne!(again.member_id, joined[who].member_id);
        let led = joined[who].leader == joined[who].member_id;
        assert_eq!(again.skip_assignment, led, "KIP-814");
        let synced = world.groups.sync(&TENANT, sync(&again)).await.unwrap();
        assert_eq!(
            synced.assignment,
            joined[who].member_id.as_bytes(),
            "the old assignment"
        );
        let mut old = sync(&joined[who]);
        old.instance_id = Some(instance.to_owned());
        let fenced = world.groups.sync(&TENANT, old).await;
        assert_eq!(fenced, Err(GroupError::FencedInstanceId));
        assert_eq!(world.heartbeat(&again).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_static_leader_is_shown_its_old_id_as_leader() {
    let world = World::new().await;
    let joined = world.assemble(&[Some("i1")]).await.remove(0);
    let mut request = join("", Some("i1"), "a");
    request.can_skip_assignment = false;
    let again = world.joining(request).await.unwrap().unwrap();
    assert_eq!(again.leader, joined.member_id);
    assert!(!again.skip_assignment && again.members.is_empty());
}

#[tokio::test(start_paused = true)]
async fn members_leave_in_a_batch_and_the_group_is_empty() {
    let world = World::new().await;
    let joined = world.assemble(&[None, Some("i2")]).await;
    let leaving = vec![
        Leaving {
            member_id: joined[0].member_id.clone(),
            instance_id: None,
            reason: None,
        },
        Leaving {
            member_id: String::new(),
            instance_id: Some("i2".to_owned()),
            reason: None,
        },
        Leaving {
            member_id: "nobody".to_owned(),
            instance_id: None,
            reason: None,
        },
    ];
    let left = world.groups.leave(&TENANT, GROUP, leaving).await.unwrap();
    let errors: Vec<_> = left.iter().map(|l| l.error).collect();
    assert_eq!(
        errors,
        [None, None, Some(tidemark_types::ErrorCode::UnknownMemberId)]
    );
    let described = world.groups.describe(&TENANT, GROUP).await.unwrap();
    assert_eq!(described.state, GroupState::Empty);
    let listed = world.groups.list(&TENANT).await.unwrap();
    assert_eq!(listed[0].group, GROUP);
    world.groups.delete(&TENANT, GROUP).await.unwrap();
    assert!(world.groups.list(&TENANT).await.unwrap().is_empty());
    assert_eq!(
        world.groups.describe(&TENANT, GROUP).await,
        Err(GroupError::NotFound)
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_group_takes_no_more() {
    let config = GroupsConfig {
        members_max: 2,
        ..GroupsConfig::default()
    };
    let world = World::with(config).await;
    world.assemble(&[None, Some("i")]).await;
    let third = world.joining(join("", None, "a")).await.unwrap();
    assert_eq!(third, Err(GroupError::GroupMaxSizeReached { max: 2 }));
    let back = world.joining(join("", Some("i"), "a")).await.unwrap();
    assert!(back.is_ok(), "a static member takes its own place");
}

#[tokio::test(start_paused = true)]
async fn members_that_do_not_sync_are_dropped() {
    let world = World::new().await;
    let joins = [
        world.joining(join("", None, "a")),
        world.joining(join("", None, "a")),
    ];
    let mut joined = Vec::new();
    for join in joins {
        joined.push(join.await.unwrap().unwrap());
    }
    joined.sort_by_key(|j| j.leader != j.member_id);
    let follower = sync(&joined[1]);
    let groups = world.groups.clone();
    let waiting = spawn(async move { groups.sync(&TENANT, follower).await });
    for _ in 0..13 {
        world.sleep(5).await;
        let _ = world.heartbeat(&joined[0]).await;
    }
    assert_eq!(
        waiting.await.unwrap(),
        Err(GroupError::RebalanceInProgress),
        "the leader is gone, the follower must rejoin"
    );
    assert_eq!(
        world.heartbeat(&joined[0]).await,
        Err(GroupError::UnknownMemberId)
    );
}
