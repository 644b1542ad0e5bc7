//! Bit rot below a synced mark, found by a restart: the shard serves nothing wrong, or stays closed until an operator
//! gives the damaged range up, explicitly; then it serves again.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use tidemark_lognode::Disk;
use tidemark_lognode::sim::Crash;
use tidemark_runtime::Invariant;

use crate::broken::{Broken, Flaw};
use crate::process::Process;
use crate::run::{Outcome, on_one_thread, outcome};
use crate::trace::note;
use crate::world::{Phase, World};
use crate::{audit, clients};

/// Bytes of a disk's segment that hold this scenario's few seconds of work.
const WRITTEN: u64 = 96 << 10;
/// A WAL block begins at a multiple of this.
const BLOCK: u64 = 4 << 10;

/// What became of the damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// It hit nothing that a takeover needs.
    Served,
    /// A shard stayed closed, and an unclean seal opened it.
    Closed,
}

/// Work in peace, rot, restart.
#[must_use]
pub fn run_damage(seed: u64, broken: Broken) -> (Outcome, Damage) {
    on_one_thread(async {
        let broken = Broken {
            copies: Some(1),
            ..broken
        };
        let world = World::new(seed, broken).await;
        let mut damage = Damage::Served;
        if audit::serving(&world).await.is_some() {
            clients::create_topic(&world).await;
            damage = rot_and_restart(&world, broken).await.unwrap_or(damage);
        }
        (outcome(seed, &world), damage)
    })
}

async fn rot_and_restart(world: &Arc<World>, broken: Broken) -> Option<Damage> {
    let handles = clients::start(world);
    world.clock.sleep(Duration::from_secs(2)).await;
    world.enter(Phase::Healed);
    world.newest()?.heal();
    futures_util::future::join_all(handles).await;
    // The idle mark proves the last block synced: from here on damage is no torn tail (J5).
    world.clock.sleep(Duration::from_secs(1)).await;
    if broken.flaw == Some(Flaw::CutBelowMark) {
        cut(world);
    } else {
        rot(world);
    }
    world.restart_machine(0, Crash::Process).await;
    if !world.plan.embedded {
        world.alive().iter().for_each(|p| p.life.kill());
        world.start_process().await;
    }
    let process = settled(world).await?;
    let closed = process.closed();
    for shard in &closed {
        world.give_up();
        let sealed = process.leases.unclean_seal(*shard).await;
        note!(world.trace, "unclean seal of shard {shard}: {sealed:?}");
        match sealed {
            Ok(sealed) if sealed.lost.iter().any(|s| s.lost.is_some()) => {}
            other => {
                let what = format!("shard {shard} was closed, the unclean seal says {other:?}");
                world.ledger.violated(Invariant::SealedIsReplicated, what);
            }
        }
        process.log.reopen(*shard);
    }
    audit::serving(world).await?;
    audit::what_is_left(world, &closed).await;
    Some(if closed.is_empty() {
        Damage::Served
    } else {
        Damage::Closed
    })
}

/// The newest process, once each of its shards serves or stays closed.
async fn settled(world: &World) -> Option<Arc<Process>> {
    for _ in 0..600 {
        world.clock.sleep(Duration::from_millis(100)).await;
        let process = world.newest()?;
        let status = process.log.status();
        let recovering = |s: &tidemark_log::ShardStatus| {
            matches!(s.state, tidemark_log::ShardState::Recovering { .. })
        };
        if !status.shards.iter().any(recovering) {
            return Some(process);
        }
    }
    let what = "neither serving nor closed a minute after the damage".to_owned();
    world.ledger.violated(Invariant::Resumes, what);
    None
}

/// Flips bits of one to three stored bytes.
fn rot(world: &World) {
    let disk = world.machines[0].disk();
    let segments: Vec<(String, u64)> = disk.files();
    let segments: Vec<_> = segments
        .iter()
        .filter(|(_, bytes)| *bytes >= WRITTEN)
        .collect();
    for _ in 0..=world.entropy.below(3) {
        let pick = world.entropy.below(segments.len() as u64);
        let Some((name, _)) = usize::try_from(pick).ok().and_then(|i| segments.get(i)) else {
            return;
        };
        let at = world.entropy.below(WRITTEN);
        let bit = 1 << world.entropy.below(8);
        let hit = disk.rot(name, at, bit);
        note!(world.trace, "rot at {at} of {name}: {hit}");
    }
}

/// What a recovery would go on with that took damage for a torn tail: nothing from some block on.
fn cut(world: &World) {
    let disk = world.machines[0].disk();
    let at = BLOCK * (4 + world.entropy.below(8));
    for (name, bytes) in disk.files() {
        if bytes > at
            && let Ok(file) = disk.open(&name)
        {
            let zeros = vec![0; usize::try_from(bytes - at).unwrap_or(0)];
            let written = file.write_at(at, &[IoSlice::new(&zeros)]);
            note!(world.trace, "{name} is cut at {at}: {written:?}");
            let _ = file.sync();
        }
    }
}
