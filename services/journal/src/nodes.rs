//! Which log nodes there are, and which of them hold an extent.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tidemark_types::{DecodeError, Lsn, NodeId};

use crate::{ExtentId, Replica};

/// Replicas of one extent at the most: bounds every fan-out.
pub const REPLICAS_MAX: usize = 7;

/// The log nodes this process can reach. Clones share one registry.
#[derive(Clone, Default, Debug)]
pub struct Nodes(Arc<RwLock<BTreeMap<NodeId, Arc<dyn Replica>>>>);

impl Nodes {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node under its own id, or replaces the handle it had.
    pub fn insert(&self, node: Arc<dyn Replica>) {
        self.0.write().insert(node.node(), node);
    }

    /// Forgets a node.
    pub fn remove(&self, node: NodeId) {
        self.0.write().remove(&node);
    }

    /// A node's handle.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<Arc<dyn Replica>> {
        self.0.read().get(&node).cloned()
    }

    /// Every known node, ascending.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.0.read().keys().copied().collect()
    }
}

/// The nodes that hold an extent, fixed for its life, and how many of them make an ack.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaSet {
    nodes: Vec<NodeId>,
    ack_quorum: usize,
}

impl ReplicaSet {
    /// `n` distinct nodes of which `ack_quorum` (A) must hold a frame before it is acked.
    ///
    /// # Errors
    /// When a node is named twice, there are none or more than [`REPLICAS_MAX`], or A is not in `1..=n`.
    pub fn new(nodes: Vec<NodeId>, ack_quorum: usize) -> Result<Self, DecodeError> {
        let distinct = nodes
            .iter()
            .enumerate()
            .all(|(i, node)| !nodes[..i].contains(node));
        if !distinct || nodes.len() > REPLICAS_MAX {
            return Err(DecodeError::invalid(
                "replica set",
                format!("{nodes:?} names a node twice or more than {REPLICAS_MAX}"),
            ));
        }
        if ack_quorum == 0 || ack_quorum > nodes.len() {
            return Err(DecodeError::invalid(
                "replica set",
                format!("ack quorum {ack_quorum} of {} replicas", nodes.len()),
            ));
        }
        Ok(Self { nodes, ack_quorum })
    }

    /// The nodes, in the order the extent's row keeps them.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// A: replicas that must durably hold a frame before it is committed.
    #[must_use]
    pub const fn ack_quorum(&self) -> usize {
        self.ack_quorum
    }

    /// F = n − A + 1: any F replicas meet every ack quorum.
    #[must_use]
    pub fn fence_quorum(&self) -> usize {
        self.nodes.len() - self.ack_quorum + 1
    }
}

/// An extent and where it is: what a writer or a reader needs to know of its row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Its identity.
    pub id: ExtentId,
    /// LSN of its first frame.
    pub first: Lsn,
    /// Where its frames are.
    pub replicas: ReplicaSet,
}
