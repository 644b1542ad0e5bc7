//! Runs a scenario: topics, then its phases one after the other.

mod phase;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_runtime::{Clock, Entropy, Tasks};

use crate::LoadError;
use crate::http::{self, Http};
use crate::kafka::producer::bootstrap;
use crate::layout::Layout;
use crate::measure::Meter;
use crate::nats::Nats;
use crate::payload::Payload;
use crate::process::{self, Machine, Usage};
use crate::progress::Progress;
use crate::report::Report;
use crate::scenario::{Protocol, Scenario};
use crate::sequential::nats_address;
use crate::shared::{Shared, Target};
use crate::verify::{Findings, Ledger};

/// Something that answers later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, LoadError>> + Send + 'a>>;

/// The server under load, as far as the run may know and handle it.
pub trait Host: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> String;

    /// What its process used, when that is known.
    fn usage(&self) -> Option<Usage>;

    /// Stops (or kills) and starts it; answers how long it took from the start of the process to its first answer.
    fn restart(&mut self, kill: bool) -> Later<'_, Duration>;
}

/// A server that somebody else started.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Its name in reports.
    pub name: String,
    /// Its process, if known.
    pub pid: Option<u32>,
}

impl Host for Foreign {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn usage(&self) -> Option<Usage> {
        self.pid.and_then(process::usage)
    }

    fn restart(&mut self, _kill: bool) -> Later<'_, Duration> {
        Box::pin(std::future::ready(Err(LoadError::Usage {
            what: "the scenario restarts the server, and this run did not start it".to_owned(),
            hint: "run it with `tidemark-loadtest peers`".to_owned(),
        })))
    }
}

/// Runs `scenario` against `target`.
///
/// # Errors
/// The first thing that went wrong. What verification found is not an error but part of the report.
pub async fn run(
    scenario: &Scenario,
    target: Target,
    host: &mut dyn Host,
    progress: &Progress,
) -> Result<Report, LoadError> {
    let (clock, entropy, tasks) = (Clock::system(), Entropy::system(), Tasks::new());
    let run = u32::try_from(entropy.below(u64::from(u32::MAX))).unwrap_or(0);
    let topics = &scenario.topics;
    let shared = Shared {
        started: clock.now(),
        meter: Meter::new(clock.now()),
        payload: Arc::new(Payload::new(run, &scenario.record)),
        layout: Arc::new(Layout::new(
            &format!("{run:08x}"),
            topics.count,
            topics.partitions,
        )),
        ledger: Arc::new(Mutex::new(Ledger::default())),
        clock,
        tasks,
        target,
    };
    let mut report = Report {
        scenario: scenario.name.clone(),
        why: scenario.why.clone(),
        server: host.name(),
        machine: Machine::here(),
        began_ms: shared.clock.wall_ms(),
        phases: Vec::new(),
        findings: Findings::default(),
    };
    prepare(scenario, &shared).await?;
    let mut producers_before = 0;
    let mut partitions = u64::from(topics.count) * u64::from(topics.partitions);
    for phase in &scenario.phases {
        let mut running = phase::Running::new(scenario, phase, shared.clone(), producers_before);
        let (mut done, findings) = running.run(host, progress).await?;
        if let Some(idle) = &phase.idle {
            partitions += u64::from(idle.topics) * u64::from(idle.partitions.max(1));
            done.holds.connections = idle.connections.into();
        }
        done.holds.partitions = partitions;
        report.phases.push(done);
        report.findings.add(findings);
        producers_before += phase.produce.as_ref().map_or(0, |p| p.producers);
    }
    Ok(report)
}

async fn prepare(scenario: &Scenario, shared: &Shared) -> Result<(), LoadError> {
    let protocols = scenario.protocols();
    if protocols.contains(&Protocol::Nats) {
        let mut nats = Nats::connect(&nats_address(shared)?, "prepare").await?;
        nats.create_streams(&shared.layout).await?;
    }
    if protocols.contains(&Protocol::Kafka) {
        let mut client = bootstrap(shared).await?;
        let (topics, partitions) = (shared.layout.topics(), shared.layout.partitions());
        client
            .create_topics(topics, partitions, scenario.topics.replication)
            .await?;
    } else if protocols.contains(&Protocol::Http) {
        let mut http = Http::connect(&http::address(shared)?).await?;
        http::create_topics(&mut http, &shared.layout).await?;
    }
    Ok(())
}
