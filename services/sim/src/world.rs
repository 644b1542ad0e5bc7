//! Everything of one run: machines, metadata, processes, what is known of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_lognode::sim::Crash;
use tidemark_meta::faulty::Faulty;
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::sim::Sim;
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{NodeId, ShardId, Tenant};
use tokio::sync::watch;

use crate::broken::{Broken, Flaw};
use crate::covered::{self, Segments};
use crate::facts::Facts;
use crate::ledger::Ledger;
use crate::life::Life;
use crate::machine::Machine;
use crate::plan::Plan;
use crate::process::Process;
use crate::starts::Starts;
use crate::table::Tables;
use crate::trace::{Trace, note};
use crate::verdict::Verdict;

pub(crate) const TENANT: Tenant = Tenant::default_without_auth();
/// Wall time at the start of a run, ms since the Unix epoch.
pub(crate) const BASE_MS: i64 = 1_700_000_000_000;
/// The node of the processes that share no machine with a log node, and that of their rivals.
pub(crate) const OWNER: NodeId = NodeId(1);
pub(crate) const RIVAL: NodeId = NodeId(2);

/// Where the run is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// Clients work while things break.
    Faults,
    /// Nothing breaks any more; clients finish what they began.
    Healed,
    /// Clients have finished.
    Over,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    /// Decides everything of the service and its faults.
    pub(crate) entropy: Entropy,
    /// The store itself, without faults: for looking at.
    pub(crate) sim: Sim,
    pub(crate) store: Faulty,
    /// What the object store really holds, and the way there.
    pub(crate) objects: tidemark_blob::sim::Sim,
    pub(crate) blobs: tidemark_blob::faulty::Faulty,
    /// Cold segments that were looked into.
    pub(crate) segments: Segments,
    pub(crate) machines: Vec<Machine>,
    pub(crate) facts: Facts,
    pub(crate) trace: Trace,
    pub(crate) verdict: Verdict,
    pub(crate) ledger: Ledger,
    pub(crate) starts: Starts,
    pub(crate) tables: Tables,
    pub(crate) phase: watch::Sender<Phase>,
    /// Of the world itself: clients, links, faults.
    pub(crate) tasks: Tasks,
    processes: Mutex<Vec<Arc<Process>>>,
    numbers: AtomicU32,
}

impl World {
    /// A world with one process that serves.
    pub(crate) async fn new(seed: u64, broken: Broken) -> Arc<Self> {
        Self::planned(seed, broken, |_| {}).await
    }

    /// With a change of what the seed decided.
    pub(crate) async fn planned(
        seed: u64,
        broken: Broken,
        change: impl FnOnce(&mut Plan),
    ) -> Arc<Self> {
        let clock = Clock::simulated(BASE_MS);
        let entropy = Entropy::seeded(seed);
        let trace = Trace::new(&clock);
        let verdict = Verdict::new(&trace, broken.harm);
        let mut plan = Plan::draw(&entropy, broken);
        change(&mut plan);
        note!(trace, "seed {seed}: {plan:?}");
        let facts = Facts::new(
            &verdict,
            broken.flaw.is_some_and(|flaw| flaw != Flaw::VolatileFence),
        );
        let mut machines = Vec::new();
        for _ in 0..plan.copies {
            let machine = Machine::new(
                plan.node.clone(),
                (&clock, &entropy),
                (&facts, &trace),
                broken.flaw,
            );
            machines.push(machine.await.expect("an empty disk opens"));
        }
        let sim = Sim::new(&clock);
        let objects = tidemark_blob::sim::Sim::new(&clock);
        let inner = Arc::new(objects.clone());
        let world = Arc::new(Self {
            store: Faulty::new(Arc::new(sim.clone()), &clock, &entropy),
            blobs: tidemark_blob::faulty::Faulty::new(inner, &clock, &entropy),
            objects,
            segments: Segments::default(),
            ledger: Ledger::new(&verdict),
            starts: Starts::new(&verdict),
            tables: Tables::new(&verdict),
            phase: watch::channel(Phase::Faults).0,
            tasks: Tasks::new(),
            processes: Mutex::default(),
            numbers: AtomicU32::new(0),
            plan,
            clock,
            entropy,
            sim,
            machines,
            facts,
            trace,
            verdict,
        });
        world.start_process().await;
        world
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) const fn sources(&self) -> (&Clock, &Entropy) {
        (&self.clock, &self.entropy)
    }

    pub(crate) async fn sleep_below(&self, longest: Duration) {
        let us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        let wait = Duration::from_micros(self.entropy.below(us.max(1)));
        self.clock.sleep(wait).await;
    }

    /// The newest process that was started and not killed.
    pub(crate) fn newest(&self) -> Option<Arc<Process>> {
        self.alive().pop()
    }

    /// The processes that are not dead, oldest first.
    pub(crate) fn alive(&self) -> Vec<Arc<Process>> {
        let mut processes = self.processes.lock();
        processes.retain(|p| {
            if let Some(failure) = p.tasks.failure() {
                self.verdict.panicked(format!("p{}: {failure}", p.number));
                p.life.kill();
            }
            !p.life.is_dead()
        });
        processes.clone()
    }

    /// Starts a process on the usual node.
    pub(crate) async fn start_process(&self) {
        let (node, life) = if self.plan.embedded {
            (self.machines[0].id(), self.machines[0].life())
        } else {
            (OWNER, Life::new())
        };
        self.start_process_of(node, life, &[]).await;
    }

    /// Starts a process whose ways to some machines are slow.
    pub(crate) async fn start_process_of(
        &self,
        node: NodeId,
        life: Life,
        lags: &[(usize, Duration)],
    ) {
        covered::check(self).await;
        if let Some(process) = Process::start(self, node, life, lags).await {
            self.processes.lock().push(process);
        }
    }

    /// A machine's disk is gone.
    pub(crate) async fn wipe_machine(&self, at: usize) {
        self.look_for_panics();
        if let Err(error) = self.machines[at].wipe(self.sources()).await {
            self.verdict
                .panicked(format!("a log node does not open: {error}"));
        }
        for process in self.alive() {
            process.meet(self, at);
        }
    }

    /// Takes a machine down and starts it again, with its process if they share it.
    pub(crate) async fn restart_machine(&self, at: usize, how: Crash) {
        let machine = &self.machines[at];
        self.look_for_panics();
        note!(self.trace, "node {} goes down: {how:?}", machine.id());
        machine.life().kill();
        if self.plan.embedded {
            self.store.crash().await;
        }
        self.sleep_below(Duration::from_millis(300)).await;
        let may_crash = self.phase() == Phase::Faults;
        let restarted = machine.restart(how, self.sources(), self.plan.shards, may_crash);
        let restarted = restarted.await;
        if let Err(error) = restarted {
            self.verdict
                .panicked(format!("a log node does not open: {error}"));
            return;
        }
        if self.plan.embedded {
            self.start_process().await;
        }
    }

    /// Starts again what died or refuses to work.
    pub(crate) async fn mend(&self) {
        for (at, machine) in self.machines.iter().enumerate() {
            if machine.life().is_dead() {
                self.restart_machine(at, Crash::Power).await;
            } else if machine.is_poisoned() {
                let how = [Crash::Power, Crash::Process];
                let how = how[usize::from(self.entropy.below(2) == 0)];
                self.restart_machine(at, how).await;
            }
        }
        if self.newest().is_none() {
            self.start_process().await;
        }
    }

    /// Whether no takeover has begun since this process took the shard.
    pub(crate) async fn owns(&self, process: &Process, shard: ShardId) -> bool {
        let Some(ours) = process.log.ownership(shard) else {
            return false;
        };
        let mut tx = self.sim.begin();
        let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await;
        matches!(row, Ok(Some(row)) if row.epoch == ours.epoch)
    }

    pub(crate) fn look_for_panics(&self) {
        for machine in &self.machines {
            if let Some(failure) = machine.failure() {
                self.verdict
                    .panicked(format!("node {}: {failure}", machine.id()));
            }
        }
        self.alive();
        if let Some(failure) = self.tasks.failure() {
            self.verdict.panicked(failure.to_string());
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        note!(self.trace, "phase {phase:?}");
        self.phase.send_replace(phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}
