//! Random schedules: owners that start, append, roll and die at random moments, over a cluster that loses, delays and
//! forgets what it may. At the end everything heals, and everything that was acked must be there.

use std::time::Duration;

use tidemark_journal::Mutation;
use tidemark_journal::memory::Flaw;

use crate::owner::{Owner, audit};
use crate::world::{World, scenario};

/// What a run breaks on purpose.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Broken {
    pub(crate) mutation: Option<Mutation>,
    pub(crate) flaw: Option<Flaw>,
}

const OWNERS: u64 = 6;
/// As many as the mutations are looked for in: none of these fails unbroken.
pub(crate) const SEEDS: u64 = 200;

pub(crate) fn run(n: u64, a: usize, seed: u64, broken: Broken) -> Result<(), String> {
    scenario(move || async move {
        let mut world = World::new(n, a, seed);
        world.config = world.config.mutated(broken.mutation);
        for replica in &world.replicas {
            replica.set_flaw(broken.flaw);
        }
        // One owner in peace, so that there is something to lose.
        let mut first = Owner::start(&world, &world.start(1)).await?;
        first.append()?;
        first.settle().await?;
        let percent = world.entropy.below(6);
        world.shake(1 + world.entropy.below(12), percent);
        let lives = (2..2 + OWNERS).map(|incarnation| life(world.clone(), incarnation));
        let lives = futures_util::future::join_all(lives);
        let old = async {
            let _ = work(&mut first).await;
        };
        let chaos = chaos(&world, n - a as u64);
        let all = async { futures_util::join!(lives, old) };
        let _ = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                biased;
                _ = all => {}
                () = chaos => {}
            }
        })
        .await;
        audit(&world, 100).await.map(drop)
    })
}

/// Starts at a random moment, works, dies at a random moment.
async fn life(world: World, incarnation: u64) {
    let ms = |bound| Duration::from_millis(world.entropy.below(bound));
    let (born, span) = (ms(400), ms(600));
    world.clock.sleep(born).await;
    let _ = tokio::time::timeout(span, async {
        let leases = world.start(incarnation);
        let mut tries = 0;
        while tries < 5 {
            match Owner::start(&world, &leases).await {
                Ok(mut owner) => return work(&mut owner).await,
                Err(_) => tries += 1,
            }
        }
        Ok(())
    })
    .await;
}

/// Appends, collects acks and rolls for as long as it is the owner.
async fn work(owner: &mut Owner) -> Result<(), String> {
    for _ in 0..60 {
        match owner.world.entropy.below(10) {
            0 => {
                owner.roll().await?;
            }
            1..=3 => owner.settle().await?,
            _ => owner.append()?,
        }
        let pause = Duration::from_millis(owner.world.entropy.below(8));
        owner.world.clock.sleep(pause).await;
        owner.collect();
    }
    owner.settle().await
}

/// Crashes nodes, and cuts off at most `spare` of them at a time.
async fn chaos(world: &World, spare: u64) {
    let mut away: Option<usize> = None;
    loop {
        let pause = Duration::from_millis(world.entropy.below(60));
        world.clock.sleep(pause).await;
        let node = usize::try_from(world.entropy.below(world.replicas.len() as u64)).expect("few");
        match world.entropy.below(3) {
            0 => world.replicas[node].crash(),
            1 if spare > 0 => {
                if let Some(back) = away.take() {
                    world.replicas[back].set_reachable(true);
                }
                world.replicas[node].set_reachable(false);
                away = Some(node);
            }
            _ => {
                if let Some(back) = away.take() {
                    world.replicas[back].set_reachable(true);
                }
            }
        }
    }
}

#[test]
fn random_schedules_lose_nothing_on_one_replica() {
    for seed in 0..SEEDS {
        assert_eq!(run(1, 1, seed, Broken::default()), Ok(()), "seed {seed}");
    }
}

#[test]
fn random_schedules_lose_nothing_on_three_replicas() {
    for seed in 0..SEEDS {
        assert_eq!(run(3, 2, seed, Broken::default()), Ok(()), "seed {seed}");
    }
}

#[test]
fn a_seed_decides_the_whole_run() {
    let trace = |seed| {
        let trace = std::sync::Arc::new(parking_lot::Mutex::new(String::new()));
        let out = trace.clone();
        let ran = scenario(std::panic::AssertUnwindSafe(|| async move {
            let world = World::new(3, 2, seed);
            world.shake(9, 4);
            let lives = (2..6).map(|incarnation| life(world.clone(), incarnation));
            futures_util::future::join_all(lives).await;
            world.heal();
            let rows = world.extents().await;
            let acked = world.ledger.lock().acked.clone();
            *out.lock() = format!("{rows:?} {acked:?} {:?}", world.clock.wall_ms());
            Ok(())
        }));
        assert_eq!(ran, Ok(()));
        std::mem::take(&mut *trace.lock())
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
