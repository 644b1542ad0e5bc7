//! A decorator that counts: what the service asks of its object store, how long that takes, and what comes of it.
//!
//! Below `Retrying` it counts attempts, which is what a store bills.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use parking_lot::Mutex;
use tidemark_runtime::Clock;
use tokio::time::Instant;

use crate::{BlobError, BlobErrorKind, BlobInfo, BlobKey, BlobStore, List, Page, Put};

/// Bucket boundaries, seconds: from a local file to a large upload.
const BOUNDARIES_S: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0,
];

/// A request given up after this long was given up for want of an answer, not for want of interest.
const SILENT: Duration = Duration::from_secs(5);

/// An operation of the seam.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// [`BlobStore::put`]
    Put,
    /// [`BlobStore::get`]
    Get,
    /// [`BlobStore::head`]
    Head,
    /// [`BlobStore::delete`], one for each object
    Delete,
    /// [`BlobStore::list`], one for each page
    List,
}

impl Op {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Put, Self::Get, Self::Head, Self::Delete, Self::List];

    /// As in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

/// What was done since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OpCounts {
    /// Requests that ended, or were given up.
    pub requests: u64,
    /// Of these: failed or given up. That an object is absent, or present, is no failure.
    pub failures: u64,
    /// Bytes of the puts and gets that succeeded.
    pub bytes: u64,
}

#[derive(Default)]
struct OpCells {
    requests: AtomicU64,
    failures: AtomicU64,
    bytes: AtomicU64,
}

/// The counters. Clones share them.
#[derive(Clone)]
pub struct BlobMeter(Arc<Meter>);

struct Meter {
    clock: Clock,
    cells: [OpCells; Op::ALL.len()],
    requests: Counter<u64>,
    bytes: Counter<u64>,
    seconds: Histogram<f64>,
    trouble: Mutex<Option<String>>,
}

impl fmt::Debug for BlobMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobMeter")
    }
}

impl BlobMeter {
    /// At zero.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let meter = global::meter("tidemark");
        Self(Arc::new(Meter {
            clock: clock.clone(),
            cells: Default::default(),
            requests: meter
                .u64_counter("tidemark.blob.requests")
                .with_description("Requests to the object store by operation and outcome")
                .build(),
            bytes: meter
                .u64_counter("tidemark.blob.bytes")
                .with_description("Bytes put into and got from the object store")
                .build(),
            seconds: meter
                .f64_histogram("tidemark.blob.request.seconds")
                .with_description("Time of a request to the object store by operation, seconds")
                .with_boundaries(BOUNDARIES_S.to_vec())
                .build(),
            trouble: Mutex::new(None),
        }))
    }

    /// Why the last request that said something about the store failed; nothing when the store served it.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().clone()
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self, op: Op) -> OpCounts {
        let cells = &self.0.cells[op as usize];
        OpCounts {
            requests: cells.requests.load(Ordering::Relaxed),
            failures: cells.failures.load(Ordering::Relaxed),
            bytes: cells.bytes.load(Ordering::Relaxed),
        }
    }

    fn tell(&self, trouble: Option<String>) {
        *self.0.trouble.lock() = trouble;
    }

    fn begin(&self, op: Op, requests: u64) -> Running {
        Running {
            meter: self.clone(),
            op,
            requests,
            since: self.0.clock.now(),
            outcome: "given_up",
            bytes: 0,
        }
    }
}

/// A request. Dropped before its end it counts as given up.
struct Running {
    meter: BlobMeter,
    op: Op,
    requests: u64,
    since: Instant,
    outcome: &'static str,
    bytes: u64,
}

impl Running {
    fn end<T>(
        mut self,
        bytes: impl FnOnce(&T) -> u64,
        outcome: Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        match &outcome {
            Ok(value) => {
                (self.outcome, self.bytes) = ("ok", bytes(value));
                self.meter.tell(None);
            }
            Err(error) => {
                self.outcome = outcome_of(error.kind());
                // An absent object is an answer like any other; a wrong call says nothing about the store.
                match error.kind() {
                    BlobErrorKind::NotFound | BlobErrorKind::AlreadyExists => self.meter.tell(None),
                    BlobErrorKind::Invalid => {}
                    kind => self.meter.tell(Some(format!("{error}. {}", kind.hint()))),
                }
            }
        }
        outcome
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let meter = &self.meter.0;
        let cells = &meter.cells[self.op as usize];
        cells.requests.fetch_add(self.requests, Ordering::Relaxed);
        cells.bytes.fetch_add(self.bytes, Ordering::Relaxed);
        if !matches!(self.outcome, "ok" | "not_found" | "already_exists") {
            cells.failures.fetch_add(self.requests, Ordering::Relaxed);
        }
        let op = KeyValue::new("op", self.op.name());
        meter.bytes.add(self.bytes, std::slice::from_ref(&op));
        let took = meter.clock.now().duration_since(self.since);
        if self.outcome == "given_up" && took >= SILENT {
            let silent = format!("{}: no answer within {took:?}", self.op.name());
            self.meter.tell(Some(silent));
        }
        meter
            .seconds
            .record(took.as_secs_f64(), std::slice::from_ref(&op));
        meter
            .requests
            .add(self.requests, &[op, KeyValue::new("outcome", self.outcome)]);
    }
}

const fn outcome_of(kind: BlobErrorKind) -> &'static str {
    match kind {
        BlobErrorKind::NotFound => "not_found",
        BlobErrorKind::AlreadyExists => "already_exists",
        BlobErrorKind::Throttled => "throttled",
        BlobErrorKind::Unavailable => "unavailable",
        BlobErrorKind::TimedOut => "timed_out",
        BlobErrorKind::Corrupt => "corrupt",
        BlobErrorKind::Full => "full",
        BlobErrorKind::Unauthorized => "unauthorized",
        BlobErrorKind::NoBucket => "no_bucket",
        BlobErrorKind::Invalid => "invalid",
    }
}

/// A store that is measured.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn BlobStore>,
    meter: BlobMeter,
}

impl Metered {
    /// Decorates `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn BlobStore>, meter: BlobMeter) -> Self {
        Self { inner, meter }
    }
}

#[async_trait]
impl BlobStore for Metered {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        let (running, bytes) = (self.meter.begin(Op::Put, 1), put.body.len());
        running.end(|()| bytes, self.inner.put(put).await)
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let running = self.meter.begin(Op::Get, 1);
        running.end(|bytes| bytes.len() as u64, self.inner.get(key, range).await)
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        let running = self.meter.begin(Op::Head, 1);
        running.end(|_| 0, self.inner.head(key).await)
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let running = self.meter.begin(Op::Delete, 1);
        running.end(|()| 0, self.inner.delete(key).await)
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        let running = self.meter.begin(Op::Delete, keys.len() as u64);
        running.end(|()| 0, self.inner.delete_many(keys).await)
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        let running = self.meter.begin(Op::List, 1);
        running.end(|_| 0, self.inner.list(list).await)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidemark_runtime::Entropy;

    use super::*;
    use crate::sim::Sim;

    #[tokio::test(start_paused = true)]
    async fn every_outcome_is_counted_also_what_was_given_up() {
        let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(1));
        let meter = BlobMeter::new(&clock);
        let faulty = crate::faulty::Faulty::new(Arc::new(Sim::new(&clock)), &clock, &entropy);
        let store = Metered::new(Arc::new(faulty.clone()), meter.clone());
        let key = BlobKey::new("a/b").unwrap();
        store
            .put(Put::new(key.clone(), "twelve bytes", &entropy))
            .await
            .unwrap();
        store.get(&key, 0..6).await.unwrap();
        store
            .get(&BlobKey::new("absent").unwrap(), 0..6)
            .await
            .unwrap_err();
        faulty.plan(crate::faulty::Fault::Hang);
        tokio::time::timeout(Duration::from_secs(1), store.get(&key, 0..6))
            .await
            .unwrap_err();
        store.delete_many(&[key.clone(), key]).await.unwrap();
        let counts = |requests, failures, bytes| OpCounts {
            requests,
            failures,
            bytes,
        };
        assert_eq!(meter.counts(Op::Put), counts(1, 0, 12));
        assert_eq!(meter.counts(Op::Get), counts(3, 1, 6));
        assert_eq!(meter.counts(Op::Delete), counts(2, 0, 0));
        assert_eq!(meter.counts(Op::List), OpCounts::default());
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_until_the_store_serves_again() {
        use crate::faulty::{Fault, Faulty};
        let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(1));
        let meter = BlobMeter::new(&clock);
        let faulty = Faulty::new(Arc::new(Sim::new(&clock)), &clock, &entropy);
        let store = Metered::new(Arc::new(faulty.clone()), meter.clone());
        let absent = BlobKey::new("absent").unwrap();
        assert_eq!(meter.trouble(), None);
        for fault in [Fault::Throttled, Fault::Refused, Fault::Hang] {
            faulty.plan(fault);
            let tried = tokio::time::timeout(SILENT, store.head(&absent)).await;
            assert!(tried.is_err() || tried.is_ok_and(|found| found.is_err()));
            let told = meter.trouble().expect("the store failed");
            assert!(told.contains("head"), "{told}");
            // It says that there is no such object: it serves.
            store.head(&absent).await.unwrap_err();
            assert_eq!(meter.trouble(), None);
        }
    }
}
