//! What is measured while clients run: latencies in histograms, counts, and both by the second.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Longest latency told apart, µs: an hour. Longer ones count as this.
const LATENCY_MAX_US: u64 = 3_600_000_000;
/// Decimal digits a histogram keeps.
const DIGITS: u8 = 3;

/// Quantiles that reports show.
const QUANTILES: &[f64] = &[
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 1.0,
];

/// What flows in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Acknowledged records; latency from the intended send time to the ack.
    Produce,
    /// Records read; latency from the intended send time to the reader.
    Consume,
}

#[derive(Debug)]
struct Side {
    records: u64,
    bytes: u64,
    total: Histogram<u64>,
    interval: Histogram<u64>,
    interval_records: u64,
    interval_bytes: u64,
    last: Option<Instant>,
}

impl Side {
    fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS).expect("the bounds are valid");
        Self {
            records: 0,
            bytes: 0,
            total: histogram(),
            interval: histogram(),
            interval_records: 0,
            interval_bytes: 0,
            last: None,
        }
    }
}

#[derive(Debug)]
struct Inner {
    produce: Side,
    consume: Side,
    counts_from: Instant,
}

impl Inner {
    const fn side(&mut self, flow: Flow) -> &mut Side {
        match flow {
            Flow::Produce => &mut self.produce,
            Flow::Consume => &mut self.consume,
        }
    }
}

/// The measurements of one phase. Clones share them.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Mutex<Inner>>);

/// A latency and how many records had it.
pub type Run = (Duration, u64);

impl Meter {
    /// Counts what happens from `counts_from` on (the end of the warm-up); earlier events only show in the series.
    #[must_use]
    pub fn new(counts_from: Instant) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            produce: Side::new(),
            consume: Side::new(),
            counts_from,
        })))
    }

    /// Takes note of `bytes` of values that moved at `at`, with the latencies of their records.
    pub fn moved(
        &self,
        flow: Flow,
        at: Instant,
        bytes: u64,
        latencies: impl IntoIterator<Item = Run>,
    ) {
        let mut inner = self.0.lock();
        let counts = at >= inner.counts_from;
        let side = inner.side(flow);
        let mut records = 0;
        for (latency, count) in latencies {
            let us = u64::try_from(latency.as_micros())
                .unwrap_or(u64::MAX)
                .max(1);
            side.interval.saturating_record_n(us, count);
            if counts {
                side.total.saturating_record_n(us, count);
            }
            records += count;
        }
        side.interval_records += records;
        side.interval_bytes += bytes;
        if counts {
            side.last = side.last.max(Some(at));
            side.records += records;
            side.bytes += bytes;
        }
    }

    /// Records and bytes counted so far.
    #[must_use]
    pub fn counted(&self, flow: Flow) -> (u64, u64) {
        let mut inner = self.0.lock();
        let side = inner.side(flow);
        (side.records, side.bytes)
    }

    /// What moved since the last call, for one point of the series.
    #[must_use]
    pub fn interval(&self, flow: Flow, seconds: f64) -> Interval {
        let mut inner = self.0.lock();
        let side = inner.side(flow);
        let point = Interval {
            records_per_s: ratio(side.interval_records, seconds),
            bytes_per_s: ratio(side.interval_bytes, seconds),
            p50_ms: at_quantile(&side.interval, 0.5),
            p99_ms: at_quantile(&side.interval, 0.99),
        };
        side.interval.reset();
        side.interval_records = 0;
        side.interval_bytes = 0;
        point
    }

    /// The whole of one direction, from the end of the warm-up to the last record; `None` when nothing moved.
    #[must_use]
    pub fn summary(&self, flow: Flow) -> Option<Summary> {
        let mut inner = self.0.lock();
        let from = inner.counts_from;
        let side = inner.side(flow);
        if side.records == 0 {
            return None;
        }
        let last = side.last.unwrap_or(from);
        let seconds = last.saturating_duration_since(from).as_secs_f64();
        Some(Summary {
            records: side.records,
            bytes: side.bytes,
            seconds,
            records_per_s: ratio(side.records, seconds),
            mib_per_s: ratio(side.bytes, seconds) / 1_048_576.0,
            latency: Latency::of(&side.total),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn ratio(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "below an hour in µs")]
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

fn at_quantile(histogram: &Histogram<u64>, q: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| ms(histogram.value_at_quantile(q)))
}

/// One second of one direction.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Interval {
    /// Records a second.
    pub records_per_s: f64,
    /// Bytes of values a second.
    pub bytes_per_s: f64,
    /// Median latency; absent when nothing moved.
    pub p50_ms: Option<f64>,
    /// 99th percentile; absent when nothing moved.
    pub p99_ms: Option<f64>,
}

/// One direction of a phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Records.
    pub records: u64,
    /// Bytes of values.
    pub bytes: u64,
    /// Time they took, warm-up left out.
    pub seconds: f64,
    /// Records a second.
    pub records_per_s: f64,
    /// MiB of values a second.
    pub mib_per_s: f64,
    /// Latencies.
    pub latency: Latency,
}

/// A distribution of latencies, ms.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Latency {
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    /// Pairs of quantile and ms.
    pub quantiles: Vec<(f64, f64)>,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |q| ms(histogram.value_at_quantile(q));
        Self {
            mean_ms: histogram.mean() / 1000.0,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: ms(histogram.max()),
            quantiles: QUANTILES.iter().map(|q| (*q, at(*q))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warm_up_shows_in_the_series_only() {
        let start = tidemark_runtime::Clock::system().now();
        let meter = Meter::new(start + Duration::from_secs(1));
        let slow = [(Duration::from_secs(9), 10)];
        meter.moved(Flow::Produce, start, 1000, slow);
        let quick = [(Duration::from_millis(2), 100)];
        meter.moved(Flow::Produce, start + Duration::from_secs(2), 4000, quick);
        let summary = meter.summary(Flow::Produce).unwrap();
        assert_eq!((summary.records, summary.bytes), (100, 4000));
        assert!((summary.seconds - 1.0).abs() < 1e-9);
        assert!((summary.latency.max_ms - 2.0).abs() < 0.01);
        let interval = meter.interval(Flow::Produce, 1.0);
        assert!((interval.records_per_s - 110.0).abs() < 1e-9);
        assert!(meter.summary(Flow::Consume).is_none());
    }
}
