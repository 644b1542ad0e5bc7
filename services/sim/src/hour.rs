//! The object store cannot be reached for an hour, on small disks, while processes and machines come and go: appends and
//! reads of the tail go on until the disks are full, then appends get errors that are worth a retry and reads still go on;
//! nobody stays down, and once the hour is over all recovers by itself.

use std::sync::Arc;
use std::time::Duration;

use tidemark_blob::faulty::Outage;
use tidemark_lognode::sim::Crash;
use tidemark_runtime::Invariant;
use tidemark_types::Coded;
use tokio::time::Instant;

use crate::broken::Broken;
use crate::clients::{Client, TOPIC, fetch, took};
use crate::run::{Outcome, on_one_thread, outcome};
use crate::trace::note;
use crate::world::{Phase, World};
use crate::{audit, chaos, clients, covered};

const HOUR: Duration = Duration::from_secs(3_600);
/// Longest pause between two requests.
const PAUSE: Duration = Duration::from_secs(8);
/// Of so many requests one meets trouble.
const TROUBLE: u64 = 25;
/// Reads and, once there is room, appends work again after this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the hour was like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hour {
    /// Appends acked.
    pub acked: u64,
    /// Appends refused with an error that is worth a retry.
    pub refused: u64,
    /// Reads of the tail that were answered.
    pub read: u64,
    /// Restarts and the like.
    pub troubles: u64,
}

/// See the module's documentation.
#[must_use]
pub fn run_hour(seed: u64) -> (Outcome, Hour) {
    on_one_thread(async {
        let broken = Broken {
            cold: Some(true),
            tables: Some(true),
            tight: true,
            ..Broken::default()
        };
        let world = World::new(seed, broken).await;
        let mut hour = Hour::default();
        if audit::serving(&world).await.is_some() {
            clients::create_topics(&world).await;
            let client = Client::beside(&world, "hour");
            let outage = Some(HOUR);
            world.blobs.begin_outage(Outage::Unreachable, outage);
            let over = world.clock.now() + HOUR;
            work(&client, over, &mut hour).await;
            note!(world.trace, "the hour is over: {hour:?}");
            recovers(&client).await;
        }
        (outcome(seed, &world), hour)
    })
}

async fn work(client: &Client, over: Instant, hour: &mut Hour) {
    let world = &client.world;
    let mut read_at = world.clock.now();
    let mut number: u64 = 0;
    while world.clock.now() < over && world.verdict.is_clean() {
        world.sleep_below(PAUSE).await;
        world.mend().await;
        if world.entropy.below(TROUBLE) == 0 {
            hour.troubles += 1;
            trouble(world).await;
        }
        number += 1;
        let answer = if number.is_multiple_of(3) {
            clients::write_table(client, number).await
        } else {
            clients::write_once(client, number).await
        };
        match answer {
            Some(Ok(_)) => hour.acked += 1,
            Some(Err(error)) if error.code().is_retriable() => hour.refused += 1,
            Some(Err(error)) => {
                let what = format!("an append is refused for good: {error}");
                world.ledger.violated(Invariant::Resumes, what);
            }
            None => {}
        }
        if read_tail(client).await {
            hour.read += 1;
            read_at = world.clock.now();
        } else if world.clock.now() > read_at + PATIENCE {
            let what = format!("the tail cannot be read for {PATIENCE:?}");
            world.ledger.violated(Invariant::Resumes, what);
        }
    }
}

/// The last records of some partition.
async fn read_tail(client: &Client) -> bool {
    let (index, world) = (client.some_partition(), &client.world);
    let Some(process) = client.pick() else {
        return false;
    };
    let Some(topic) = client.topic(&process, TOPIC).await else {
        return false;
    };
    let id = topic.partition_id(index);
    let from = (world.ledger.floor(id) - 2).max(world.starts.may_begin(id));
    let limits = (4 << 10, Duration::ZERO);
    let fetched = client.ask(&process, fetch(&process, &topic, index, from, limits));
    let Some(fetched) = fetched.await else {
        return false;
    };
    if let Some(error) = fetched.error {
        note!(world.trace, "hour {id} from {from}: {error}");
        return false;
    }
    took(client, &process, &topic, index, from, &fetched);
    true
}

async fn trouble(world: &Arc<World>) {
    let count = world.machines.len() as u64;
    let machine = usize::try_from(world.entropy.below(count)).unwrap_or(0);
    match world.entropy.below(4) {
        0 => world.restart_machine(machine, Crash::Power).await,
        1 => world.restart_machine(machine, Crash::Process).await,
        2 => {
            note!(world.trace, "metadata outage");
            world.store.set_outage(true);
            world.sleep_below(PAUSE).await;
            world.store.set_outage(false);
        }
        _ => {
            if !world.plan.embedded {
                world.alive().iter().for_each(|p| p.life.kill());
            }
            world.start_process().await;
        }
    }
}

/// Without anybody's help.
async fn recovers(client: &Client) {
    let world = &client.world;
    let until = world.clock.now() + PATIENCE;
    let mut number = 1_000_000;
    while !matches!(clients::write_once(client, number).await, Some(Ok(_))) {
        number += 1;
        world.mend().await;
        world.sleep_below(Duration::from_secs(1)).await;
        if world.clock.now() > until {
            let what = format!("no append is taken {PATIENCE:?} after the hour");
            return world.ledger.violated(Invariant::Resumes, what);
        }
    }
    world.enter(Phase::Healed);
    chaos::heal(world).await;
    audit::audit(world).await;
    covered::check(world).await;
    covered::check_named(world).await;
}
