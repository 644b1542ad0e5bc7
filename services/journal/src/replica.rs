//! One log node as an owner sees it. The request types are those a remote node receives.

use std::fmt;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tidemark_types::{Epoch, ExtentIdx, Lsn, NodeId, ShardId};

use crate::Frame;

/// An extent's identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ExtentId {
    /// The shard.
    pub shard: ShardId,
    /// The extent's index in the shard.
    pub index: ExtentIdx,
}

impl fmt::Display for ExtentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extent {} of shard {}", self.index, self.shard)
    }
}

/// Create an extent (J4: only this creates one). Idempotent for the same epoch and first LSN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenExtent {
    /// The extent.
    pub extent: ExtentId,
    /// Authority: refused when below the shard's fence on this disk.
    pub epoch: Epoch,
    /// LSN of its first frame.
    pub first_lsn: Lsn,
}

/// Append frames, contiguous and in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The extent all the frames belong to.
    pub extent: ExtentId,
    /// Authority: accepted iff `fence ≤ epoch`. A re-append carries a newer epoch than its frames (J7).
    pub epoch: Epoch,
    /// The frames; the first must be the replica's next LSN.
    pub frames: Vec<Frame>,
}

/// The replica's durable end after an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// The epoch of the append this answers; an owner counts only its own (J3).
    pub epoch: Epoch,
    /// Durable end, exclusive.
    pub end: Lsn,
}

/// Raise the shard's fence on this disk and report an extent's inventory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The extent to report.
    pub extent: ExtentId,
    /// The new fence; never lowered, and durable before the answer (J4).
    pub epoch: Epoch,
}

/// What a replica can vouch for. Final once answered to a fence: nothing below the fence is accepted after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inventory {
    /// The extent was never opened here.
    Absent,
    /// Every frame in `[first, end)` is durable and intact as far as the WAL can tell.
    Held {
        /// First LSN.
        first: Lsn,
        /// Durable end, exclusive.
        end: Lsn,
    },
    /// Data from `from` on was durable once and is damaged now: the replica cannot vouch for it (J5).
    Limbo {
        /// First LSN it cannot vouch for.
        from: Lsn,
        /// What is damaged: file and byte range.
        why: String,
    },
}

/// The answer to a fence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fenced {
    /// The epoch of the fence this answers.
    pub epoch: Epoch,
    /// The extent's inventory, read after the fence was durable.
    pub inventory: Inventory,
}

/// Ask for the shard's fence: with `fence ≤ e` from A replicas, e was still the owner after the probe began (K1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// The extent asked about.
    pub extent: ExtentId,
}

/// The answer to a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probed {
    /// The shard's fence on this disk, [`Epoch`] 0 when never fenced.
    pub fence: Epoch,
    /// The extent's durable end, exclusive; absent when it was never opened here.
    pub end: Option<Lsn>,
}

/// Read durable frames of one extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadFrames {
    /// The extent.
    pub extent: ExtentId,
    /// First LSN wanted.
    pub from: Lsn,
    /// The extent's sealed or committed end, exclusive: never passed (J6).
    pub end: Lsn,
    /// Stop after this many bytes; the first frame is always returned.
    pub bytes_max: usize,
}

/// Forget an extent and recycle its space. The fence stays (J4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Release {
    /// The extent.
    pub extent: ExtentId,
    /// Authority: refused when below the fence.
    pub epoch: Epoch,
}

/// An extent as a log node lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtentInfo {
    /// The extent.
    pub extent: ExtentId,
    /// What the node holds of it.
    pub inventory: Inventory,
    /// Encoded bytes of its frames.
    pub bytes: u64,
}

/// How full a log node's disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskUse {
    /// Bytes that hold live frames.
    pub used_bytes: u64,
    /// What they may take at the most, above 0.
    pub budget_bytes: u64,
    /// Bytes written since the node started: how far the log has moved on.
    pub written_bytes: u64,
}

impl DiskUse {
    /// Thousandths of the budget in use.
    #[must_use]
    pub fn permille(&self) -> u64 {
        self.used_bytes.saturating_mul(1000) / self.budget_bytes.max(1)
    }
}

/// Why a replica refused. The variant says what the owner does.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The shard's fence is above the request's epoch: the owner stops.
    #[error("{what}: fenced at epoch {fence}")]
    Fenced {
        /// The request, as a verb.
        what: &'static str,
        /// The fence.
        fence: Epoch,
    },
    /// The append is not the next LSN, or breaks the CRC chain: the owner's pipeline is broken, it rolls.
    #[error("append to {extent}: got lsn {got}, expected {expected}")]
    Gap {
        /// The extent.
        extent: ExtentId,
        /// The first LSN sent.
        got: Lsn,
        /// The replica's next.
        expected: Lsn,
    },
    /// The extent is not open on this node (J4).
    #[error("use {0}: never opened on this log node")]
    NoSuchExtent(ExtentId),
    /// Stored data is damaged.
    #[error("read {extent}: damaged from lsn {from}: {why}")]
    Damaged {
        /// The extent.
        extent: ExtentId,
        /// First damaged LSN.
        from: Lsn,
        /// File and byte range.
        why: String,
    },
    /// The disk is full: appends are refused until space is released. Nothing was written.
    #[error("append to {0}: the log node's disk is full")]
    Full(ExtentId),
    /// The disk failed a write or a sync: it takes no more writes until the process restarts (J5).
    #[error("use the log node's disk: {0}")]
    Poisoned(String),
    /// The node cannot be reached.
    #[error("reach the log node: {0}")]
    Unreachable(String),
    /// The frame is not what it says it is.
    #[error("append to {extent}: {why}")]
    BadFrame {
        /// The extent.
        extent: ExtentId,
        /// What is wrong.
        why: String,
    },
}

/// Memory that frames of `bytes` bytes in all, the answer to one read, may hold: what is read around them is at most a
/// quarter of it.
#[must_use]
pub const fn read_memory_bytes_max(bytes: usize) -> usize {
    bytes.saturating_add(bytes / 3)
}

/// A log node.
///
/// Guarantees:
/// 1. An answered append, open or fence is durable.
/// 2. `end` is contiguous: every frame below it is durable.
/// 3. The fence of a shard never goes down, also across restarts and releases (J4).
/// 4. After a fence is answered, its inventory is final for every lower epoch.
#[async_trait]
pub trait Replica: Send + Sync + fmt::Debug + 'static {
    /// The node's id: its disk's cookie decides it.
    fn node(&self) -> NodeId;

    /// Creates an extent.
    async fn open(&self, request: OpenExtent) -> Result<(), ReplicaError>;

    /// Sends frames. They are enqueued, in call order, before this returns; the future only waits.
    fn append(&self, request: Append) -> BoxFuture<'static, Result<Appended, ReplicaError>>;

    /// Raises the fence.
    async fn fence(&self, request: Fence) -> Result<Fenced, ReplicaError>;

    /// Asks for the fence.
    async fn probe(&self, request: Probe) -> Result<Probed, ReplicaError>;

    /// Reads frames, checked (frame and payload CRCs). All frames of an answer together hold no more memory than
    /// [`read_memory_bytes_max`] of their bytes, so that who keeps them knows what that takes; a node may share memory between
    /// answers beyond that, within a bound of its own.
    async fn read(&self, request: ReadFrames) -> Result<Vec<Frame>, ReplicaError>;

    /// Releases an extent.
    async fn release(&self, request: Release) -> Result<(), ReplicaError>;

    /// Lists what the node holds.
    async fn extents(&self) -> Result<Vec<ExtentInfo>, ReplicaError>;

    /// How full its disk is, as last heard; `None` when it has no bound or was never heard.
    fn disk_use(&self) -> Option<DiskUse> {
        None
    }
}
