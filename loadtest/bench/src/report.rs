//! A run's result.

use serde::{Deserialize, Serialize};

use crate::measure::{Interval, Summary};
use crate::process::{Machine, Usage};
use crate::verify::Findings;

/// Result of one scenario against one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What its numbers mean.
    pub why: String,
    /// The server's name.
    pub server: String,
    /// Where it ran.
    pub machine: Machine,
    /// When it began, ms since the Unix epoch.
    pub began_ms: i64,
    /// Its phases, in order.
    pub phases: Vec<PhaseReport>,
    /// What verification found, all phases together.
    pub findings: Findings,
}

/// Result of one phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// How long it took in all.
    pub seconds: f64,
    /// What was produced.
    pub produce: Option<Summary>,
    /// What was read.
    pub consume: Option<Summary>,
    /// By the second.
    pub series: Vec<Point>,
    /// What it cost the server, when its process is known.
    pub server: Option<Cost>,
    /// From the start of the server's process to its first answer, ms; phases that restart it.
    pub ready_ms: Option<f64>,
    /// What the server holds because of the run when the phase ends.
    #[serde(default)]
    pub holds: Holds,
}

/// What exists in a server, and takes memory, whether or not anything happens.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Holds {
    /// Partitions.
    pub partitions: u64,
    /// Connections that are open and idle.
    pub connections: u64,
}

/// One second.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the phase's begin.
    pub at_s: f64,
    /// Acknowledged.
    pub produce: Interval,
    /// Read.
    pub consume: Interval,
}

/// What a phase cost the server.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// CPU seconds from the end of the warm-up.
    pub cpu_s: f64,
    /// CPU seconds per GiB of values that moved: produced, or in phases that only read, read.
    pub cpu_s_per_gib: Option<f64>,
    /// Bytes it caused to be written per byte of values produced.
    pub written_per_byte: Option<f64>,
    /// Resident when the phase began, bytes.
    pub resident_before_bytes: u64,
    /// Resident when it ended, bytes.
    pub resident_after_bytes: u64,
    /// Most that was ever resident, bytes.
    pub peak_bytes: u64,
}

impl Cost {
    /// The difference between two moments in which `produced` and `consumed` bytes moved.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    pub fn between(before: Usage, after: Usage, produced: u64, consumed: u64) -> Self {
        let moved = if produced > 0 { produced } else { consumed };
        let cpu_s = after.cpu_s - before.cpu_s;
        let written = after.written_bytes.saturating_sub(before.written_bytes);
        Self {
            cpu_s,
            cpu_s_per_gib: (moved > 0).then(|| cpu_s / (moved as f64 / 1_073_741_824.0)),
            written_per_byte: (produced > 0).then(|| written as f64 / produced as f64),
            resident_before_bytes: before.resident_bytes,
            resident_after_bytes: after.resident_bytes,
            peak_bytes: after.peak_bytes,
        }
    }
}
