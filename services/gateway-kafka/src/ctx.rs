//! What every handler may use.

use std::sync::Arc;

use tidemark_groups::Groups;
use tidemark_log::Log;
use tidemark_runtime::{Clock, Entropy};
use tidemark_topics::Topics;

use crate::KafkaConfig;
use crate::budget::{Budget, Gauge};
use crate::sessions::FetchSessions;

/// How clients see the cluster: one node that does everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// The cluster's id, as chosen when the metadata store was made.
    pub cluster_id: String,
    /// This node's id in Kafka's terms; ≥ 0.
    pub node_id: i32,
    /// The host name or address that clients are told to connect to.
    pub host: String,
    /// The port that clients are told to connect to; 0 for the one that is bound.
    pub port: u16,
}

/// What every handler may use. One per gateway, shared by its connections.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// How clients see the cluster.
    pub cluster: ClusterInfo,
    /// Topics.
    pub topics: Topics,
    /// The group coordinator.
    pub groups: Groups,
    /// The clock.
    pub clock: Clock,
    log: Log,
    pub(crate) sessions: Arc<FetchSessions>,
    /// Decoded requests being served.
    pub(crate) decoded: Budget,
    /// Requests that wait for others.
    pub(crate) waiting: Arc<Gauge>,
    /// Answers being written, all connections together.
    pub(crate) answers: Arc<Gauge>,
    /// Bytes one fetch returns at the most.
    pub(crate) fetch_bytes_max: usize,
}

impl Ctx {
    /// A context over the service's parts.
    #[must_use]
    pub fn new(
        cluster: ClusterInfo,
        topics: Topics,
        groups: Groups,
        log: Log,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let config = KafkaConfig::default();
        Self {
            cluster,
            topics,
            groups,
            sessions: Arc::new(FetchSessions::new(clock.clone(), entropy)),
            clock,
            log,
            decoded: Budget::new(config.decoded_bytes_max),
            waiting: Gauge::new(config.waiting_bytes_max),
            answers: Gauge::new(config.answer_bytes_max),
            fetch_bytes_max: config.fetch_bytes_max,
        }
    }

    /// The log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// For the listener that was bound: its port in place of 0, its bounds.
    pub(crate) fn bound_to(mut self, port: u16, config: &KafkaConfig) -> Arc<Self> {
        if self.cluster.port == 0 {
            self.cluster.port = port;
        }
        self.decoded = Budget::new(config.decoded_bytes_max);
        self.waiting = Gauge::new(config.waiting_bytes_max);
        self.answers = Gauge::new(config.answer_bytes_max);
        self.fetch_bytes_max = config.fetch_bytes_max;
        Arc::new(self)
    }
}
