//! Damaged replicas: when a shard stays closed, when it does not have to, and the operator's way on (J5, J10).

use std::time::Duration;

use tidemark_journal::Mutation;
use tidemark_lease::TakeError;
use tidemark_types::Lsn;

use crate::owner::{Owner, audit, replay};
use crate::takeover::extent;
use crate::world::{SHARD, World, scenario};

#[test]
fn a_damaged_only_replica_keeps_the_shard_closed_until_an_unclean_seal() {
    let ran = scenario(|| async {
        let world = World::new(1, 1, 1);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        for _ in 0..6 {
            owner.append()?;
        }
        owner.settle().await?;
        let acked = owner.state.clone();
        drop(owner);
        // Two checkpoint frames, then six values: from 5 on is gone, which is the fourth value.
        world.replicas[0].damage(extent(0), Lsn(5));
        for incarnation in 2..4 {
            let closed = world.start(incarnation).take(SHARD).await.unwrap_err();
            assert!(matches!(closed, TakeError::Limbo { .. }), "{closed}");
            assert!(closed.to_string().contains("from lsn 5"), "{closed}");
        }
        let leases = world.start(4);
        let sealed = leases
            .unclean_seal(SHARD)
            .await
            .map_err(|e| e.to_string())?;
        let [lost] = &sealed.lost[..] else {
            return Err(format!("{sealed:?}"));
        };
        assert_eq!(lost.end, Lsn(5));
        assert_eq!(
            lost.lost.as_ref().map(|l| (l.from, l.to)),
            Some((Lsn(5), None))
        );

        world.give_up(3);
        let taken = world
            .start(5)
            .take(SHARD)
            .await
            .map_err(|e| e.to_string())?;
        // Taken at 1, 2, 3, by the seal at 4, and now.
        assert_eq!(taken.ownership.epoch.0, 5);
        let state = replay(&taken.reader, &taken.replay).await?;
        assert_eq!(state, acked[..3]);
        drop(taken);
        audit(&world, 6).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn an_unclean_seal_of_a_healthy_shard_loses_nothing() {
    let ran = scenario(|| async {
        let world = World::new(3, 2, 2);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        owner.append()?;
        owner.settle().await?;
        drop(owner);
        let sealed = world.start(2).unclean_seal(SHARD).await;
        assert_eq!(sealed.map_err(|e| e.to_string())?.lost, []);
        audit(&world, 3).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn damage_inside_the_checkpoint_goes_back_to_the_one_before() {
    let ran = scenario(|| async {
        let world = World::new(1, 1, 3);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        owner.append()?;
        owner.settle().await?;
        assert!(owner.roll().await?);
        owner.settle().await?;
        let marked = owner
            .leases
            .mark_checkpoint(&owner.ownership, extent(1).index);
        marked.await.map_err(|e| e.to_string())?;
        let first = owner.writer.extent().first;
        drop(owner);
        world.replicas[0].damage(extent(1), first.next());
        world.start(2).take(SHARD).await.unwrap_err();
        let sealed = world.start(3).unclean_seal(SHARD).await;
        assert_eq!(sealed.map_err(|e| e.to_string())?.lost.len(), 1);
        world.give_up(1);
        audit(&world, 4).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn damage_in_the_sealed_extent_a_replay_needs_is_given_up_by_name() {
    let ran = scenario(|| async {
        let world = World::new(1, 1, 4);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        for _ in 0..4 {
            owner.append()?;
        }
        owner.settle().await?;
        drop(owner);
        // Sealed by a takeover that died before its checkpoint; then the disk rots.
        drop(
            world
                .start(2)
                .take(SHARD)
                .await
                .map_err(|e| e.to_string())?,
        );
        world.replicas[0].rot(extent(0), Lsn(4));
        Owner::start(&world, &world.start(3))
            .await
            .map(drop)
            .unwrap_err();
        let sealed = world.start(4).unclean_seal(SHARD).await;
        let sealed = sealed.map_err(|e| e.to_string())?;
        assert_eq!(sealed.lost.len(), 1);
        assert_eq!(
            (sealed.lost[0].end, sealed.lost[0].readable_end()),
            (Lsn(6), Lsn(4))
        );
        world.give_up(2);
        audit(&world, 5).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn one_damaged_replica_of_three_does_not_stop_a_takeover_and_two_do() {
    let ran = scenario(|| async {
        let world = World::new(3, 2, 5);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        owner.append()?;
        owner.settle().await?;
        drop(owner);
        world.replicas[0].damage(extent(0), Lsn(1));
        drop(
            world
                .start(2)
                .take(SHARD)
                .await
                .map_err(|e| e.to_string())?,
        );
        audit(&world, 3).await?;
        let newest = world.extents().await.len() as u64 - 1;
        for replica in &world.replicas[..2] {
            replica.damage(extent(newest), Lsn(0));
        }
        let err = world.start(4).take(SHARD).await.unwrap_err();
        assert!(matches!(err, TakeError::Limbo { .. }), "{err}");
        Ok(())
    });
    assert_eq!(ran, Ok(()));
}

/// J10. The highest inventory cannot be read, and the reply that proves what was acked comes last.
fn late_third(mutation: Option<Mutation>) -> Result<(), String> {
    scenario(move || async move {
        let mut world = World::new(3, 2, 6);
        world.config = world.config.mutated(mutation);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        let [a, b, c] = &world.replicas[..] else {
            return Err("three replicas".to_owned());
        };
        // a and c hold four values and ack them; a holds one more; b got none.
        b.pause_appends();
        for _ in 0..4 {
            owner.append()?;
        }
        owner.settle().await?;
        c.pause_appends();
        owner.append()?;
        world.clock.sleep(Duration::from_millis(10)).await;
        drop(owner);
        b.crash();
        c.crash();
        let end = a.frames(extent(0)).last().expect("it holds some").lsn;
        a.rot(extent(0), end);
        c.set_reachable(false);
        let late = async {
            world.clock.sleep(Duration::from_secs(2)).await;
            c.set_reachable(true);
        };
        let leases = world.start(2);
        let take = leases.take(SHARD);
        let (taken, ()) = futures_util::join!(take, late);
        let taken = taken.map_err(|e| e.to_string())?;
        let sealed = taken.replay.last().expect("it has a checkpoint").end;
        if sealed != end {
            world.violation(format!("sealed at {sealed}, acked up to {end}"));
        }
        world.verdict()
    })
}

#[test]
fn an_unreadable_highest_inventory_waits_for_all_replies() {
    assert_eq!(late_third(None), Ok(()));
    assert!(
        late_third(Some(Mutation::LateSecondHighest)).is_err(),
        "J10"
    );
}
