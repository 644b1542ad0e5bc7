//! The only log node's disk is gone: nothing is served until an operator gives up what lay on it. Then a service that had stopped
//! in peace has lost nothing, and one that was killed no more than what it had not tiered.

use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::ExtentId;
use tidemark_lease::{GoneShard, find_gone, silent_nodes};
use tidemark_runtime::Invariant;
use tidemark_types::ShardId;

use crate::broken::Broken;
use crate::clients::Client;
use crate::plan::Retention;
use crate::process::Process;
use crate::rot::{self, Stored};
use crate::run::{Outcome, on_one_thread, outcome};
use crate::trace::note;
use crate::world::{Phase, World};
use crate::{audit, clients, covered};

/// Longer than an owner that is gone is believed in.
const SILENCE: Duration = Duration::from_secs(7);
/// Tries of the operator: the process beside it takes the same shards, which raises their epochs.
const TRIES: u32 = 50;

/// How the service ended before its disk did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It was stopped, and everything is in the object store.
    Stopped,
    /// It was killed.
    Killed,
}

/// Work in peace, an end, another disk, an operator's word.
#[must_use]
pub fn run_wiped(seed: u64, ending: Ending) -> Outcome {
    on_one_thread(async {
        let broken = Broken {
            copies: Some(1),
            cold: Some(true),
            // What they lose with the disk they would take for a violation.
            tables: Some(false),
            ..Broken::default()
        };
        let world = World::new(seed, broken).await;
        if audit::serving(&world).await.is_some() {
            clients::create_topics(&world).await;
            lose_the_disk(&world, ending).await;
        }
        outcome(seed, &world)
    })
}

async fn lose_the_disk(world: &Arc<World>, ending: Ending) -> Option<()> {
    let handles = clients::start(world);
    world.clock.sleep(Duration::from_secs(3)).await;
    world.enter(Phase::Healed);
    world.newest()?.heal();
    futures_util::future::join_all(handles).await;
    audit::complete(world).await?;
    let plan = world.plan.cold.as_ref()?;
    // What is left after a loss is only known where nothing goes by itself.
    let killed = ending == Ending::Killed && plan.retention == Retention::Everything;
    let old = world.newest()?;
    if !killed {
        let stopped = old.tasks.shutdown(Duration::from_secs(60)).await;
        note!(world.trace, "p{} stopped: {stopped:?}", old.number);
    }
    let stored = rot::stored(world, 0).await;
    old.life.kill();
    world.wipe_machine(0).await;
    if world.plan.embedded {
        world.store.crash().await;
    }
    world.start_process().await;
    world.clock.sleep(SILENCE).await;
    let process = world.newest()?;
    let gone = gone(world).await?;
    if process.is_serving() && !gone.is_empty() {
        let what = format!("serves without a word though {gone:?} is gone");
        world.ledger.violated(Invariant::RebuiltEqual, what);
    }
    let shards: Vec<ShardId> = gone.iter().map(|shard| shard.shard).collect();
    for shard in gone {
        if !killed && !shard.is_tiered() {
            let what = format!("stopped in peace, and {shard:?} was not tiered");
            world.ledger.violated(Invariant::Covered, what);
        }
        note!(world.trace, "gone: {shard:?}");
        give_up(world, &process, &shard, &stored).await?;
    }
    audit::serving(world).await?;
    let whole = !killed || audit::what_is_left(world, &shards).await;
    write_some(world).await;
    if whole && world.verdict.is_clean() {
        audit::audit(world).await;
        covered::check(world).await;
    }
    Some(())
}

async fn gone(world: &World) -> Option<Vec<GoneShard>> {
    find_gone(&world.sim, &[world.machines[0].id()]).await.ok()
}

/// The operator's step for one shard; what it loses is known to be lost.
async fn give_up(
    world: &World,
    process: &Process,
    gone: &GoneShard,
    stored: &Stored,
) -> Option<()> {
    let nodes = gone.nodes();
    for _ in 0..TRIES {
        let silent = silent_nodes(&world.sim, &world.clock, &nodes, Duration::ZERO).await;
        let here = [world.machines[0].id()];
        let leases = &process.leases;
        match leases.give_up_gone(gone.shard, &here, &silent.ok()?).await {
            Ok(_) => {
                for extent in &gone.extents {
                    let (shard, index) = (gone.shard, extent.index);
                    let from = extent.first.max(gone.tiered);
                    let lost = stored.bodies(ExtentId { shard, index }, from, extent.end);
                    for (partition, end) in world.ledger.give_up(&lost) {
                        note!(world.trace, "{partition} is given up from {end} on");
                    }
                }
                return Some(());
            }
            Err(error) => note!(world.trace, "give up shard {}: {error}", gone.shard),
        }
        world.sleep_below(Duration::from_millis(300)).await;
    }
    let what = format!("shard {} cannot be given up", gone.shard);
    world.ledger.violated(Invariant::Resumes, what);
    None
}

/// The log goes on.
async fn write_some(world: &Arc<World>) {
    let client = Client::beside(world, "after");
    for number in 0..12 {
        let _ = clients::write_once(&client, number).await;
    }
}
