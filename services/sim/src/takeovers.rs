//! Blows that need several log nodes: replicas that hold different prefixes when an owner is replaced, sources that
//! fail in the middle of a takeover, disks that are lost or rot while a majority is elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_types::ShardId;

use crate::life::Life;
use crate::process::Process;
use crate::rot;
use crate::trace::note;
use crate::world::{OWNER, World};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) async fn blow(world: &Arc<World>, newest: &Arc<Process>) {
    let at = usize::try_from(world.entropy.below(3)).unwrap_or(0);
    match world.entropy.below(10) {
        0..2 => {
            note!(
                world.trace,
                "p{} loses its way to machine {at}",
                newest.number
            );
            newest.set_cut_to(at, true);
            world.sleep_below(ms(3_000)).await;
            newest.set_cut_to(at, false);
        }
        2 => {
            if let Some(frail) = world.plan.frail.filter(|_| world.plan.wipes)
                && full_sets(world).await
            {
                world.wipe_machine(frail).await;
            }
        }
        _ => uneven(world, newest).await,
    }
}

/// A takeover of extents whose replicas hold different prefixes.
async fn uneven(world: &Arc<World>, old: &Arc<Process>) {
    let [x, y, z] = roles(world);
    let lag = ms(200 << world.entropy.below(3));
    note!(world.trace, "p{}: machine {y} lags by {lag:?}", old.number);
    old.set_lag_to(y, lag);
    let lone = world.entropy.below(4) == 0;
    if lone {
        old.set_lag_to(z, lag);
    }
    world.sleep_below(ms(400)).await;
    match world.entropy.below(6) {
        0..2 => old.life.kill(),
        2 => old.life.pause(),
        _ => {}
    }
    match world.entropy.below(3) {
        0 => world.machines[x].tap().fall_after_fence(),
        1 if world.plan.frail == Some(x) && full_sets(world).await => {
            if world.plan.wipes {
                world.wipe_machine(x).await;
            } else {
                rot::open_extents(world, x, y).await;
            }
        }
        _ => {}
    }
    let slow = ms(50 << world.entropy.below(5));
    let lags = match world.entropy.below(4) {
        0 => vec![(x, slow), (z, slow)],
        1 => vec![(x, slow)],
        _ => vec![(z, slow)],
    };
    note!(world.trace, "the next owner is slow to reach {lags:?}");
    world.start_process_of(OWNER, Life::new(), &lags).await;
    world.sleep_below(ms(3_000)).await;
    for process in world.alive() {
        for at in 0..world.machines.len() {
            process.set_lag_to(at, Duration::ZERO);
        }
    }
    old.life.resume();
}

/// A log node goes down right behind its answer to a fence; the fenced owner, paused so far, is the first to find it
/// again (J4).
pub(crate) async fn fenced_and_forgotten(world: &Arc<World>, old: &Arc<Process>) {
    let at = usize::try_from(world.entropy.below(world.machines.len() as u64)).unwrap_or(0);
    world.sleep_below(ms(30)).await;
    note!(
        world.trace,
        "p{} is paused, machine {at} falls after a fence",
        old.number
    );
    old.life.pause();
    // What clients send it meanwhile waits for its way out.
    world.sleep_below(ms(200)).await;
    let life = world.machines[at].life();
    world.machines[at].tap().fall_after_fence();
    world.start_process_of(OWNER, Life::new(), &[]).await;
    let _ = tokio::time::timeout(ms(2_000), life.ended()).await;
    world.mend().await;
    old.life.resume();
    world.sleep_below(ms(1_000)).await;
}

fn roles(world: &World) -> [usize; 3] {
    let any = usize::try_from(world.entropy.below(3)).unwrap_or(0);
    let frail = world.plan.frail.filter(|_| world.entropy.below(2) == 0);
    let first = frail.unwrap_or(any);
    let step = 1 + usize::try_from(world.entropy.below(2)).unwrap_or(0);
    [first, (first + step) % 3, (first + 2 * step) % 3]
}

/// Whether every open extent has three replicas, all of which run: one of them may be harmed for good.
async fn full_sets(world: &World) -> bool {
    if world
        .machines
        .iter()
        .any(|m| m.life().is_dead() || m.is_poisoned())
    {
        return false;
    }
    let ids: Vec<_> = world.machines.iter().map(|m| m.id()).collect();
    for shard in (0..world.plan.shards).map(ShardId) {
        let mut tx = world.sim.begin();
        let range = ExtentKey::of_shard(shard);
        let rows: Vec<(ExtentKey, ExtentRow)> =
            keys::scan(tx.as_mut(), range, 10_000, Mode::Snapshot)
                .await
                .unwrap_or_default();
        let open = rows
            .iter()
            .filter(|(_, row)| row.state == ExtentState::Open);
        if open
            .into_iter()
            .any(|(_, row)| ids.iter().any(|id| !row.replicas.contains(id)))
        {
            return false;
        }
    }
    true
}
