//! Bit rot below a synced mark, found by a restart: the shard serves nothing wrong, or stays closed until an operator
//! gives the damaged range up, explicitly; then it serves again, with everything outside of that range intact.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use tidemark_lease::{TakeError, UncleanSealed};
use tidemark_lognode::Disk;
use tidemark_lognode::sim::Crash;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow};
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_runtime::Invariant;
use tidemark_types::ShardId;

use crate::broken::{Broken, Flaw};
use crate::clients::Client;
use crate::process::Process;
use crate::rot::{self, Hit, Stored};
use crate::run::{Outcome, on_one_thread, outcome};
use crate::trace::note;
use crate::world::{Phase, World};
use crate::{audit, clients};

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
            cold: Some(false),
            ..broken
        };
        let world = World::new(seed, broken).await;
        let mut damage = Damage::Served;
        if audit::serving(&world).await.is_some() {
            clients::create_topics(&world).await;
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
    // Whatever is in the log is known from here on.
    audit::complete(world).await?;
    // The idle mark proves the last block synced: from here on damage is no torn tail (J5).
    world.clock.sleep(Duration::from_secs(1)).await;
    let stored = rot::stored(world, 0).await;
    let hit = if broken.flaw == Some(Flaw::CutBelowMark) {
        cut(world);
        None
    } else if world.entropy.below(4) == 0 {
        rot::anywhere(world);
        None
    } else {
        rot::newest(world, &stored)
    };
    restart(world).await;
    let process = settled(world).await?;
    let closed = process.closed();
    if let Some(hit) = &hit {
        noticed(world, &process, hit);
    }
    for shard in &closed {
        open_again(world, &process, *shard, &stored, hit.as_ref()).await;
    }
    audit::serving(world).await?;
    let whole = audit::what_is_left(world, &closed).await;
    write_some(world).await;
    if whole && world.verdict.is_clean() {
        audit::audit(world).await;
    }
    Some(if closed.is_empty() {
        Damage::Served
    } else {
        Damage::Closed
    })
}

async fn restart(world: &Arc<World>) {
    world.restart_machine(0, Crash::Process).await;
    if !world.plan.embedded {
        world.alive().iter().for_each(|p| p.life.kill());
        world.start_process().await;
    }
}

/// Damage in the newest extent keeps its shard closed, with a message that names it.
fn noticed(world: &World, process: &Process, hit: &Hit) {
    let why = process.why_closed(hit.extent.shard);
    if why.as_ref().is_none_or(|why| !why.contains("damaged")) {
        let what = format!(
            "{} is damaged at lsn {}, its shard: {why:?}",
            hit.extent, hit.lsn
        );
        world.ledger.violated(Invariant::AckedReadable, what);
    }
}

/// Gives up what is damaged, as an operator does.
async fn open_again(
    world: &World,
    process: &Process,
    shard: ShardId,
    stored: &Stored,
    hit: Option<&Hit>,
) {
    let sealed = process.leases.unclean_seal(shard).await;
    note!(world.trace, "unclean seal of shard {shard}: {sealed:?}");
    if let Err(what) = given_up(
        world,
        &sealed,
        stored,
        hit.filter(|h| h.extent.shard == shard),
    )
    .await
    {
        let what = format!("shard {shard} was closed; {what}");
        world.ledger.violated(Invariant::SealedIsReplicated, what);
    }
    process.log.reopen(shard);
}

/// What an unclean seal gave up is stored, covers the damage, and is no more than that.
async fn given_up(
    world: &World,
    sealed: &Result<UncleanSealed, TakeError>,
    stored: &Stored,
    hit: Option<&Hit>,
) -> Result<(), String> {
    let sealed = sealed.as_ref().map_err(ToString::to_string)?;
    if sealed.lost.is_empty() {
        return Err("the unclean seal gave nothing up".to_owned());
    }
    for extent in &sealed.lost {
        let id = extent.extent.id;
        let key = ExtentKey {
            shard: id.shard,
            index: id.index,
        };
        let mut tx = world.sim.begin();
        let row: Option<ExtentRow> = keys::get(tx.as_mut(), &key, Mode::Snapshot)
            .await
            .map_err(|e| e.to_string())?;
        let lost = extent.lost.clone().ok_or("nothing of it is lost")?;
        if row.and_then(|row| row.lost) != Some(lost.clone()) {
            return Err(format!("{id}: {lost:?} is not what its row says"));
        }
        for (partition, end) in world.ledger.give_up(&stored.bodies(id, lost.from, lost.to)) {
            note!(world.trace, "{partition} is given up from {end} on");
        }
        if let Some(hit) = hit
            && (id != hit.extent || !hit.may_begin.contains(&lost.from))
        {
            return Err(format!(
                "{id} from {} is given up, damaged: {hit:?}",
                lost.from
            ));
        }
    }
    Ok(())
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

/// The log goes on behind what was given up.
async fn write_some(world: &Arc<World>) {
    let client = Client::beside(world, "after");
    for number in 0..12 {
        let _ = clients::write_once(&client, number).await;
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
