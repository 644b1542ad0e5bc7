//! What every handler may use.

use tidemark_runtime::Clock;

/// How clients see the cluster: one node that does everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// The cluster's id, as chosen when the metadata store was made.
    pub cluster_id: String,
    /// This node's id in Kafka's terms; ≥ 0.
    pub node_id: i32,
    /// The host name or address that clients are told to connect to.
    pub host: String,
    /// The port that clients are told to connect to.
    pub port: u16,
}

/// The gateway's settings that handlers follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether asking for the metadata of a missing topic makes it, when the client allows it too
    /// (Kafka's `auto.create.topics.enable`).
    pub auto_create_topics: bool,
    /// Partitions of a topic made that way, or made with −1 partitions (Kafka's `num.partitions`).
    pub default_partitions: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            auto_create_topics: true,
            default_partitions: 1,
        }
    }
}

/// What every handler may use. One per gateway, shared by its connections.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ctx {
    /// How clients see the cluster.
    pub cluster: ClusterInfo,
    /// The gateway's settings.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
}

impl Ctx {
    /// A context over the service's parts.
    #[must_use]
    pub const fn new(cluster: ClusterInfo, settings: Settings, clock: Clock) -> Self {
        Self {
            cluster,
            settings,
            clock,
        }
    }
}
