//! Takeovers that are interrupted: at every await, by each other, and by what the dead left behind.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tidemark_journal::memory::Faults;
use tidemark_journal::{ExtentId, Mutation};
use tidemark_types::ExtentIdx;

use crate::owner::{Owner, audit, body};
use crate::shaky::Fault;
use crate::world::{SHARD, World, scenario};

/// A future that is dropped at its `left`-th poll: its owner dies at that await.
struct DiesAt<F> {
    life: Option<Pin<Box<F>>>,
    left: u32,
}

impl<F: Future> Future for DiesAt<F> {
    /// `None`: it died.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            self.life = None;
            return Poll::Ready(None);
        }
        self.left -= 1;
        let life = self.life.as_mut().expect("polled while it lives");
        life.as_mut().poll(cx).map(Some)
    }
}

pub(crate) async fn dies_at<F: Future>(polls: u32, life: F) -> Option<F::Output> {
    DiesAt {
        life: Some(Box::pin(life)),
        left: polls,
    }
    .await
}

/// A world in which every call takes time, so that every await is a point to die at; with one owner's acked data in
/// it and more on the way.
async fn with_history(n: u64, a: usize, seed: u64, mutation: Option<Mutation>) -> World {
    let mut world = World::new(n, a, seed);
    world.config = world.config.mutated(mutation);
    let mut owner = Owner::start(&world, &world.start(1)).await.expect("starts");
    for _ in 0..5 {
        owner.append().expect("appends");
    }
    owner.settle().await.expect("commits");
    world.shake(3, 0);
    for _ in 0..3 {
        owner.append().expect("appends");
    }
    world
}

#[test]
fn a_takeover_may_die_at_every_await() {
    for (n, a) in [(1, 1), (3, 2)] {
        let mut died = 0;
        for polls in 1..400 {
            let mut finished = false;
            let finished_in = &mut finished;
            let ran = scenario(std::panic::AssertUnwindSafe(|| async move {
                let world = with_history(n, a, 100 + u64::from(polls), None).await;
                let life = async {
                    let mut owner = Owner::start(&world, &world.start(2)).await?;
                    owner.append()?;
                    owner.settle().await
                };
                let outcome = dies_at(polls, life).await;
                *finished_in = outcome.is_some();
                audit(&world, 3).await.map(drop)
            }));
            assert_eq!(ran, Ok(()), "n = {n}, died at poll {polls}");
            if finished {
                break;
            }
            died += 1;
        }
        assert!((20..390).contains(&died), "{died} points to die at");
    }
}

/// Owners that die in a row, each a little later than the one before: chains of extents without a checkpoint (J1).
fn chain(mutation: Option<Mutation>, step: u32, seed: u64) -> Result<(), String> {
    scenario(move || async move {
        let world = with_history(3, 2, seed, mutation).await;
        for i in 1..12 {
            let leases = world.start(1 + u64::from(i));
            dies_at(step * i, Owner::start(&world, &leases)).await;
        }
        audit(&world, 50).await.map(drop)
    })
}

#[test]
fn owners_that_die_in_a_row_leave_the_data_reachable() {
    for step in 1..12 {
        assert_eq!(chain(None, step, u64::from(step)), Ok(()), "step {step}");
    }
}

/// J1. An extent sealed with only half a checkpoint is walked over, one with all of it is not, whatever its mark says.
fn walk_back(mutation: Option<Mutation>) -> Result<(), String> {
    scenario(move || async move {
        let world = with_history(3, 2, 7, mutation).await;
        world.heal();
        for incarnation in 2..6 {
            let taken = world.start(incarnation).take(SHARD).await;
            let taken = taken.map_err(|e| e.to_string())?;
            if incarnation % 2 == 0 {
                let half = body(
                    tidemark_journal::FrameKind::Checkpoint,
                    [1; 8].to_vec().into(),
                );
                let lsn = taken.writer.append(half).map_err(|e| e.to_string())?;
                let _ = taken.writer.wait_committed(lsn.next()).await;
            }
        }
        audit(&world, 9).await.map(drop)
    })
}

#[test]
fn a_takeover_walks_back_to_the_newest_complete_checkpoint() {
    assert_eq!(walk_back(None), Ok(()));
    assert!(walk_back(Some(Mutation::PreviousExtentOnly)).is_err(), "J1");
}

#[test]
fn a_checkpoint_that_was_never_marked_counts() {
    let ran = scenario(|| async {
        let world = World::new(1, 1, 8);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        owner.append()?;
        owner.settle().await?;
        // Rolls, commits the checkpoint and data in the new extent, and dies before the mark (J12).
        assert!(owner.roll().await?);
        owner.append()?;
        owner.settle().await?;
        let rows = world.extents().await;
        assert!(!rows.last().expect("two extents").1.ckpt);
        drop(owner);
        let taken = world
            .start(2)
            .take(SHARD)
            .await
            .map_err(|e| e.to_string())?;
        let ids: Vec<ExtentIdx> = taken.replay.iter().map(|s| s.extent.id.index).collect();
        assert_eq!(ids, [ExtentIdx(1)]);
        assert_eq!(taken.older.len(), 1);
        drop(taken);
        audit(&world, 3).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn takeovers_during_takeovers_leave_one_owner() {
    for seed in 0..40 {
        let ran = scenario(move || async move {
            let world = with_history(3, 2, seed, None).await;
            let lives = (2..6).map(|incarnation| {
                let world = world.clone();
                async move {
                    let wait = world.entropy.below(40);
                    world.clock.sleep(Duration::from_millis(wait)).await;
                    let mut owner = Owner::start(&world, &world.start(incarnation)).await?;
                    loop {
                        owner.append()?;
                        owner.settle().await?;
                    }
                }
            });
            let all = futures_util::future::join_all(lives);
            let ends: Result<Vec<Result<(), String>>, _> =
                tokio::time::timeout(Duration::from_secs(3), all).await;
            assert!(ends.is_err(), "one of them goes on for ever");
            audit(&world, 9).await.map(drop)
        });
        assert_eq!(ran, Ok(()), "seed {seed}");
    }
}

/// J8. A zombie rolls between the successor's decision of End and its T2.
pub(crate) fn roll_against_take(mutation: Option<Mutation>, seed: u64) -> Result<(), String> {
    scenario(move || async move {
        let mut world = World::new(3, 2, seed);
        world.config = world.config.mutated(mutation);
        let mut owner = Owner::start(&world, &world.start(1)).await?;
        world.shake(4, 0);
        let zombie = async {
            loop {
                owner.append()?;
                owner.collect();
                owner.roll().await?;
                owner.settle().await?;
            }
        };
        let taker = async {
            let wait = world.entropy.below(60);
            world.clock.sleep(Duration::from_millis(wait)).await;
            let mut owner = Owner::start(&world, &world.start(2)).await?;
            owner.append()?;
            owner.settle().await
        };
        let (zombie, taker): (Result<(), String>, _) = futures_util::join!(zombie, taker);
        zombie.expect_err("fenced");
        taker?;
        audit(&world, 9).await.map(drop)
    })
}

#[test]
fn a_zombies_roll_and_a_takeover_exclude_each_other() {
    for seed in 0..60 {
        assert_eq!(roll_against_take(None, seed), Ok(()), "seed {seed}");
    }
}

/// Every combination of unknown outcomes of the first transactions of a takeover (T1, T2, the marks).
#[test]
fn unknown_outcomes_of_t1_and_t2_are_settled_by_what_is_stored() {
    let faults = [
        None,
        Some(Fault::Conflict),
        Some(Fault::UnknownCommitted),
        Some(Fault::UnknownNotCommitted),
        Some(Fault::Unavailable),
    ];
    for case in 0..faults.len().pow(4) {
        let script: Vec<Option<Fault>> = (0..4)
            .map(|i| faults[case / faults.len().pow(i) % faults.len()])
            .collect();
        let ran = scenario(std::panic::AssertUnwindSafe(|| async {
            let world = with_history(1, 1, 1, None).await;
            world.heal();
            world.store.script(&script);
            let mut owner = Owner::start(&world, &world.start(2)).await?;
            assert_eq!(
                owner.ownership.epoch.0, 2,
                "no epoch is spent on a lost reply"
            );
            owner.append()?;
            owner.settle().await?;
            audit(&world, 3).await.map(drop)
        }));
        assert_eq!(ran, Ok(()), "{script:?}");
    }
}

/// J9: commits of T1 that are unknown for as long as the store can be asked cost an epoch, nothing else.
#[test]
fn a_store_that_goes_away_during_a_take_fails_it_and_a_later_one_works() {
    let ran = scenario(|| async {
        let world = with_history(1, 1, 1, None).await;
        world.heal();
        world.store.script(&[Some(Fault::UnknownCommitted); 1]);
        world.store.knobs.lock().down = true;
        world
            .start(2)
            .take(SHARD)
            .await
            .expect_err("the store is away");
        audit(&world, 3).await.map(drop)
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn one_of_three_replicas_may_be_missing_and_come_back() {
    for gone in 0..3 {
        let ran = scenario(move || async move {
            let world = with_history(3, 2, 11, None).await;
            world.heal();
            world.replicas[gone].set_reachable(false);
            let mut owner = Owner::start(&world, &world.start(2)).await?;
            // J10: with one known to be away, the new extent has n = 2, A = 2.
            assert_eq!(owner.writer.extent().replicas.nodes().len(), 2);
            assert_eq!(owner.writer.extent().replicas.fence_quorum(), 1);
            owner.append()?;
            owner.settle().await?;
            world.replicas[gone].set_reachable(true);
            audit(&world, 3).await.map(drop)
        });
        assert_eq!(ran, Ok(()), "without {gone}");
    }
}

/// J3. The replica that set End is lost while its gap is read: a new T1, never fewer replies.
#[test]
fn the_loss_of_the_source_of_end_starts_over() {
    for seed in 0..60 {
        let ran = scenario(move || async move {
            let world = with_history(3, 2, seed, None).await;
            world.heal();
            let fragile = world.replicas[0].clone();
            world.replicas[1].set_faults(Faults {
                delay_max: Duration::from_millis(5),
                ..Faults::default()
            });
            let flap = async {
                for _ in 0..20 {
                    let up = world.entropy.below(2) == 0;
                    fragile.set_reachable(up);
                    world.clock.sleep(Duration::from_millis(1)).await;
                }
                fragile.set_reachable(true);
            };
            let leases = world.start(2);
            let take = Owner::start(&world, &leases);
            let (_, taken) = futures_util::join!(flap, take);
            drop(taken);
            audit(&world, 3).await.map(drop)
        });
        assert_eq!(ran, Ok(()), "seed {seed}");
    }
}

pub(crate) const fn extent(index: u64) -> ExtentId {
    ExtentId {
        shard: SHARD,
        index: ExtentIdx(index),
    }
}
