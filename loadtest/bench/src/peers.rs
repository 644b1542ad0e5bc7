//! Servers side by side on one machine: started in turn, given the same load by the same clients.
//!
//! Rounds alternate (A B A B …), every round on an empty data folder; what is reported are medians, and ratios within
//! a round, since a machine's own mood changes from one minute to the next.

mod peer;
mod server;
mod summary;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemark_runtime::Tasks;

pub use self::peer::Peer;
pub use self::server::{Places, Server};
pub use self::summary::{Better, Metric, Spread, summarize};
use crate::LoadError;
use crate::process::Machine;
use crate::progress::Progress;
use crate::report::Report;
use crate::run::run;
use crate::scenario::{Protocol, Scenario};

/// One peer in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Round {
    /// The peer.
    pub peer: String,
    /// Which round, from 1 on.
    pub round: u32,
    /// From the start of its process to its first ack, on an empty folder, ms.
    pub first_ack_ms: f64,
    /// Resident after that, bytes.
    pub idle_bytes: u64,
    /// What the scenario measured.
    pub report: Report,
}

/// A scenario on several peers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// The scenario's name.
    pub scenario: String,
    /// What its numbers mean.
    pub why: String,
    /// Name and description of each peer, the one compared first.
    pub peers: Vec<(String, String)>,
    /// Where it ran.
    pub machine: Machine,
    /// The command that made it.
    pub command: String,
    /// Every round.
    pub rounds: Vec<Round>,
    /// Medians and ratios.
    pub metrics: Vec<Metric>,
    /// Peers that could not run the scenario, and why.
    pub left_out: Vec<String>,
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rounds of each peer.
    pub rounds: u32,
    /// Where peers are installed, kept between runs.
    pub cache: PathBuf,
    /// Where their data goes, emptied after each round.
    pub data: PathBuf,
    /// Tidemark's binary.
    pub tidemark: PathBuf,
    /// The command line, for the report.
    pub command: String,
}

/// Runs `scenario` on each of `peers` in turn.
///
/// # Errors
/// The first peer that cannot be installed or started, or whose run fails or loses a record.
pub async fn compare(
    text: &str,
    peers: &[Peer],
    options: &Options,
) -> Result<Comparison, LoadError> {
    let scenario = Scenario::parse(text)?;
    let mut comparison = Comparison {
        scenario: scenario.name.clone(),
        why: scenario.why.clone(),
        peers: Vec::new(),
        machine: Machine::here(),
        command: options.command.clone(),
        rounds: Vec::new(),
        metrics: Vec::new(),
        left_out: Vec::new(),
    };
    let mut able = Vec::new();
    for peer in peers {
        match fitted(&scenario, peer) {
            Ok(scenario) => {
                comparison
                    .peers
                    .push((peer.name.clone(), peer.about.clone()));
                able.push((peer, scenario));
            }
            Err(why) => comparison.left_out.push(format!("{}: {why}", peer.name)),
        }
    }
    for (peer, _) in &able {
        server::install(peer, options)?;
    }
    for round in 1..=options.rounds {
        for (peer, scenario) in &able {
            let one = one_round(peer, scenario, round, options).await?;
            comparison.rounds.push(one);
        }
    }
    comparison.metrics = summarize(&comparison.peers, &comparison.rounds);
    Ok(comparison)
}

async fn one_round(
    peer: &Peer,
    scenario: &Scenario,
    round: u32,
    options: &Options,
) -> Result<Round, LoadError> {
    settle().await;
    let (mut server, first_ack) = Server::start(peer, options).await?;
    let idle_bytes = server.usage_now().map_or(0, |u| u.resident_bytes);
    let progress = Progress {
        label: format!("{} {round}: ", peer.name),
    };
    let target = server.target();
    let report = run(scenario, target, &mut server, &progress).await;
    let said = server.stop().await;
    let report = report.map_err(|e| LoadError::broken(format!("run on {}", peer.name), e))?;
    said?;
    if !report.findings.is_clean() {
        let named = report.findings.named.join("; ");
        return Err(LoadError::broken(format!("verify {}", peer.name), named));
    }
    Ok(Round {
        peer: peer.name.clone(),
        round,
        first_ack_ms: first_ack.as_secs_f64() * 1000.0,
        idle_bytes,
        report,
    })
}

/// How long the machine is left alone before a round.
const REST: Duration = Duration::from_secs(3);

/// Lets the round before end: what its server wrote without syncing, and the removal of its files, would be paid for by the
/// one after.
async fn settle() {
    Tasks::spawn_blocking(rustix::fs::sync).await;
    tokio::time::sleep(REST).await;
}

/// The scenario as this peer can run it, or why it cannot: sequential producers speak the peer's own protocol when it has
/// none of theirs.
fn fitted(scenario: &Scenario, peer: &Peer) -> Result<Scenario, String> {
    let only = &scenario.only;
    if !only.is_empty() && !only.contains(&peer.name) {
        return Err(format!("the scenario is for {}", only.join(", ")));
    }
    let mut fitted = scenario.clone();
    for phase in &mut fitted.phases {
        if let Some(produce) = &mut phase.produce
            && produce.sequential
            && produce.protocol == Protocol::Kafka
            && !peer.protocols.contains(&Protocol::Kafka)
            && let Some(own) = peer.protocols.first()
        {
            produce.protocol = *own;
        }
    }
    let (all, speaks) = (fitted.protocols(), &peer.protocols);
    if all.iter().all(|p| speaks.contains(p)) {
        return Ok(fitted);
    }
    let wanted = scenario.protocols();
    Err(format!("it speaks {speaks:?}, the scenario {wanted:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(protocols: &str) -> Peer {
        let text = format!("name = \"p\"\nprotocols = {protocols}\nstart = [\"true\"]");
        Peer::parse(&text).unwrap()
    }

    #[test]
    fn sequential_acks_are_asked_for_in_the_peers_own_protocol() {
        let text = "name = \"s\"\n[[phases]]\nname = \"p\"\nrecords = 1\n[phases.produce]\nsequential = true";
        let scenario = Scenario::parse(text).unwrap();
        let on_nats = fitted(&scenario, &peer("[\"nats\"]")).unwrap();
        assert_eq!(on_nats.protocols(), [Protocol::Nats]);
        let on_both = fitted(&scenario, &peer("[\"http\", \"kafka\"]")).unwrap();
        assert_eq!(on_both.protocols(), [Protocol::Kafka]);
        let batches = Scenario::parse(&text.replace("sequential = true", "")).unwrap();
        let why = fitted(&batches, &peer("[\"nats\"]")).unwrap_err();
        assert_eq!(why, "it speaks [Nats], the scenario [Kafka]");
    }

    #[test]
    fn a_scenario_that_names_its_peers_leaves_the_others_out() {
        let text =
            "name = \"s\"\nonly = [\"q\"]\n[[phases]]\nname = \"p\"\nrestart = true\nkill = true";
        let scenario = Scenario::parse(text).unwrap();
        let why = fitted(&scenario, &peer("[\"kafka\"]")).unwrap_err();
        assert_eq!(why, "the scenario is for q");
        let of_p = Scenario::parse(&text.replace('q', "p")).unwrap();
        assert!(fitted(&of_p, &peer("[\"kafka\"]")).is_ok());
    }
}
