//! Each rule left out is noticed (PROTOCOL, last section). The scenarios in `takeover`, `rolls` and `limbo` show J1, J2
//! and J10; here are those that random schedules find, and J3, J6.

use tidemark_journal::memory::Flaw;
use tidemark_journal::{Mutation, OpenExtent, Release, Replica};

use crate::owner::{Owner, audit};
use crate::schedule::{Broken, SEEDS, run};
use crate::takeover::roll_against_take;
use crate::world::{World, scenario};

fn found(broken: Broken) -> Option<u64> {
    (0..SEEDS).find(|seed| run(3, 2, *seed, broken).is_err())
}

fn mutation_is_found(mutation: Mutation) {
    let broken = Broken {
        mutation: Some(mutation),
        ..Broken::default()
    };
    assert!(found(broken).is_some(), "{mutation:?} went unnoticed");
}

fn flaw_is_found(flaw: Flaw) {
    let broken = Broken {
        flaw: Some(flaw),
        ..Broken::default()
    };
    assert!(found(broken).is_some(), "{flaw:?} went unnoticed");
}

macro_rules! noticed {
    ($($name:ident: $check:ident($broken:expr);)*) => {$(
        #[test]
        fn $name() {
            $check($broken);
        }
    )*};
}

noticed! {
    previous_extent_only: mutation_is_found(Mutation::PreviousExtentOnly);
    ack_during_roll: mutation_is_found(Mutation::AckDuringRoll);
    read_beyond_the_seal: mutation_is_found(Mutation::ReadBeyondEnd);
    fence_quorum_one: mutation_is_found(Mutation::FenceQuorumOne);
    seal_at_the_minimum: mutation_is_found(Mutation::SealAtMinimum);
    no_reappend: mutation_is_found(Mutation::NoReappend);
    ack_quorum_one: mutation_is_found(Mutation::AckQuorumOne);
    forgotten_reply: mutation_is_found(Mutation::ForgottenReply);
    unfenced_reply: flaw_is_found(Flaw::UnfencedReply);
    volatile_entry: flaw_is_found(Flaw::VolatileEntry);
    rejoin_of_a_wiped_disk: flaw_is_found(Flaw::RejoinWiped);
    ack_before_prefix: flaw_is_found(Flaw::AckBeforePrefix);
}

/// J8 (with T2's look at the extent left out as well): a roll that committed just before T1 is overwritten.
#[test]
fn stale_extent_read() {
    let broken = Some(Mutation::StaleExtentRead);
    let noticed = (0..SEEDS).any(|seed| roll_against_take(broken, seed).is_err());
    assert!(noticed, "J8");
}

/// J4. A paused old owner wakes up after the log node lost power, and after its extent was released there.
fn zombie_wakes(flaw: Option<Flaw>, release: bool) -> Result<(), String> {
    scenario(move || async move {
        let world = World::new(1, 1, 1);
        let node = &world.replicas[0];
        node.set_flaw(flaw);
        let mut zombie = Owner::start(&world, &world.start(1)).await?;
        let new = Owner::start(&world, &world.start(2)).await?;
        let extent = zombie.writer.extent().clone();
        node.crash();
        if release {
            let epoch = new.ownership.epoch;
            let released = node.release(Release {
                extent: extent.id,
                epoch,
            });
            released.await.map_err(|e| e.to_string())?;
            // An open of its own that was on its way all the time.
            let open = OpenExtent {
                extent: extent.id,
                epoch: zombie.ownership.epoch,
                first_lsn: zombie.writer.next_lsn(),
            };
            if node.open(open).await.is_ok() {
                world.violation("an open below the fence was taken");
            }
        }
        zombie.append()?;
        let acked = zombie.settle().await;
        if acked.is_ok() {
            world.violation("the zombie's append was acked");
        }
        drop((zombie, new));
        if release {
            return world.verdict();
        }
        audit(&world, 9).await.map(drop)
    })
}

#[test]
fn volatile_fence() {
    assert_eq!(zombie_wakes(None, false), Ok(()));
    assert!(
        zombie_wakes(Some(Flaw::VolatileFence), false).is_err(),
        "J4"
    );
}

#[test]
fn fence_dies_with_its_extent() {
    assert_eq!(zombie_wakes(None, true), Ok(()));
    let broken = zombie_wakes(Some(Flaw::FenceDiesWithExtent), true);
    assert!(broken.is_err(), "J4");
}
