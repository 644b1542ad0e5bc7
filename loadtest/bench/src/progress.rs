//! What a person sees while a run goes on; nothing when nobody looks.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::Point;
use crate::scenario::Phase;

/// Shows the progress of runs.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What stands before each phase's name: the peer and the round.
    pub label: String,
}

/// One phase's line.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    by_records: bool,
}

impl Progress {
    /// A line for `phase`, with records of `mean_bytes`.
    #[must_use]
    pub fn phase(&self, phase: &Phase, mean_bytes: u64) -> Line {
        let records = phase
            .records_max(mean_bytes)
            .filter(|_| phase.produce.is_some());
        let length = records.or_else(|| phase.duration.map(|d| d.0.as_secs()));
        let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = "{prefix} {elapsed} [{bar:24}] {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{}{}", self.label, phase.name));
        Line {
            bar,
            by_records: records.is_some(),
        }
    }
}

impl Line {
    /// Shows the last second.
    pub fn show(&self, point: &Point, records: u64, elapsed: Duration) {
        let done = if self.by_records {
            records
        } else {
            elapsed.as_secs()
        };
        self.bar.set_position(done);
        let p99 = point.produce.p99_ms.or(point.consume.p99_ms).unwrap_or(0.0);
        self.bar.set_message(format!(
            "in {:.0}/s {:.1} MiB/s · out {:.0}/s {:.1} MiB/s · p99 {p99:.2} ms",
            point.produce.records_per_s,
            point.produce.bytes_per_s / 1_048_576.0,
            point.consume.records_per_s,
            point.consume.bytes_per_s / 1_048_576.0,
        ));
    }

    /// Takes the line away.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}
