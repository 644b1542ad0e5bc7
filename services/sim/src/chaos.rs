//! What goes wrong, and when.

use std::sync::Arc;
use std::time::Duration;

use tidemark_lognode::sim::Crash;
use tidemark_meta::faulty::{Fault, Faults};

use crate::life::Life;
use crate::process::Process;
use crate::trace::note;
use crate::world::{RIVAL, World};
use crate::{outages, takeovers};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Blows to processes and machines, one after the other, for the plan's span.
pub(crate) async fn blows(world: &Arc<World>) {
    let until = world.clock.now() + world.plan.span;
    while world.clock.now() < until {
        world.sleep_below(world.plan.lull_max).await;
        world.mend().await;
        blow(world).await;
    }
}

async fn blow(world: &Arc<World>) {
    let pick = world.entropy.below(100);
    let Some(newest) = world.newest() else { return };
    if world.machines.len() > 1 && world.entropy.below(2) == 0 {
        return takeovers::blow(world, &newest).await;
    }
    if world.plan.cold.is_some() && world.entropy.below(4) == 0 {
        return outages::crash_at_a_step(world, &newest).await;
    }
    if world.plan.falls_in_checkpoints() && pick < 60 {
        return fall_in_a_checkpoint(world).await;
    }
    match pick {
        0..30 => crash_at_a_step(world).await,
        30..45 => {
            let at = some_machine(world);
            let how = if pick < 38 {
                Crash::Power
            } else {
                Crash::Process
            };
            world.restart_machine(at, how).await;
        }
        45..60 => hand_over(world, &newest).await,
        60..72 => drain(world, &newest).await,
        72..80 => {
            note!(world.trace, "p{} is cut off", newest.number);
            newest.set_cut(true);
            world.sleep_below(ms(3_000)).await;
            newest.set_cut(false);
        }
        80..88 => pause(world, &newest).await,
        // Only work.
        _ => world.sleep_below(ms(1_500)).await,
    }
}

fn some_machine(world: &World) -> usize {
    let count = world.machines.len() as u64;
    usize::try_from(world.entropy.below(count)).unwrap_or(0)
}

/// The machine goes down in the middle of one of its next durable steps.
async fn crash_at_a_step(world: &Arc<World>) {
    let at = some_machine(world);
    let (disk, life) = (world.machines[at].disk(), world.machines[at].life());
    let step = disk.steps() + world.entropy.below(40);
    note!(
        world.trace,
        "node {} is to crash at step {step}",
        world.machines[at].id()
    );
    disk.crash_at(step);
    let _ = tokio::time::timeout(ms(2_000), life.ended()).await;
    let how = if world.entropy.below(4) == 0 {
        Crash::Process
    } else {
        Crash::Power
    };
    world.restart_machine(at, how).await;
}

/// The machine goes down once it holds a piece of the next checkpoint, which a new owner may be about to write.
async fn fall_in_a_checkpoint(world: &Arc<World>) {
    let at = some_machine(world);
    let life = world.machines[at].life();
    note!(
        world.trace,
        "node {} is to fall in a checkpoint",
        world.machines[at].id()
    );
    world.machines[at].tap().fall_in_checkpoint();
    let _ = tokio::time::timeout(ms(2_000), life.ended()).await;
    world.restart_machine(at, Crash::Process).await;
}

/// Another process takes over while this one lives on, perhaps not knowing.
async fn hand_over(world: &Arc<World>, old: &Arc<Process>) {
    if !world.plan.embedded && world.entropy.below(3) == 0 {
        return takeovers::fenced_and_forgotten(world, old).await;
    }
    let zombie = world.entropy.below(3);
    if zombie == 0 && !world.plan.embedded {
        note!(world.trace, "p{} is killed", old.number);
        old.life.kill();
    } else if zombie == 1 {
        note!(world.trace, "p{} is paused", old.number);
        old.life.pause();
    }
    world.sleep_below(ms(50)).await;
    let rival = world.entropy.below(4) == 0 && !world.plan.embedded;
    if rival && old.node != RIVAL {
        // It may take over only when the other's heartbeat stands still, or it drains.
        let _ = tokio::time::timeout(ms(500), old.leases.set_draining(true)).await;
        world.start_process_of(RIVAL, Life::new(), &[]).await;
    } else if world.plan.embedded {
        // The same node, started again elsewhere by mistake: a life of its own.
        world.start_process_of(old.node, Life::new(), &[]).await;
    } else {
        world.start_process().await;
    }
    world.sleep_below(ms(1_500)).await;
    old.life.resume();
    if world.entropy.below(2) == 0 {
        // A zombie's last words.
        world.sleep_below(ms(1_000)).await;
        if !Arc::ptr_eq(old, &world.newest().unwrap_or_else(|| Arc::clone(old))) {
            note!(world.trace, "p{} ends", old.number);
            if !world.plan.embedded {
                old.life.kill();
            }
        }
    }
}

async fn drain(world: &Arc<World>, old: &Arc<Process>) {
    note!(world.trace, "p{} drains", old.number);
    let drained = old.tasks.shutdown(ms(20_000));
    let outcome = tokio::time::timeout(ms(4_000), drained).await;
    note!(world.trace, "p{} drained: {outcome:?}", old.number);
    if !world.plan.embedded {
        old.life.kill();
        world.start_process().await;
        return;
    }
    world.machines[0].close().await;
    world.restart_machine(0, Crash::Process).await;
}

async fn pause(world: &Arc<World>, process: &Arc<Process>) {
    note!(world.trace, "p{} stops for a while", process.number);
    process.life.pause();
    world.sleep_below(ms(4_000)).await;
    process.life.resume();
}

/// Bad days of the metadata store and of the disks, beside the blows.
pub(crate) async fn weather(world: &Arc<World>) {
    loop {
        world.sleep_below(ms(2_000)).await;
        if world.plan.cold.as_ref().is_some_and(|cold| cold.outages) && world.entropy.below(2) == 0
        {
            outages::bad_day(world).await;
            continue;
        }
        match world.entropy.below(10) {
            0..2 => {
                let by = i64::try_from(world.entropy.below(200_000)).unwrap_or(0) - 100_000;
                note!(world.trace, "wall time jumps by {by} ms");
                world.starts.wall(world.clock.wall_ms());
                world.tables.jumped(by);
                world.clock.jump_wall(by);
                world.starts.wall(world.clock.wall_ms());
            }
            2..6 if world.plan.storms => storm(world).await,
            6..10 if world.plan.sick_disks => sickness(world).await,
            _ => {}
        }
    }
}

async fn storm(world: &World) {
    let faults = [
        Fault::Conflict,
        Fault::Unavailable,
        Fault::LostCommit,
        Fault::LostReply,
        Fault::Late,
    ];
    match world.entropy.below(4) {
        0 => {
            note!(world.trace, "metadata storm");
            world.store.set_faults(Faults::stormy());
            world.sleep_below(ms(4_000)).await;
            world.store.set_faults(Faults::default());
        }
        1 => {
            note!(world.trace, "metadata outage");
            world.store.set_outage(true);
            world.sleep_below(ms(3_000)).await;
            world.store.set_outage(false);
        }
        _ => {
            for _ in 0..=world.entropy.below(4) {
                let pick = usize::try_from(world.entropy.below(5)).unwrap_or(0);
                note!(world.trace, "planned: {:?}", faults[pick]);
                world.store.plan(faults[pick]);
            }
        }
    }
}

async fn sickness(world: &World) {
    let disk = world.machines[some_machine(world)].disk();
    match world.entropy.below(4) {
        0 => {
            note!(world.trace, "a disk takes no writes");
            disk.set_writes_full(true);
            world.sleep_below(ms(1_500)).await;
            disk.set_writes_full(false);
        }
        1 => {
            note!(world.trace, "a disk has no room for files");
            disk.set_free_bytes(Some(world.entropy.below(64 << 10)));
            world.sleep_below(ms(3_000)).await;
            disk.set_free_bytes(None);
        }
        2 => {
            note!(world.trace, "a disk will fail a sync");
            disk.fail_sync_after(world.entropy.below(30));
        }
        _ => {
            note!(world.trace, "a disk stalls");
            disk.set_stall(Some(ms(1 << world.entropy.below(9))));
            world.sleep_below(ms(2_000)).await;
            disk.set_stall(None);
        }
    }
}

/// Ends every fault there is.
pub(crate) async fn heal(world: &Arc<World>) {
    world.store.set_faults(Faults::default());
    world.store.set_outage(false);
    world.store.settle().await;
    world.blobs.heal();
    world.blobs.settle().await;
    for machine in &world.machines {
        let disk = machine.disk();
        disk.crash_at(u64::MAX);
        disk.fail_sync_after(u64::MAX >> 1);
        disk.set_writes_full(false);
        disk.set_free_bytes(None);
        disk.set_stall(None);
    }
    for process in world.alive() {
        process.heal();
        process.life.resume();
    }
    world.sleep_below(ms(1_000)).await;
    // One process is left: those it replaced die, and whatever they still own is free a TTL later.
    if let Some(newest) = world.newest() {
        for old in world.alive() {
            let of_machine = world.machines.iter().any(|m| m.life().is_same(&old.life));
            if !Arc::ptr_eq(&old, &newest) && !of_machine {
                old.life.kill();
            }
        }
    }
    world.mend().await;
}
