//! Another coordinator goes on where the last one was.

use super::world::*;
use crate::*;

#[tokio::test(start_paused = true)]
async fn members_go_on_with_a_heartbeat() {
    let mut world = World::new().await;
    let joined = world.assemble(&[None, Some("i"), None]).await;
    world.sleep(8).await;
    world.take_over().await;
    for member in &joined {
        assert_eq!(world.heartbeat(member).await, Ok(()));
    }
    world.sleep(8).await;
    for member in &joined {
        assert_eq!(
            world.heartbeat(member).await,
            Ok(()),
            "K7: a whole session timeout"
        );
        let synced = world.groups.sync(&TENANT, sync(member)).await.unwrap();
        assert_eq!(synced.assignment, member.member_id.as_bytes());
    }
    let again = world.joining(join("", Some("i"), "a")).await.unwrap();
    assert_eq!(again.unwrap().generation, 1, "still no rebalance");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_was_told_is_never_given_again() {
    let mut world = World::new().await;
    let first = world.assemble(&[None]).await.remove(0);
    let second = world.joining(join("", None, "a"));
    world.sleep(1).await;
    let again = world.joining(join(&first.member_id, None, "a"));
    let told = again.await.unwrap().unwrap();
    let newcomer = second.await.unwrap().unwrap();
    assert_eq!(told.generation, 2);
    // The leader has not synced when the coordinator dies: the stored generation is the first.
    world.take_over().await;
    let late = world.groups.sync(&TENANT, sync(&told)).await;
    assert_eq!(late, Err(GroupError::IllegalGeneration));
    assert_eq!(
        world.heartbeat(&newcomer).await,
        Err(GroupError::UnknownMemberId)
    );
    assert_eq!(world.heartbeat(&first).await, Ok(()));
    let stale = commit(Some(&told), &[0], 99);
    let stale = world.groups.commit_offsets(&TENANT, stale).await;
    assert_eq!(stale, Err(GroupError::IllegalGeneration));
    let rejoined = world.joining(join(&first.member_id, None, "a"));
    assert_eq!(rejoined.await.unwrap().unwrap().generation, 3);
}

#[tokio::test(start_paused = true)]
async fn members_that_died_with_the_coordinator_expire() {
    let mut world = World::new().await;
    world.assemble(&[None, None]).await;
    world.take_over().await;
    // Nobody calls: the sweep loads the group, and time does the rest.
    world.sleep(60).await;
    let described = world.groups.describe(&TENANT, GROUP).await.unwrap();
    assert_eq!(described.state, GroupState::Empty);
}

#[tokio::test(start_paused = true)]
async fn unknown_outcomes_during_a_rebalance_are_resolved() {
    for fate in [Fate::LostReply, Fate::LostRequest] {
        let world = World::new().await;
        world.fate([fate, fate, fate]);
        let joined = world.assemble(&[None, None]).await;
        assert_eq!(joined[0].generation, 1, "{fate:?}");
        assert_eq!(world.heartbeat(&joined[1]).await, Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_coordinator_tells_its_waiting_members() {
    let mut world = World::new().await;
    let waiting = world.joining(join("", None, "a"));
    world.clock.sleep(std::time::Duration::from_millis(1)).await;
    world.take_over().await;
    assert_eq!(waiting.await.unwrap(), Err(GroupError::NotCoordinator));
}

#[tokio::test(start_paused = true)]
async fn a_large_group_is_stored_in_chunks() {
    let mut world = World::new().await;
    let mut big = join("", None, "a");
    big.protocols[0].metadata = vec![7; 200_000].into();
    let joined = world.joining(big).await.unwrap().unwrap();
    world.settle(std::slice::from_ref(&joined)).await;
    world.take_over().await;
    assert_eq!(world.heartbeat(&joined).await, Ok(()));
    let mut huge = join("", None, "a");
    huge.protocols[0].metadata = vec![7; 500_000].into();
    let refused = world.joining(huge).await.unwrap();
    assert!(matches!(refused, Err(GroupError::OverLimit(_))));
}
