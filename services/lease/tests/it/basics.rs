//! The plain life of a shard.

use std::time::Duration;

use tidemark_lease::{Leases, OwnershipState, ProbeError, TakeError, require};
use tidemark_meta::{MetaStore, TransactError};
use tidemark_types::{Incarnation, NodeId};

use crate::owner::{Owner, audit};
use crate::world::{SHARD, World};

#[tokio::test(start_paused = true)]
async fn a_new_shard_is_served_and_a_restart_finds_everything() {
    for (n, a) in [(1, 1), (3, 2)] {
        let world = World::new(n, a, 1);
        let mut owner = Owner::start(&world, &world.start(1)).await.unwrap();
        assert!(owner.state.is_empty());
        for _ in 0..5 {
            owner.append().unwrap();
        }
        owner.settle().await.unwrap();
        drop(owner);
        let state = audit(&world, 2).await.unwrap();
        assert_eq!(state.len(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_incarnation_and_an_unproven_death_do_not_take() {
    let world = World::new(1, 1, 2);
    let _owner = Owner::start(&world, &world.start(5)).await.unwrap();
    let older = world.start(4).take(SHARD).await.unwrap_err();
    assert!(matches!(older, TakeError::Owned { .. }), "{older}");
    let other = world.start_node(2, 1).take(SHARD).await.unwrap_err();
    assert!(matches!(other, TakeError::Owned { .. }), "{other}");
}

#[tokio::test(start_paused = true)]
async fn a_superseded_process_takes_nothing() {
    let world = World::new(1, 1, 2);
    let node = NodeId(1);
    for expected in 1..=2 {
        let got = Leases::register(&world.store, &world.clock, &world.entropy, node).await;
        assert_eq!(got.unwrap(), Incarnation(expected));
    }
    let err = world.start(1).take(SHARD).await.unwrap_err();
    assert!(matches!(err, TakeError::Superseded { .. }), "{err}");
    world.start(2).take(SHARD).await.unwrap();
}

/// B1: the counter must stand still for a TTL of the observer's own heartbeats.
#[tokio::test(start_paused = true)]
async fn a_silent_node_is_taken_over_after_its_ttl_and_a_beating_one_never() {
    let world = World::new(3, 2, 3);
    let mut beating = Vec::new();
    for id in 1..=4 {
        let node = NodeId(id);
        let inc = Leases::register(&world.store, &world.clock, &world.entropy, node).await;
        let inc = inc.unwrap();
        beating.push(world.start_node(id, inc.0));
    }
    let dies = beating.remove(0);
    let _owner = Owner::start(&world, &dies).await.unwrap();
    for node in &beating {
        node.start_heartbeat();
    }
    world.clock.sleep(Duration::from_millis(6500)).await;
    let err = beating[0].take(SHARD).await.unwrap_err();
    assert!(matches!(err, TakeError::Owned { .. }), "{err}");
    world.clock.sleep(Duration::from_millis(1000)).await;
    let next = Owner::start(&world, &beating[0]).await.unwrap();
    world.clock.sleep(Duration::from_secs(60)).await;
    let err = beating[1].take(SHARD).await.unwrap_err();
    assert!(matches!(err, TakeError::Owned { .. }), "{err}");
    assert!(beating[0].metadata_is_fresh());
    drop(next);
}

/// B1: an observer whose own heartbeats fail credits nothing, however long it waits.
#[tokio::test(start_paused = true)]
async fn time_without_own_heartbeats_is_not_credited() {
    let world = World::new(1, 1, 4);
    for id in 1..=2 {
        let node = NodeId(id);
        Leases::register(&world.store, &world.clock, &world.entropy, node)
            .await
            .unwrap();
    }
    let _owner = Owner::start(&world, &world.start_node(1, 1)).await.unwrap();
    let observer = world.start_node(2, 1);
    observer.start_heartbeat();
    world.clock.sleep(Duration::from_secs(3)).await;
    world.store.knobs.lock().down = true;
    world.clock.sleep(Duration::from_secs(100)).await;
    assert!(!observer.metadata_is_fresh());
    world.store.knobs.lock().down = false;
    let err = observer.take(SHARD).await.unwrap_err();
    assert!(matches!(err, TakeError::Owned { .. }), "{err}");
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_is_taken_over_at_once_and_a_released_shard_too() {
    let world = World::new(3, 2, 5);
    let first = world.start_node(1, 1);
    let owner = Owner::start(&world, &first).await.unwrap();
    first.set_draining(true).await.unwrap();
    let second = world.start_node(2, 1);
    let owner2 = Owner::start(&world, &second).await.unwrap();
    drop(owner);
    owner2.writer.stop();
    second.release(&owner2.ownership).await.unwrap();
    second.release(&owner2.ownership).await.unwrap();
    Owner::start(&world, &world.start_node(3, 1)).await.unwrap();
    assert!(second.release(&owner2.ownership).await.is_err());
}

/// K1 and J9: a fenced owner proves nothing, commits nothing and hears of it.
#[tokio::test(start_paused = true)]
async fn a_zombie_proves_nothing_and_its_transactions_are_refused() {
    let world = World::new(3, 2, 6);
    let old = world.start(1);
    let mut zombie = Owner::start(&world, &old).await.unwrap();
    let extent = zombie.writer.extent().clone();
    old.probe(&zombie.ownership, &extent).await.unwrap();
    let mut watch = old.watch_ownership(&zombie.ownership);
    assert_eq!(*watch.borrow_and_update(), OwnershipState::Held);

    let _new = Owner::start(&world, &world.start(2)).await.unwrap();
    watch.changed().await.unwrap();
    assert!(matches!(*watch.borrow(), OwnershipState::Lost(_)));
    let err = old.probe(&zombie.ownership, &extent).await.unwrap_err();
    assert!(matches!(err, ProbeError::Fenced { .. }), "{err}");
    zombie.append().unwrap();
    zombie.settle().await.unwrap_err();
    let mut tx = world.store.begin();
    let refused = require::<tidemark_lease::NotOwner>(tx.as_mut(), &zombie.ownership).await;
    assert!(matches!(refused, Err(TransactError::Refused(_))));
    zombie.roll().await.unwrap_err();
    audit(&world, 3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_probe_needs_an_ack_quorum() {
    let world = World::new(3, 2, 7);
    let leases = world.start(1);
    let owner = Owner::start(&world, &leases).await.unwrap();
    let extent = owner.writer.extent().clone();
    world.replicas[0].set_reachable(false);
    leases.probe(&owner.ownership, &extent).await.unwrap();
    world.replicas[1].set_reachable(false);
    let err = leases.probe(&owner.ownership, &extent).await.unwrap_err();
    assert_eq!(
        err,
        ProbeError::Unproven {
            needed: 2,
            answered: 1
        }
    );
}

/// Shard actors are spawned: what they await must be `Send`.
#[tokio::test(start_paused = true)]
async fn the_operations_futures_are_send() {
    const fn is_send<T: Send>(_: &T) {}
    let world = World::new(1, 1, 8);
    let leases = world.start(1);
    is_send(&leases.take(SHARD));
    is_send(&leases.unclean_seal(SHARD));
    let owner = Owner::start(&world, &leases).await.unwrap();
    let end = owner.writer.freeze();
    is_send(&leases.roll(&owner.ownership, &owner.writer, end));
    is_send(&leases.release(&owner.ownership));
}
