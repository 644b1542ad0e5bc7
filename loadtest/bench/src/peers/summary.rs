//! Rounds as medians, and as ratios with their spread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Round;
use crate::report::{Holds, PhaseReport};

/// Which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Better {
    /// Less.
    Less,
    /// More.
    More,
}

/// A median with the smallest and the largest.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// One number of all peers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metric {
    /// The phase, or "start".
    pub phase: String,
    /// What it is.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// By peer.
    pub values: BTreeMap<String, Spread>,
    /// The first peer's value over each other peer's, within each round.
    pub ratios: BTreeMap<String, Spread>,
}

type Get = fn(&PhaseReport) -> Option<f64>;

/// What is compared of each phase.
const OF_PHASE: &[(&str, &str, Better, Get)] = &[
    ("produced", "MiB/s", Better::More, |p| {
        p.produce.as_ref().map(|s| s.mib_per_s)
    }),
    ("produced records", "/s", Better::More, |p| {
        p.produce.as_ref().map(|s| s.records_per_s)
    }),
    ("produce p50", "ms", Better::Less, |p| {
        p.produce.as_ref().map(|s| s.latency.p50_ms)
    }),
    ("produce p99", "ms", Better::Less, |p| {
        p.produce.as_ref().map(|s| s.latency.p99_ms)
    }),
    ("produce p99.9", "ms", Better::Less, |p| {
        p.produce.as_ref().map(|s| s.latency.p999_ms)
    }),
    ("produce max", "ms", Better::Less, |p| {
        p.produce.as_ref().map(|s| s.latency.max_ms)
    }),
    ("consumed", "MiB/s", Better::More, |p| {
        p.consume.as_ref().map(|s| s.mib_per_s)
    }),
    // Where nothing is produced latency counts from long ago and says nothing.
    ("end-to-end p50", "ms", Better::Less, |p| end_to_end(p, 0.5)),
    ("end-to-end p99", "ms", Better::Less, |p| {
        end_to_end(p, 0.99)
    }),
    ("server CPU per GiB", "s", Better::Less, |p| {
        p.server.and_then(|s| s.cpu_s_per_gib)
    }),
    ("server CPU", "s", Better::Less, |p| {
        p.server.map(|s| s.cpu_s)
    }),
    ("written per byte", "B", Better::Less, |p| {
        p.server.and_then(|s| s.written_per_byte)
    }),
    ("peak memory", "MiB", Better::Less, |p| {
        p.server.map(|s| mib(s.peak_bytes))
    }),
    ("memory at the end", "MiB", Better::Less, |p| {
        p.server.map(|s| mib(s.resident_after_bytes))
    }),
    ("restart to first ack", "ms", Better::Less, |p| p.ready_ms),
];

/// So few partitions or connections say nothing: what a server grows by has other reasons too.
const MANY: u64 = 10_000;

/// What a round's process has grown by since its first ack, bytes, over `count` of something.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn each(round: &Round, at: usize, count: fn(&Holds) -> u64) -> Option<f64> {
    let phase = round.report.phases.get(at)?;
    let count = Some(count(&phase.holds)).filter(|n| *n >= MANY)?;
    let grown = phase.server?.resident_after_bytes as f64 - round.idle_bytes as f64;
    Some(grown / count as f64)
}

fn end_to_end(phase: &PhaseReport, quantile: f64) -> Option<f64> {
    phase.produce.as_ref()?;
    let all = &phase.consume.as_ref()?.latency.quantiles;
    all.iter().find(|(q, _)| *q >= quantile).map(|(_, ms)| *ms)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// Medians and ratios of everything that every peer has.
#[must_use]
pub fn summarize(peers: &[(String, String)], rounds: &[Round]) -> Vec<Metric> {
    let of = |name: &str| -> Vec<&Round> { rounds.iter().filter(|r| r.peer == name).collect() };
    let mut metrics = Vec::new();
    let mut add =
        |phase: &str, name: &str, unit: &str, better, get: &dyn Fn(&Round) -> Option<f64>| {
            let mut values = BTreeMap::new();
            let mut raw = Vec::new();
            for (peer, _) in peers {
                let all: Option<Vec<f64>> = of(peer).into_iter().map(get).collect();
                let Some(all) = all.filter(|all| !all.is_empty()) else {
                    return;
                };
                values.insert(peer.clone(), spread(all.clone()));
                raw.push((peer, all));
            }
            let mut ratios = BTreeMap::new();
            if let Some(((_, first), others)) = raw.split_first() {
                for (peer, other) in others {
                    let pairs = first.iter().zip(other).filter(|(_, b)| **b > 0.0);
                    let each: Vec<f64> = pairs.map(|(a, b)| a / b).collect();
                    if !each.is_empty() {
                        ratios.insert((*peer).clone(), spread(each));
                    }
                }
            }
            metrics.push(Metric {
                phase: phase.to_owned(),
                name: name.to_owned(),
                unit: unit.to_owned(),
                better,
                values,
                ratios,
            });
        };
    add("start", "start to first ack", "ms", Better::Less, &|r| {
        Some(r.first_ack_ms)
    });
    add("start", "idle memory", "MiB", Better::Less, &|r| {
        Some(mib(r.idle_bytes))
    });
    let phases = rounds.first().map_or(0, |r| r.report.phases.len());
    for at in 0..phases {
        let name = &rounds[0].report.phases[at].name;
        for (what, unit, better, get) in OF_PHASE {
            add(name, what, unit, *better, &|r| {
                r.report.phases.get(at).and_then(get)
            });
        }
        add(name, "memory per partition", "B", Better::Less, &|r| {
            each(r, at, |holds| holds.partitions)
        });
        add(name, "memory per connection", "B", Better::Less, &|r| {
            each(r, at, |holds| holds.connections)
        });
    }
    metrics
}

fn spread(mut all: Vec<f64>) -> Spread {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    let median = match all.len() % 2 {
        1 => all[middle],
        _ => f64::midpoint(all[middle - 1], all[middle]),
    };
    Spread {
        median,
        min: all[0],
        max: all[all.len() - 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Machine;
    use crate::report::Report;
    use crate::verify::Findings;

    fn round(peer: &str, number: u32, first_ack_ms: f64) -> Round {
        let report = Report {
            scenario: String::new(),
            why: String::new(),
            server: peer.to_owned(),
            machine: Machine::default(),
            began_ms: 0,
            phases: Vec::new(),
            findings: Findings::default(),
        };
        Round {
            peer: peer.to_owned(),
            round: number,
            first_ack_ms,
            idle_bytes: 1 << 20,
            report,
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let peers = [
            ("a".to_owned(), String::new()),
            ("b".to_owned(), String::new()),
        ];
        // Both are ten times slower in the second round: the machine was, and the ratio does not care.
        let rounds = [
            round("a", 1, 10.0),
            round("b", 1, 20.0),
            round("a", 2, 100.0),
            round("b", 2, 200.0),
            round("a", 3, 10.0),
            round("b", 3, 40.0),
        ];
        let metrics = summarize(&peers, &rounds);
        let ack = metrics
            .iter()
            .find(|m| m.name == "start to first ack")
            .unwrap();
        assert!((ack.values["a"].median - 10.0).abs() < 1e-9);
        let ratio = ack.ratios["b"];
        assert!((ratio.median - 0.5).abs() < 1e-9 && (ratio.min - 0.25).abs() < 1e-9);
        assert!(!ack.ratios.contains_key("a"));
    }
}
