//! What every handler may use.

use tidemark_groups::Groups;
use tidemark_runtime::Clock;
use tidemark_topics::Topics;

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
}

impl Ctx {
    /// With the port that was bound in place of 0.
    pub(crate) fn bound_to(mut self, port: u16) -> std::sync::Arc<Self> {
        if self.cluster.port == 0 {
            self.cluster.port = port;
        }
        std::sync::Arc::new(self)
    }
}
