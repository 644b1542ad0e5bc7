//! The log node as [`Replica`].

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{self, BoxFuture};
use tidemark_journal::{
    Append, Appended, ExtentInfo, Fence, Fenced, OpenExtent, Probe, Probed, ReadFrames, Release,
    Replica, ReplicaError,
};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::NodeId;

use crate::{Disk, LogNodeConfig, OpenError};

/// A log node over one disk. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct LogNode {
    node: NodeId,
}

/// What a log node has done and holds, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Group commits.
    pub groups: u64,
    /// Syncs of segment files.
    pub syncs: u64,
    /// Bytes written, padding included.
    pub bytes_written: u64,
    /// Requests that wait for the writer.
    pub queued: usize,
    /// Bytes of segment files that hold live data, the current one included.
    pub disk_used_bytes: u64,
    /// Bytes of all segment files.
    pub disk_held_bytes: u64,
    /// What segment files may take at the most.
    pub disk_budget_bytes: u64,
    /// The disk failed a write or a sync and takes no more (J5).
    pub poisoned: bool,
}

impl LogNode {
    /// Opens the disk: recovers its WAL and starts the writer, a thread of `tasks` for a real disk and a
    /// task on the current runtime for a simulated one. Shut `tasks` down last: the owners above write to it.
    ///
    /// # Errors
    /// When the folder cannot be read or is of another format. Damaged data is no such error: the extents
    /// concerned answer `Limbo`.
    pub async fn open(
        disk: Arc<dyn Disk>,
        config: LogNodeConfig,
        clock: &Clock,
        entropy: &Entropy,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, OpenError> {
        let _ = (disk, config, clock, tasks);
        let node = NodeId(entropy.next_u64());
        Ok(Arc::new(Self { node }))
    }

    /// What the node has done and holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }

    /// Answers what is queued, writes the trailing mark and stops the writer. Later requests are `Unreachable`.
    pub async fn close(&self) {}
}

fn not_yet() -> ReplicaError {
    ReplicaError::Unreachable("the log node takes no requests yet".to_owned())
}

#[async_trait]
impl Replica for LogNode {
    fn node(&self) -> NodeId {
        self.node
    }

    async fn open(&self, _request: OpenExtent) -> Result<(), ReplicaError> {
        Err(not_yet())
    }

    fn append(&self, _request: Append) -> BoxFuture<'static, Result<Appended, ReplicaError>> {
        Box::pin(future::ready(Err(not_yet())))
    }

    async fn fence(&self, _request: Fence) -> Result<Fenced, ReplicaError> {
        Err(not_yet())
    }

    async fn probe(&self, _request: Probe) -> Result<Probed, ReplicaError> {
        Err(not_yet())
    }

    async fn read(
        &self,
        _request: ReadFrames,
    ) -> Result<Vec<tidemark_journal::Frame>, ReplicaError> {
        Err(not_yet())
    }

    async fn release(&self, _request: Release) -> Result<(), ReplicaError> {
        Err(not_yet())
    }

    async fn extents(&self) -> Result<Vec<ExtentInfo>, ReplicaError> {
        Err(not_yet())
    }
}
