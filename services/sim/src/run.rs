//! One run of one seed.

use std::time::Duration;

use tidemark_runtime::Invariant;

use crate::broken::Broken;
use crate::trace::note;
use crate::verdict::Violation;
use crate::world::{Phase, World};
use crate::{audit, chaos, clients, covered};

/// What a run gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Everything that happened, in order.
    pub trace: Vec<String>,
    /// What should not have.
    pub violations: Vec<Violation>,
    /// Batches acked, and read.
    pub counts: (u64, u64),
}

/// Lines of the trace that a failure shows.
const TAIL: usize = 60;

impl Outcome {
    /// The violations, how to see them again, and the end of the trace.
    #[must_use]
    pub fn report(&self) -> String {
        let found: Vec<String> = self.violations.iter().map(ToString::to_string).collect();
        let first = self.trace.iter().position(|l| l.contains("VIOLATION"));
        let end = first.map_or(self.trace.len(), |at| (at + 5).min(self.trace.len()));
        let tail = &self.trace[end.saturating_sub(TAIL)..end];
        let seed = self.seed;
        format!(
            "seed {seed} violates:\n  {}\nagain: TIDEMARK_SIM_SEED={seed} cargo test -p tidemark-sim seeds\n{}",
            found.join("\n  "),
            tail.join("\n")
        )
    }
}

/// How long clients may take to finish after the faults ended.
const FINISH: Duration = Duration::from_secs(90);

/// Runs a future on a runtime of its own: one thread, virtual time.
pub(crate) fn on_one_thread<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.expect("a runtime without I/O").block_on(run)
}

/// Faults for a while, then peace: nothing that was promised may be missing.
#[must_use]
pub fn run(seed: u64, broken: Broken) -> Outcome {
    on_one_thread(async {
        let world = World::new(seed, broken).await;
        if audit::serving(&world).await.is_some() {
            clients::create_topics(&world).await;
            storm_and_peace(&world).await;
        }
        outcome(seed, &world)
    })
}

pub(crate) fn outcome(seed: u64, world: &World) -> Outcome {
    world.enter(Phase::Over);
    world.look_for_panics();
    let counts = world.ledger.counts();
    note!(world.trace, "{} acked, {} read", counts.0, counts.1);
    Outcome {
        seed,
        trace: world.trace.take(),
        violations: world.verdict.take(),
        counts,
    }
}

async fn storm_and_peace(world: &std::sync::Arc<World>) {
    let handles = clients::start(world);
    let rows = audit::watch_rows(std::sync::Arc::clone(world));
    world.tasks.spawn("rows", rows);
    tokio::select! {
        biased;
        () = chaos::blows(world) => {}
        () = chaos::weather(world) => {}
        () = world.verdict.found() => {}
    }
    if !world.verdict.is_clean() {
        return;
    }
    world.enter(Phase::Healed);
    chaos::heal(world).await;
    if audit::serving(world).await.is_none() {
        return;
    }
    let finished = futures_util::future::join_all(handles);
    if tokio::time::timeout(FINISH, finished).await.is_err() {
        let what = format!("clients have not finished {FINISH:?} after the faults");
        world.ledger.violated(Invariant::Resumes, what);
        return;
    }
    audit::audit(world).await;
    audit::check_copies(world).await;
    covered::check(world).await;
    covered::check_named(world).await;
}
