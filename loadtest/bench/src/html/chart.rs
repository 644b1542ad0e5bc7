//! Two kinds of charts: lines, and ratios as dots with whiskers.

use std::fmt::Write as _;

use super::{escape, short};
use crate::peers::Spread;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 30.0;
/// Colours there are.
const COLORS: usize = 4;

/// One line.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) color: usize,
    /// Seconds or quantiles, and values.
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart of lines.
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) unit: String,
    /// x is a quantile, drawn by its nines; y is logarithmic then.
    pub(super) nines: bool,
    pub(super) series: Vec<Series>,
}

/// How many nines a quantile has: 0.9 is one, 0.99 two.
fn nines(q: f64) -> f64 {
    -(1.0 - q).max(1e-6).log10()
}

impl Lines {
    /// The chart; nothing when there is nothing to show.
    pub(super) fn draw(&self) -> String {
        let all = || self.series.iter().flat_map(|s| &s.points);
        let drawn = |(x, y): (f64, f64)| match self.nines {
            true => (nines(x).min(5.0), y.max(0.001).log10()),
            false => (x, y),
        };
        let mut high = all().map(|p| drawn(*p).1).fold(f64::MIN, f64::max);
        if all().next().is_none() || !high.is_finite() {
            return String::new();
        }
        let mut low = if self.nines {
            all().map(|p| drawn(*p).1).fold(f64::MAX, f64::min).floor()
        } else {
            0.0
        };
        if self.nines {
            high = high.ceil().max(low + 1.0);
        } else {
            high = nice(high);
            low = 0.0;
        }
        let right = match self.nines {
            true => 5.0,
            false => all().map(|p| p.0).fold(1.0, f64::max),
        };
        let x = |v: f64| LEFT + v / right * (WIDTH - LEFT - RIGHT);
        let y = |v: f64| HEIGHT - BOTTOM - (v - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
        let mut out = self.frame();
        self.grid(&mut out, (low, high), right, &x, &y);
        for series in &self.series {
            let mut path = String::new();
            for (i, point) in series.points.iter().enumerate() {
                let (px, py) = drawn(*point);
                let verb = if i == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{verb}{:.1} {:.1}", x(px), y(py));
            }
            let _ = write!(out, "<path class=s{} d=\"{path}\"/>", series.color % COLORS);
        }
        out.push_str("</svg>");
        out
    }

    fn frame(&self) -> String {
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"{}\"><text x=4 y=16>{}, {}</text>",
            escape(&self.title),
            escape(&self.title),
            self.unit
        );
        let mut at = LEFT;
        for series in &self.series {
            let color = series.color % COLORS;
            let name = escape(&series.name);
            let _ = write!(out, "<text class=f{color} x={at} y=34>● {name}</text>");
            #[expect(clippy::cast_precision_loss, reason = "a few letters")]
            let width = series.name.chars().count() as f64;
            at += 30.0 + 7.0 * width;
        }
        out
    }

    fn grid(
        &self,
        out: &mut String,
        (low, high): (f64, f64),
        right: f64,
        x: &dyn Fn(f64) -> f64,
        y: &dyn Fn(f64) -> f64,
    ) {
        let mut level = low;
        let step = if self.nines { 1.0 } else { (high - low) / 4.0 };
        while level <= high + step / 100.0 {
            let value = if self.nines { 10f64.powf(level) } else { level };
            let _ = write!(
                out,
                "<line class=g x1={LEFT} x2={} y1={1:.1} y2={1:.1} /><text class=q x={2} y={3:.1} text-anchor=end>{4}</text>",
                WIDTH - RIGHT,
                y(level),
                LEFT - 6.0,
                y(level) + 4.0,
                short(value)
            );
            level += step;
        }
        let ticks: Vec<(f64, String)> = if self.nines {
            ["0", "90", "99", "99.9", "99.99", "max"]
                .iter()
                .zip(0u8..)
                .map(|(t, i)| (f64::from(i), (*t).to_owned()))
                .collect()
        } else {
            (0u8..=4)
                .map(|i| right * f64::from(i) / 4.0)
                .map(|v| (v, format!("{} s", short(v))))
                .collect()
        };
        for (at, text) in ticks {
            let _ = write!(
                out,
                "<text class=q x={:.1} y={} text-anchor=middle>{text}</text>",
                x(at).min(WIDTH - 18.0),
                HEIGHT - 10.0
            );
        }
    }
}

/// The next round number.
fn nice(n: f64) -> f64 {
    let unit = 10f64.powf(n.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps
        .iter()
        .map(|s| s * unit)
        .find(|s| *s >= n)
        .unwrap_or(n)
}

/// A chart of ratios, a row each, on a logarithmic scale.
pub(super) struct Dots {
    title: String,
    rows: Vec<(String, usize, Spread)>,
}

impl Dots {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; to the right of 1 is better.
    pub(super) fn row(&mut self, label: &str, color: usize, ratio: Spread) {
        if ratio.min > 0.0 && ratio.max.is_finite() {
            self.rows.push((label.to_owned(), color % COLORS, ratio));
        }
    }

    pub(super) fn draw(&self) -> String {
        const ROW: f64 = 20.0;
        const LABELS: f64 = 330.0;
        const ALL: f64 = 1060.0;
        if self.rows.is_empty() {
            return String::new();
        }
        let far = |s: &Spread| s.max.log10().abs().max(s.min.log10().abs());
        let reach = self
            .rows
            .iter()
            .map(|(_, _, s)| far(s))
            .fold(0.4, f64::max)
            .min(4.0)
            * 1.05;
        let x = |ratio: f64| {
            let at = ratio.log10().clamp(-reach, reach);
            LABELS + (at + reach) / (2.0 * reach) * (ALL - LABELS - 70.0)
        };
        #[expect(clippy::cast_precision_loss, reason = "a few dozen rows")]
        let height = 44.0 + ROW * self.rows.len() as f64;
        let title = escape(&self.title);
        let mut out = format!(
            "<svg viewBox=\"0 0 {ALL} {height}\" role=img aria-label=\"{title}\"><text x=4 y=16>{title}</text>\
             <rect class=good x={:.1} y=24 width={:.1} height={} />",
            x(1.0),
            x(10f64.powf(reach)) - x(1.0),
            height - 24.0
        );
        for tick in [0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 100.0, 1000.0] {
            let tick: f64 = tick;
            if tick.log10().abs() <= reach {
                let _ = write!(
                    out,
                    "<line class=g x1={0:.1} x2={0:.1} y1=38 y2={height} /><text class=q x={0:.1} y=35 text-anchor=middle>{1}×</text>",
                    x(tick),
                    tick
                );
            }
        }
        let mut y = 54.0;
        for (label, color, s) in &self.rows {
            let _ = write!(
                out,
                "<text x=4 y={0}>{1}</text><line class=s{2} stroke-width=2 x1={3:.1} x2={4:.1} y1={5} y2={5} />\
                 <circle class=f{2} cx={6:.1} cy={5} r=4 /><text class=q x={7} y={0}>{8}×</text>",
                y + 4.0,
                escape(label),
                color,
                x(s.min),
                x(s.max),
                y,
                x(s.median),
                ALL - 62.0,
                short(s.median)
            );
            y += ROW;
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_drawn_by_their_nines() {
        assert!((nines(0.99) - 2.0).abs() < 1e-9);
        let lines = Lines {
            title: "latency".to_owned(),
            unit: "ms".to_owned(),
            nines: true,
            series: vec![Series {
                name: "a".to_owned(),
                color: 0,
                points: vec![(0.0, 1.0), (0.9, 10.0), (1.0, 100.0)],
            }],
        };
        let drawn = lines.draw();
        // 1 ms lies on the lowest line, 100 ms on the highest.
        assert!(drawn.contains("M56.0 230.0"), "{drawn}");
        assert!(drawn.contains("L508.0 46.0"), "{drawn}");
    }

    #[test]
    fn nothing_measured_draws_nothing() {
        let lines = Lines {
            title: String::new(),
            unit: String::new(),
            nines: false,
            series: Vec::new(),
        };
        assert_eq!(lines.draw(), "");
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (n, expected) in [(0.7, 0.8), (130.0, 200.0), (4.1, 5.0)] {
            assert!((nice(n) - expected).abs() < 1e-9);
        }
    }
}
