//! Reports as one HTML file that needs nothing else: charts are drawn here, as SVG.

mod chart;

use std::fmt::Write as _;

use self::chart::{Dots, Lines, Series};
use crate::peers::{Better, Comparison, Metric, Spread};
use crate::process::Machine;
use crate::report::{PhaseReport, Report};

const STYLE: &str = include_str!("html/style.css");

/// A page of runs: one section each.
#[must_use]
pub fn of_runs(reports: &[Report]) -> String {
    let mut body = String::new();
    for report in reports {
        let _ = write!(
            body,
            "<section><h2>{}</h2><p>{}</p><p class=quiet>{} · {}</p>",
            escape(&report.scenario),
            escape(&report.why),
            escape(&report.server),
            machine(&report.machine)
        );
        for phase in &report.phases {
            let named = [(report.server.as_str(), phase)];
            phase_charts(&mut body, &phase.name, &named);
        }
        let _ = write!(
            body,
            "<pre>{}</pre></section>",
            escape(&crate::text::of_run(report))
        );
    }
    page("Load test", &body)
}

/// A page of side-by-side runs: one section per scenario.
#[must_use]
pub fn of_comparisons(comparisons: &[Comparison]) -> String {
    let mut body = String::new();
    if let Some(first) = comparisons.first() {
        let _ = write!(body, "<p class=quiet>{}</p>", machine(&first.machine));
        body.push_str("<ul class=peers>");
        let mut seen = Vec::new();
        for (name, about) in comparisons.iter().flat_map(|c| &c.peers) {
            if !seen.contains(name) {
                seen.push(name.clone());
                let _ = write!(body, "<li><b>{}</b> {}</li>", escape(name), escape(about));
            }
        }
        body.push_str("</ul>");
    }
    for comparison in comparisons {
        section(&mut body, comparison);
    }
    page("Side by side", &body)
}

fn section(body: &mut String, c: &Comparison) {
    let rounds = c.rounds.iter().map(|r| r.round).max().unwrap_or(0);
    let _ = write!(
        body,
        "<section><h2>{}</h2><p>{}</p><p class=quiet>{rounds} rounds each, alternating · load average before {:.1} · \
         <code>{}</code></p>",
        escape(&c.scenario),
        escape(&c.why),
        c.machine.load_before,
        escape(&c.command)
    );
    for line in &c.left_out {
        let _ = write!(body, "<p class=quiet>Left out: {}</p>", escape(line));
    }
    ratio_chart(body, c);
    table(body, c);
    // The charts show each peer's last round; the table has all of them.
    let last: Vec<_> = c
        .peers
        .iter()
        .filter_map(|(name, _)| c.rounds.iter().rev().find(|r| r.peer == *name))
        .collect();
    let phases = last.first().map_or(0, |r| r.report.phases.len());
    for at in 0..phases {
        let named: Vec<(&str, &PhaseReport)> = last
            .iter()
            .filter_map(|r| Some((r.peer.as_str(), r.report.phases.get(at)?)))
            .collect();
        let title = named.first().map_or("", |(_, p)| p.name.as_str());
        phase_charts(body, title, &named);
    }
    body.push_str("</section>");
}

fn ratio_chart(body: &mut String, c: &Comparison) {
    let Some((subject, _)) = c.peers.first() else {
        return;
    };
    let mut dots = Dots::new(&format!(
        "{subject} ÷ others: further into the shaded side is better"
    ));
    for (index, (peer, _)) in c.peers.iter().enumerate().skip(1) {
        for metric in &c.metrics {
            if let Some(ratio) = metric.ratios.get(peer) {
                // Turned so that right is always better.
                let good = match metric.better {
                    Better::More => *ratio,
                    Better::Less => Spread {
                        median: 1.0 / ratio.median,
                        min: 1.0 / ratio.max,
                        max: 1.0 / ratio.min,
                    },
                };
                let label = format!("{} · {} (vs {peer})", metric.phase, metric.name);
                dots.row(&label, index, good);
            }
        }
    }
    body.push_str(&dots.draw());
}

fn table(body: &mut String, c: &Comparison) {
    body.push_str("<div class=wide><table><thead><tr><th>phase<th>what<th>unit");
    for (peer, _) in &c.peers {
        let _ = write!(body, "<th class=n>{}", escape(peer));
    }
    for (peer, _) in c.peers.iter().skip(1) {
        let _ = write!(body, "<th class=n>ratio to {}", escape(peer));
    }
    body.push_str("</thead><tbody>");
    for metric in &c.metrics {
        row(body, c, metric);
    }
    body.push_str("</tbody></table></div>");
}

fn row(body: &mut String, c: &Comparison, m: &Metric) {
    let _ = write!(
        body,
        "<tr><td>{}<td>{}<td>{}",
        escape(&m.phase),
        escape(&m.name),
        escape(&m.unit)
    );
    let cell = |body: &mut String, spread: Option<&Spread>| match spread {
        Some(s) => {
            let _ = write!(
                body,
                "<td class=n>{}<small>{} – {}</small>",
                short(s.median),
                short(s.min),
                short(s.max)
            );
        }
        None => body.push_str("<td class=n>–"),
    };
    for (peer, _) in &c.peers {
        cell(body, m.values.get(peer));
    }
    for (peer, _) in c.peers.iter().skip(1) {
        cell(body, m.ratios.get(peer));
    }
    body.push_str("</tr>");
}

fn phase_charts(body: &mut String, title: &str, named: &[(&str, &PhaseReport)]) {
    let _ = write!(body, "<h3>{}</h3><div class=charts>", escape(title));
    let mut draw =
        |title: &str, unit: &str, nines: bool, get: &dyn Fn(&PhaseReport) -> Vec<(f64, f64)>| {
            let series = named
                .iter()
                .enumerate()
                .map(|(index, (name, phase))| Series {
                    name: (*name).to_owned(),
                    color: index,
                    points: get(phase),
                });
            let lines = Lines {
                title: title.to_owned(),
                unit: unit.to_owned(),
                nines,
                series: series.filter(|s| !s.points.is_empty()).collect(),
            };
            body.push_str(&lines.draw());
        };
    draw("produce latency by percentile", "ms", true, &|p| {
        p.produce
            .as_ref()
            .map_or_else(Vec::new, |s| s.latency.quantiles.clone())
    });
    draw("end-to-end latency by percentile", "ms", true, &|p| {
        let both = p.produce.is_some();
        let consume = p.consume.as_ref().filter(|_| both);
        consume.map_or_else(Vec::new, |s| s.latency.quantiles.clone())
    });
    let moved = |p: &PhaseReport, of: fn(&crate::report::Point) -> f64| -> Vec<(f64, f64)> {
        let points: Vec<_> = p
            .series
            .iter()
            .map(|x| (x.at_s, of(x) / 1_048_576.0))
            .collect();
        let any = points.len() > 2 && points.iter().any(|(_, y)| *y > 0.0);
        if any { points } else { Vec::new() }
    };
    draw("produced", "MiB/s", false, &|p| {
        moved(p, |x| x.produce.bytes_per_s)
    });
    draw("consumed", "MiB/s", false, &|p| {
        moved(p, |x| x.consume.bytes_per_s)
    });
    body.push_str("</div>");
}

fn machine(m: &Machine) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let gib = m.memory_bytes as f64 / 1_073_741_824.0;
    let processor = escape(&m.processor);
    format!(
        "{processor}, {} cores, {gib:.0} GiB, {}",
        m.cores,
        escape(&m.system)
    )
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><main><h1>{title}</h1>{body}</main></html>\n"
    )
}

/// Three digits that matter.
pub(crate) fn short(n: f64) -> String {
    match n.abs() {
        x if x >= 100.0 => format!("{n:.0}"),
        x if x >= 10.0 => format!("{n:.1}"),
        x if x >= 0.1 || x == 0.0 => format!("{n:.2}"),
        _ => format!("{n:.4}"),
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        let hostile = Report {
            scenario: "<script>alert(1)</script>".to_owned(),
            why: "a & b".to_owned(),
            server: "\"x\"".to_owned(),
            machine: Machine::default(),
            began_ms: 0,
            phases: Vec::new(),
            findings: crate::verify::Findings::default(),
        };
        let page = of_runs(&[hostile]);
        assert!(!page.contains("<script"));
        assert!(page.contains("a &amp; b"));
    }
}
