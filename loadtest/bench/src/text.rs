//! A report in words, for a terminal.

use std::fmt::Write as _;

use crate::measure::Summary;
use crate::peers::Comparison;
use crate::report::{PhaseReport, Report};

const MIB: f64 = 1_048_576.0;

/// One run.
#[must_use]
pub fn of_run(report: &Report) -> String {
    let mut out = format!("{} · {}\n", report.scenario, report.server);
    for phase in &report.phases {
        of_phase(&mut out, phase);
    }
    let found = &report.findings;
    if found.checked > 0 {
        let _ = writeln!(
            out,
            "  verified {} records: {} lost, {} twice, {} out of order, {} changed",
            found.checked, found.lost, found.duplicated, found.reordered, found.corrupt
        );
    }
    for line in &found.named {
        let _ = writeln!(out, "    {line}");
    }
    out
}

/// A side-by-side run: medians, and the first peer's ratio to the others with its spread.
#[must_use]
pub fn of_comparison(c: &Comparison) -> String {
    let mut out = format!("{}\n", c.scenario);
    for line in &c.left_out {
        let _ = writeln!(out, "  left out: {line}");
    }
    let short = crate::html::short;
    for m in &c.metrics {
        let _ = write!(out, "  {:<22} {:<22} {:>6}", m.phase, m.name, m.unit);
        for (peer, _) in &c.peers {
            let value = m
                .values
                .get(peer)
                .map_or("-".to_owned(), |s| short(s.median));
            let _ = write!(out, "  {peer} {value}");
        }
        for (peer, _) in c.peers.iter().skip(1) {
            if let Some(r) = m.ratios.get(peer) {
                let (median, min, max) = (short(r.median), short(r.min), short(r.max));
                let _ = write!(out, "  /{peer} {median} ({min}–{max})");
            }
        }
        out.push('\n');
    }
    out
}

fn of_phase(out: &mut String, phase: &PhaseReport) {
    let _ = writeln!(out, "  {} ({:.1} s)", phase.name, phase.seconds);
    if let Some(ms) = phase.ready_ms {
        let _ = writeln!(out, "    start to first answer {ms:.0} ms");
    }
    for (what, summary) in [("produced", &phase.produce), ("consumed", &phase.consume)] {
        if let Some(summary) = summary {
            of_flow(out, what, summary);
        }
    }
    if let Some(cost) = &phase.server {
        let _ = write!(out, "    server   {:.2} CPU s", cost.cpu_s);
        if let Some(per_gib) = cost.cpu_s_per_gib {
            let _ = write!(out, ", {per_gib:.2} per GiB");
        }
        if let Some(written) = cost.written_per_byte {
            let _ = write!(out, ", {written:.2} bytes written per byte");
        }
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let mib = |bytes: u64| bytes as f64 / MIB;
        let _ = writeln!(
            out,
            ", resident {:.1} → {:.1} MiB (peak {:.1})",
            mib(cost.resident_before_bytes),
            mib(cost.resident_after_bytes),
            mib(cost.peak_bytes)
        );
    }
}

fn of_flow(out: &mut String, what: &str, s: &Summary) {
    let l = &s.latency;
    let _ = writeln!(
        out,
        "    {what} {} records, {:.0}/s, {:.1} MiB/s, latency p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2} ms",
        s.records, s.records_per_s, s.mib_per_s, l.p50_ms, l.p99_ms, l.p999_ms, l.max_ms
    );
}
