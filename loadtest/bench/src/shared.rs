//! What all clients of a run share.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_runtime::{Clock, Tasks};
use tokio::time::Instant;

use crate::layout::Layout;
use crate::measure::Meter;
use crate::payload::Payload;
use crate::verify::Ledger;

/// Addresses of the server under load.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// Kafka's bootstrap address.
    pub kafka: Option<String>,
    /// `host:port` of the HTTP API.
    pub http: Option<String>,
    /// `host:port` of NATS.
    pub nats: Option<String>,
}

/// A run's common state, as one phase sees it.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Time.
    pub clock: Clock,
    /// The connections' reading tasks.
    pub tasks: Tasks,
    /// Where the server is.
    pub target: Target,
    /// The run's start: intended send times count from here.
    pub started: Instant,
    /// Makes and checks values.
    pub payload: Arc<Payload>,
    /// The partitions.
    pub layout: Arc<Layout>,
    /// What was acknowledged.
    pub ledger: Arc<Mutex<Ledger>>,
    /// This phase's measurements.
    pub meter: Meter,
}

impl Shared {
    /// ns from the run's start to `at`.
    #[must_use]
    pub fn since_start_ns(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.started);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long before `at` the moment `intended_ns` was.
    #[must_use]
    pub fn latency(&self, intended_ns: u64, at: Instant) -> Duration {
        at.saturating_duration_since(self.started + Duration::from_nanos(intended_ns))
    }
}
