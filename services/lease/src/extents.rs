//! From rows to extents, and finding and opening the log nodes of a new one.

use std::time::Duration;

use futures_util::future::join_all;
use tidemark_journal::{Extent, ExtentId, OpenExtent, Probe, ReplicaError, ReplicaSet};
use tidemark_meta::MetaError;
use tidemark_meta::keys::extent::ExtentRow;
use tidemark_types::{Epoch, ExtentIdx, Lsn, NodeId, ShardId};

use crate::leases::Inner;
use crate::observer::rendezvous;
use crate::seal::NextExtent;

/// Longest wait for a log node's answer to a probe or an open.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Too few log nodes did what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TooFew {
    pub(crate) needed: usize,
    pub(crate) answered: usize,
    pub(crate) last: String,
    /// Those that did not, when one of them has no room.
    pub(crate) full: Option<(Vec<NodeId>, ReplicaError)>,
}

pub(crate) fn extent_of(
    shard: ShardId,
    index: ExtentIdx,
    row: &ExtentRow,
) -> Result<Extent, MetaError> {
    let replicas = ReplicaSet::new(row.replicas.clone(), usize::from(row.ack_quorum))?;
    Ok(Extent {
        id: ExtentId { shard, index },
        first: row.first,
        replicas,
    })
}

/// Chooses the nodes of the extent after `first`: those that answer now, ranked by shard so that shards spread. With
/// fewer than `copies` of them the extent gets fewer replicas, never fewer than A (J10).
pub(crate) async fn place(
    inner: &Inner,
    shard: ShardId,
    index: ExtentIdx,
    first: Lsn,
) -> Result<NextExtent, TooFew> {
    let mut nodes = inner.nodes.ids();
    nodes.sort_by_key(|node| std::cmp::Reverse(rendezvous(shard, *node)));
    let extent = ExtentId { shard, index };
    let answers = join_all(nodes.iter().map(|&node| async move {
        let replica = inner.nodes.get(node)?;
        let probe = tokio::time::timeout(CALL_TIMEOUT, replica.probe(Probe { extent }));
        probe.await.ok()?.ok().map(|_| node)
    }));
    let mut replicas: Vec<NodeId> = answers.await.into_iter().flatten().collect();
    let needed = inner.config.ack_quorum;
    if replicas.len() < needed {
        return Err(TooFew {
            needed,
            answered: replicas.len(),
            last: format!("{} log nodes are known", nodes.len()),
            full: None,
        });
    }
    replicas.truncate(inner.config.copies);
    Ok(NextExtent {
        first,
        replicas,
        ack_quorum: u8::try_from(needed).unwrap_or(u8::MAX),
    })
}

/// Opens a stored extent on its replicas. Answers those that did not open it; A others did.
pub(crate) async fn open(
    inner: &Inner,
    extent: &Extent,
    epoch: Epoch,
) -> Result<Vec<NodeId>, TooFew> {
    let request = OpenExtent {
        extent: extent.id,
        epoch,
        first_lsn: extent.first,
    };
    let answers = join_all(extent.replicas.nodes().iter().map(|&node| async move {
        let replica = inner.nodes.get(node).ok_or_else(|| unknown(node))?;
        match tokio::time::timeout(CALL_TIMEOUT, replica.open(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(unknown(node)),
        }
    }));
    let nodes = extent.replicas.nodes().iter().copied();
    let mut lost = Vec::new();
    let mut last = String::new();
    let mut full = None;
    for (node, answer) in nodes.zip(answers.await) {
        if let Err(error) = answer {
            last = error.to_string();
            if matches!(error, ReplicaError::Full(_)) {
                full = Some(error);
            }
            lost.push(node);
        }
    }
    let needed = extent.replicas.ack_quorum();
    let answered = extent.replicas.nodes().len() - lost.len();
    if answered < needed {
        return Err(TooFew {
            needed,
            answered,
            last,
            full: full.map(|error| (lost, error)),
        });
    }
    Ok(lost)
}

fn unknown(node: NodeId) -> ReplicaError {
    ReplicaError::Unreachable(format!("log node {node} does not answer"))
}
