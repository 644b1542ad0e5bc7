//! What the gateway measures: time from a request's arrival to its written answer, by API.

use opentelemetry::metrics::{Histogram, UpDownCounter};
use opentelemetry::{KeyValue, global};
use tidemark_runtime::Clock;
use tokio::time::Instant;

/// Bucket boundaries, seconds: from a memory read to a long poll.
const BOUNDARIES_S: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0,
];

/// The gateway's instruments.
#[derive(Debug)]
pub(crate) struct Meter {
    seconds: Histogram<f64>,
    connections: UpDownCounter<i64>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let meter = global::meter("tidemark");
        Self {
            seconds: meter
                .f64_histogram("tidemark.kafka.request.seconds")
                .with_description(
                    "Time from a Kafka request's arrival to its written answer by API, seconds",
                )
                .with_boundaries(BOUNDARIES_S.to_vec())
                .build(),
            connections: meter
                .i64_up_down_counter("tidemark.kafka.connections")
                .with_description("Open Kafka connections")
                .build(),
        }
    }

    /// A request of `api` that arrived at `since` was answered.
    pub(crate) fn answered(&self, api: &'static str, since: Instant, clock: &Clock) {
        let took = clock.now().duration_since(since);
        self.seconds
            .record(took.as_secs_f64(), &[KeyValue::new("api", api)]);
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn connection(&self) -> Connection {
        self.connections.add(1, &[]);
        Connection(self.connections.clone())
    }
}

/// An open connection.
pub(crate) struct Connection(UpDownCounter<i64>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.add(-1, &[]);
    }
}
