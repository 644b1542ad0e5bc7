//! Rolls: lost replies of both kinds, nothing acked meanwhile, pending acks that follow their offsets.

use std::time::Duration;

use tidemark_journal::memory::Faults;
use tidemark_journal::{Mutation, WriterEnd};
use tidemark_lease::{RollError, RollReason, roll_reason};

use crate::owner::{Owner, audit};
use crate::shaky::Fault;
use crate::world::{World, scenario};

#[test]
fn pending_acks_follow_their_offsets_into_the_next_extent() {
    let ran = scenario(|| async {
        let world = World::new(3, 2, 1);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        for round in 1..=4_usize {
            owner.append()?;
            owner.settle().await?;
            for replica in &world.replicas {
                replica.pause_appends();
            }
            for _ in 0..round {
                owner.append()?;
            }
            assert!(owner.roll().await?);
            // J13: the checkpoint took LSNs, so the same bodies have others now.
            assert_eq!(owner.pending.len(), 2 + round);
            for replica in &world.replicas {
                replica.resume_appends();
            }
            owner.settle().await?;
            assert!(owner.pending.is_empty());
        }
        assert_eq!(owner.state.len(), 4 + 1 + 2 + 3 + 4);
        drop(owner);
        audit(&world, 2).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn every_lost_reply_of_a_roll_is_settled_by_what_is_stored() {
    let faults = [
        None,
        Some(Fault::Conflict),
        Some(Fault::UnknownCommitted),
        Some(Fault::UnknownNotCommitted),
        Some(Fault::Unavailable),
    ];
    for case in 0..faults.len().pow(3) {
        let script: Vec<Option<Fault>> = (0..3)
            .map(|i| faults[case / faults.len().pow(i) % faults.len()])
            .collect();
        let ran = scenario(std::panic::AssertUnwindSafe(|| async {
            let world = World::new(3, 2, 2);
            let mut owner = Owner::start(&world, &world.start(1)).await?;
            owner.append()?;
            owner.settle().await?;
            owner.append()?;
            world.store.script(&script);
            assert!(owner.roll().await?);
            owner.append()?;
            owner.settle().await?;
            assert_eq!(owner.state.len(), 3);
            assert_eq!(world.extents().await.len(), 2);
            drop(owner);
            audit(&world, 2).await.map(drop)
        }));
        assert_eq!(ran, Ok(()), "{script:?}");
    }
}

/// J2. The roll is committed, its reply lost, the store away: frames that become durable in the old extent meanwhile
/// lie above its seal.
fn ack_during_roll(mutation: Option<Mutation>) -> Result<(), String> {
    scenario(move || async move {
        let mut world = World::new(3, 2, 3);
        world.config = world.config.mutated(mutation);
        let leases = world.start(1);
        let mut owner = Owner::start(&world, &leases).await?;
        let proposed = owner.writer.freeze();
        world.store.script(&[Some(Fault::UnknownCommitted)]);
        let gone = async {
            world.clock.sleep(Duration::from_millis(1)).await;
            world.store.knobs.lock().down = true;
        };
        let roll = leases.roll(&owner.ownership, &owner.writer, proposed);
        let (rolled, ()) = futures_util::join!(roll, gone);
        // Either the settling was quicker than the store's end, or the outcome is unknown.
        match rolled {
            Err(RollError::Unknown(_)) => {}
            Ok(_) => return Err("the store was to be away".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        owner.append()?;
        world.clock.sleep(Duration::from_secs(1)).await;
        owner.collect();
        let end = owner.writer.committed().borrow().end;
        if end > proposed {
            world.violation(format!("J2: committed {end}, proposed {proposed}"));
        }
        // A second try that fails for sure must not lift the cap: the first is still in doubt.
        let again = leases.roll(&owner.ownership, &owner.writer, proposed).await;
        assert!(matches!(again, Err(RollError::Unknown(_))), "{again:?}");
        assert_eq!(owner.writer.freeze(), proposed);
        drop(owner);
        audit(&world, 2).await.map(drop)
    })
}

#[test]
fn nothing_is_acked_while_a_rolls_outcome_is_unknown() {
    assert_eq!(ack_during_roll(None), Ok(()));
    let broken = ack_during_roll(Some(Mutation::AckDuringRoll));
    assert!(broken.is_err(), "J2");
}

#[test]
fn a_roll_that_did_not_happen_lifts_the_cap() {
    let ran = scenario(|| async {
        let world = World::new(1, 1, 4);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        world.store.knobs.lock().down = true;
        owner.append()?;
        assert!(!owner.roll().await?);
        owner.append()?;
        owner.settle().await?;
        assert_eq!(owner.state.len(), 2);
        drop(owner);
        audit(&world, 2).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

/// J2 and J11: which reasons count, and when.
#[test]
fn optional_rolls_wait_for_a_fresh_metadata_commit_and_a_slow_replica_is_no_reason() {
    let ran = scenario(|| async {
        let mut world = World::new(3, 2, 5);
        world.config.writer.lane_bytes_max = 2000;
        let leases = world.start(1);
        let mut owner = Owner::start(&world, &leases).await?;
        let old = Duration::from_secs(3600);
        assert!(leases.metadata_is_fresh());
        assert_eq!(roll_reason(&owner.writer, Duration::ZERO, true), None);
        assert_eq!(roll_reason(&owner.writer, old, true), Some(RollReason::Age));
        world.clock.sleep(Duration::from_millis(1500)).await;
        assert!(!leases.metadata_is_fresh());
        assert_eq!(roll_reason(&owner.writer, old, false), None);

        world.replicas[2].set_faults(Faults {
            delay_max: Duration::from_secs(9),
            ..Faults::default()
        });
        owner.append()?;
        owner.settle().await?;
        assert_eq!(
            roll_reason(&owner.writer, Duration::ZERO, true),
            None,
            "slow"
        );
        for _ in 0..40 {
            owner.append()?;
            owner.settle().await?;
        }
        assert_eq!(owner.writer.lost_replicas(), [world.replicas[2].node_id()]);
        let lost = Some(RollReason::ReplicaLost);
        assert_eq!(
            roll_reason(&owner.writer, Duration::ZERO, true),
            lost,
            "too far behind"
        );
        Ok(())
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn a_full_disk_ends_the_writer_and_a_roll_goes_on_elsewhere() {
    let ran = scenario(|| async {
        let mut world = World::new(2, 1, 6);
        world.config.copies = 1;
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        owner.append()?;
        owner.settle().await?;
        let used = owner.writer.extent().replicas.nodes()[0];
        let full = world.replicas.iter().find(|r| r.node_id() == used);
        full.expect("it is one of them").set_full(true);
        owner.append()?;
        owner.settle().await.unwrap_err();
        let ended = owner.writer.committed().borrow().ended.clone();
        assert_eq!(ended, Some(WriterEnd::Full { node: used }));
        world.nodes.remove(used);
        assert!(owner.roll().await?);
        owner.settle().await?;
        assert_eq!(owner.state.len(), 2);
        Ok(())
    });
    assert_eq!(ran, Ok(()));
}
