//! Instructions of the server's hot paths, counted by valgrind's callgrind: what CI can hold where time cannot be.
//!
//! # Overview
//! A path is a scenario with a `{count}` in it. It runs twice against the real server, each time under callgrind and
//! with another count; what the two runs' totals differ by, divided by what the counts differ by, is the cost of one.
//! So start, connecting and stop cancel out, and what is left hardly moves from run to run (0.1 % for acks in
//! sequence on an idle machine, 3 % on a busy one). Readers in their own process are not counted, and neither is the kernel.
//!
//! Callgrind knows no AVX-512: checksums are counted in their SSE form.

use std::path::Path;

use serde::Deserialize;

use crate::LoadError;
use crate::peers::{Options, Peer, Server};
use crate::progress::Progress;
use crate::run::run;
use crate::scenario::Scenario;

/// The ratchet's file: what each path may cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratchet {
    /// By how much a path may pass its number, or stay below it before the number is to be lowered; 0.1 is 10 %.
    pub margin: f64,
    /// The paths.
    pub paths: Vec<HotPath>,
}

/// A path and what it cost when it was last looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HotPath {
    /// Its name, with what one of it is.
    pub name: String,
    /// What `{count}` is in the two runs, the smaller first.
    pub counts: [u64; 2],
    /// How many of what is counted one `count` makes.
    #[serde(default = "one")]
    pub each: u64,
    /// Instructions of one.
    pub instructions: u64,
    /// Its own margin, in place of the file's.
    #[serde(default)]
    pub margin: Option<f64>,
    /// The scenario, with `{count}` in it.
    pub scenario: String,
}

const fn one() -> u64 {
    1
}

impl Ratchet {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not of this shape, or a path's counts do not ascend.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let usage = |what: String, hint: &str| LoadError::Usage {
            what,
            hint: hint.to_owned(),
        };
        let ratchet: Self = toml::from_str(text).map_err(|e| {
            let hint = "see loadtest/bench/instructions.toml";
            usage(format!("read the hot paths: {e}"), hint)
        })?;
        for path in &ratchet.paths {
            let [small, large] = path.counts;
            if small >= large || path.each == 0 || !path.scenario.contains("{count}") {
                let what = format!("{}: its two runs are the same", path.name);
                let hint = "give counts that ascend, `each` from 1 on, and {count} in the scenario";
                return Err(usage(what, hint));
            }
        }
        Ok(ratchet)
    }

    /// What is to be said of a path that costs `measured` instructions now.
    #[must_use]
    pub fn judge(&self, path: &HotPath, measured: f64) -> Verdict {
        #[expect(clippy::cast_precision_loss, reason = "instructions of one request")]
        let ratio = measured / path.instructions.max(1) as f64;
        let margin = path.margin.unwrap_or(self.margin);
        if ratio > 1.0 + margin {
            Verdict::Worse(ratio)
        } else if ratio < 1.0 - margin {
            Verdict::Better(ratio)
        } else {
            Verdict::Same(ratio)
        }
    }
}

/// A path's cost as a ratio to its number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// Within the margin.
    Same(f64),
    /// Below it: the number is to be lowered.
    Better(f64),
    /// Above it: a regression.
    Worse(f64),
}

/// `tidemark` with its server under callgrind, which writes its totals to `out`. Without tiering: how much of it falls
/// into a run is a matter of time.
#[must_use]
pub fn under_callgrind(tidemark: &Peer, out: &Path) -> Peer {
    let mut peer = tidemark.clone();
    peer.start = ["valgrind", "--tool=callgrind"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("--callgrind-out-file={}", out.display())])
        .chain(tidemark.start.iter().cloned())
        .chain(["--cold-enabled", "false"].map(str::to_owned))
        .collect();
    peer
}

/// Instructions of one of `path`.
///
/// # Errors
/// When valgrind or the server cannot be started, or a run fails or finds something.
pub async fn measure(path: &HotPath, tidemark: &Peer, options: &Options) -> Result<f64, LoadError> {
    let out = options.cache.join("callgrind.out");
    let peer = under_callgrind(tidemark, &out);
    let mut totals = [0; 2];
    for (total, count) in totals.iter_mut().zip(path.counts) {
        let text = path.scenario.replace("{count}", &count.to_string());
        let scenario = Scenario::parse(&text)?;
        let (mut server, _) = Server::start(&peer, options).await?;
        let progress = Progress {
            label: format!("{}, {count}: ", path.name),
        };
        let target = server.target();
        let report = run(&scenario, target, &mut server, &progress).await;
        server.stop().await?;
        let findings = report?.findings;
        if !findings.is_clean() {
            let named = findings.named.join("; ");
            return Err(LoadError::broken(format!("verify {}", path.name), named));
        }
        *total = read_total(&out)?;
    }
    let [small, large] = path.counts;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (cost, of) = (
        totals[1].saturating_sub(totals[0]) as f64,
        ((large - small) * path.each) as f64,
    );
    Ok(cost / of)
}

fn read_total(out: &Path) -> Result<u64, LoadError> {
    let text = std::fs::read_to_string(out);
    let text = text.map_err(LoadError::system(format!("read {}", out.display())))?;
    total(&text).ok_or_else(|| {
        let why = "it has no line of totals; was the server killed?";
        LoadError::broken(format!("read {}", out.display()), why)
    })
}

/// The sum of all instructions in what callgrind wrote.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratchet(counts: &str) -> Result<Ratchet, LoadError> {
        Ratchet::parse(&format!(
            "margin = 0.05\n[[paths]]\nname = \"p\"\ncounts = {counts}\ninstructions = 1000\nscenario = \"{{count}}\""
        ))
    }

    #[test]
    fn the_repositorys_paths_are_scenarios_at_both_counts() {
        let text = include_str!("../instructions.toml");
        let ratchet = Ratchet::parse(text).unwrap();
        assert!(!ratchet.paths.is_empty());
        for path in &ratchet.paths {
            for count in path.counts {
                let filled = path.scenario.replace("{count}", &count.to_string());
                let read = Scenario::parse(&filled);
                assert!(read.is_ok(), "{}: {:?}", path.name, read.err());
            }
        }
    }

    #[test]
    fn counts_that_do_not_ascend_are_refused() {
        let said = ratchet("[5, 5]").unwrap_err().to_string();
        assert!(said.contains("p: its two runs are the same"), "{said}");
    }

    #[test]
    fn what_costs_more_than_the_margin_allows_is_a_regression() {
        let ratchet = ratchet("[1, 2]").unwrap();
        let path = &ratchet.paths[0];
        assert_eq!(ratchet.judge(path, 1040.0), Verdict::Same(1.04));
        assert_eq!(ratchet.judge(path, 1060.0), Verdict::Worse(1.06));
        assert_eq!(ratchet.judge(path, 900.0), Verdict::Better(0.9));
    }

    #[test]
    fn totals_are_found_in_what_callgrind_writes() {
        let text = "version: 1\nsummary: 41\nfn=(1)\n1 2\n\ntotals: 43\n";
        assert_eq!(total(text), Some(43));
        assert_eq!(total("version: 1\n"), None);
    }

    #[test]
    fn the_server_is_started_under_callgrind() {
        let peer = Peer::parse("name = \"p\"\nprotocols = [\"kafka\"]\nstart = [\"x\", \"y\"]");
        let peer = under_callgrind(&peer.unwrap(), Path::new("/o"));
        let started = [
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/o",
            "x",
            "y",
            "--cold-enabled",
            "false",
        ];
        assert_eq!(peer.start, started);
    }
}
