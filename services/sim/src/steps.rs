//! A short life in which everything happens that moves the log to the object store and cleans up there, and a process that dies
//! at one chosen step of it: right before or behind a transaction, a put, a delete or a release. Step by step that is every
//! place where a crash can matter.

use std::sync::Arc;
use std::time::Duration;

use tidemark_log::TierCounters;
use tidemark_runtime::Invariant;
use tidemark_topics::{NewTopic, TopicRef};
use tidemark_types::{Offset, PartitionIndex};

use crate::broken::Broken;
use crate::clients::{Client, TOPIC};
use crate::run::{Outcome, on_one_thread, outcome};
use crate::trace::note;
use crate::world::{Phase, TENANT, World};
use crate::{audit, chaos, clients, covered};

const ROUNDS: u64 = 7;
/// Batches to each topic in a round.
const BATCHES: u64 = 7;
const ROUND: Duration = Duration::from_millis(700);
/// Until what was condemned last is deleted.
const REST: Duration = Duration::from_secs(3);
/// Made, written to, deleted, and made again.
const PASSING: &str = "passing";
/// Tries of one append.
const TRIES: u32 = 300;

/// What the first process did in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Steps {
    /// Its steps, up to its death if it died.
    pub steps: u64,
    /// What its tiering did.
    pub tier: TierCounters,
    /// Whether it died.
    pub died: bool,
}

/// Plays the life of a seed; the first process dies at its step `at`, counted from when it serves.
#[must_use]
pub fn run_steps(seed: u64, at: Option<u64>) -> (Outcome, Steps) {
    on_one_thread(async {
        let broken = Broken {
            cold: Some(true),
            tables: Some(true),
            copies: Some(1),
            ..Broken::default()
        };
        let world = World::planned(seed, broken, crate::plan::Plan::be_small).await;
        let mut steps = Steps::default();
        if let Some(first) = audit::serving(&world).await {
            clients::create_topics(&world).await;
            let before = first.life.steps();
            first.life.set_fuse(at);
            live(&world).await;
            first.life.set_fuse(None);
            steps = Steps {
                steps: first.life.steps() - before,
                tier: first.log.tier_counters(),
                died: first.life.is_dead(),
            };
            world.enter(Phase::Healed);
            chaos::heal(&world).await;
            audit::audit(&world).await;
            covered::check(&world).await;
            covered::check_named(&world).await;
        }
        (outcome(seed, &world), steps)
    })
}

async fn live(world: &Arc<World>) {
    let client = Client::beside(world, "steps");
    for round in 0..ROUNDS {
        for batch in 0..BATCHES {
            let number = round * BATCHES + batch;
            append(&client, number).await;
        }
        match round {
            1 | 4 => pass_by(&client, round).await,
            3 => trim(&client).await,
            _ => {}
        }
        world.clock.sleep(ROUND).await;
        // Invariants 13 and 14, whatever just died.
        covered::check(world).await;
    }
    world.clock.sleep(REST).await;
    world.mend().await;
    audit::serving(world).await;
    world.clock.sleep(REST).await;
}

/// One batch to each topic, until it is acked.
async fn append(client: &Client, number: u64) {
    let world = &client.world;
    for table in [false, true] {
        for attempt in 0..TRIES {
            // Another batch each time: what became of the one before may be unknown.
            let number = number * u64::from(TRIES) + u64::from(attempt);
            let answer = if table {
                clients::write_table(client, number).await
            } else {
                clients::write_once(client, number).await
            };
            if matches!(answer, Some(Ok(_))) {
                break;
            }
            world.mend().await;
            world.clock.sleep(Duration::from_millis(100)).await;
            if attempt + 1 == TRIES {
                let what = "an append is never taken".to_owned();
                world.ledger.violated(Invariant::Resumes, what);
            }
        }
    }
}

/// A topic goes, and another one of its name comes.
async fn pass_by(client: &Client, round: u64) {
    let Some(process) = client.pick() else { return };
    let gone = process.topics.delete(&TENANT, TopicRef::Name(PASSING));
    let _ = client.ask(&process, gone).await;
    let new = NewTopic {
        name: PASSING.to_owned(),
        partitions: Some(1),
        ..NewTopic::default()
    };
    let created = client.ask(&process, process.topics.create(&TENANT, new));
    let Some(Ok(topic)) = created.await else {
        return;
    };
    let (index, ledger) = (PartitionIndex(0), &client.world.ledger);
    let id = topic.partition_id(index);
    for number in 0..3 {
        let batch = client.batch(1_000_000 * round + number, None);
        let floor = ledger.floor(id);
        let sent = client.send(&process, &topic, index, &batch, Default::default());
        if let Some(Ok(ack)) = client.ask(&process, sent).await {
            ledger.acked(id, &batch, ack.base_offset, floor);
        }
    }
}

async fn trim(client: &Client) {
    let Some(process) = client.pick() else { return };
    let Some(topic) = client.topic(&process, TOPIC).await else {
        return;
    };
    for (index, _) in topic.indexed() {
        let id = topic.partition_id(index);
        let before = client.world.ledger.floor(id) / 2;
        client.world.starts.asked(id, before);
        let deleted = (process.log).delete_records(&TENANT, &topic, index, Some(Offset(before)));
        let answer = client.ask(&process, deleted).await;
        note!(
            client.world.trace,
            "{id} trimmed before {before}: {answer:?}"
        );
    }
}
