//! A log node in memory, with faults, for tests and models of everything above the [`Replica`] seam.
//!
//! It has no tasks and no threads: a request carries the moment it takes effect, and whatever is due is applied, in
//! order, whenever the node is touched. So an append whose owner died still lands later, as on a real network, and
//! under paused time the same seed gives the same run.

mod disk;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{Epoch, Lsn, NodeId, ShardId};

use self::disk::Disk;
use crate::{
    Append, Appended, DiskUse, ExtentId, ExtentInfo, Fence, Fenced, Frame, OpenExtent, Probe,
    Probed, ReadFrames, Release, Replica, ReplicaError,
};

/// What goes wrong on the way to a [`MemoryReplica`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Faults {
    /// Requests and replies each take up to this long.
    pub delay_max: Duration,
    /// Of 100 requests, how many are lost before they take effect.
    pub request_lost_percent: u64,
    /// Of 100 requests, how many take effect and lose their reply.
    pub reply_lost_percent: u64,
}

/// A guarantee of [`Replica`] that a [`MemoryReplica`] breaks, to show that tests would notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Answers a fence without raising it.
    UnfencedReply,
    /// Forgets its fences in a crash (J4).
    VolatileFence,
    /// Forgets acked frames in a crash.
    VolatileEntry,
    /// Comes back from a crash empty, under its old id (its cookie was ignored).
    RejoinWiped,
    /// Acks a frame although the one before it never came.
    AckBeforePrefix,
    /// Forgets a shard's fence when an extent of it is released (J4).
    FenceDiesWithExtent,
    /// Creates an extent on an append (J4).
    AppendCreates,
}

/// A log node in memory.
#[derive(Clone)]
pub struct MemoryReplica {
    node: NodeId,
    clock: Clock,
    entropy: Entropy,
    disk: Arc<Mutex<Disk>>,
}

impl std::fmt::Debug for MemoryReplica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryReplica({})", self.node)
    }
}

impl MemoryReplica {
    /// An empty node without faults.
    #[must_use]
    pub fn new(node: NodeId, clock: Clock, entropy: Entropy) -> Self {
        Self {
            node,
            clock,
            entropy,
            disk: Arc::default(),
        }
    }

    /// Its id.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.disk.lock().faults = faults;
    }

    /// Sets the guarantee it breaks.
    pub fn set_flaw(&self, flaw: Option<Flaw>) {
        self.disk.lock().flaw = flaw;
    }

    /// Cuts the node off, or connects it again. Appends already on their way still arrive.
    pub fn set_reachable(&self, reachable: bool) {
        self.disk.lock().reachable = reachable;
    }

    /// Refuses appends for want of space, or takes them again.
    pub fn set_full(&self, full: bool) {
        self.disk.lock().full = full;
    }

    /// Sets how full the node says its disk is.
    pub fn set_disk_use(&self, told: Option<DiskUse>) {
        self.disk.lock().disk_use = told;
    }

    /// Holds appends back from now on, until [`MemoryReplica::resume_appends`].
    pub fn pause_appends(&self) {
        self.disk.lock().paused = true;
    }

    /// Lets the appends that were held back take effect, in order.
    pub fn resume_appends(&self) {
        let mut disk = self.disk.lock();
        disk.paused = false;
        disk.settle(self.clock.now());
    }

    /// Loses power and comes back: appends that had not taken effect are gone, what was acked is there.
    pub fn crash(&self) {
        self.disk.lock().crash();
    }

    /// Damages an extent from `from` on, noticed: it can no longer be vouched for (J5).
    pub fn damage(&self, extent: ExtentId, from: Lsn) {
        self.disk.lock().damage(extent, from, true);
    }

    /// Damages an extent from `from` on, unnoticed until it is read.
    pub fn rot(&self, extent: ExtentId, from: Lsn) {
        self.disk.lock().damage(extent, from, false);
    }

    /// The frames it holds durably, in order.
    #[must_use]
    pub fn frames(&self, extent: ExtentId) -> Vec<Frame> {
        let mut disk = self.disk.lock();
        disk.settle(self.clock.now());
        disk.frames(extent)
    }

    /// The shard's fence on this disk.
    #[must_use]
    pub fn fence_of(&self, shard: ShardId) -> Epoch {
        self.disk.lock().fence_of(shard)
    }

    fn faults(&self) -> Faults {
        self.disk.lock().faults
    }

    fn delay(&self, faults: Faults) -> Duration {
        let micros = u64::try_from(faults.delay_max.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.entropy.below(micros.saturating_add(1)))
    }

    fn happens(&self, percent: u64) -> bool {
        percent > 0 && self.entropy.below(100) < percent
    }

    /// One request: on its way, taking effect, and its reply on its way; each may be lost.
    async fn call<T>(
        &self,
        effect: impl FnOnce(&mut Disk) -> Result<T, ReplicaError> + Send,
    ) -> Result<T, ReplicaError> {
        let faults = self.faults();
        let (there, back) = (self.delay(faults), self.delay(faults));
        let lost = self.happens(faults.request_lost_percent);
        let reply_lost = self.happens(faults.reply_lost_percent);
        if !there.is_zero() {
            self.clock.sleep(there).await;
        }
        let answer = {
            let mut disk = self.disk.lock();
            disk.settle(self.clock.now());
            if lost || !disk.reachable {
                return Err(unreachable(self.node));
            }
            effect(&mut disk)
        };
        if !back.is_zero() {
            self.clock.sleep(back).await;
        }
        if reply_lost {
            return Err(unreachable(self.node));
        }
        answer
    }
}

fn unreachable(node: NodeId) -> ReplicaError {
    ReplicaError::Unreachable(format!("log node {node} does not answer"))
}

#[async_trait]
impl Replica for MemoryReplica {
    fn node(&self) -> NodeId {
        self.node
    }

    async fn open(&self, request: OpenExtent) -> Result<(), ReplicaError> {
        self.call(move |disk| disk.open(request)).await
    }

    fn append(&self, request: Append) -> BoxFuture<'static, Result<Appended, ReplicaError>> {
        let faults = self.faults();
        let due = self.clock.now() + self.delay(faults);
        let back = self.delay(faults);
        let lost = self.happens(faults.request_lost_percent);
        let reply_lost = self.happens(faults.reply_lost_percent);
        let answered = {
            let mut disk = self.disk.lock();
            let lost = lost || !disk.reachable;
            disk.enqueue(due, (!lost).then_some(request))
        };
        let node = self.clone();
        Box::pin(async move {
            let (due, answered) = answered;
            if due > node.clock.now() {
                node.clock.sleep(due - node.clock.now()).await;
            }
            node.disk.lock().settle(node.clock.now());
            let answer = answered.await;
            if !back.is_zero() {
                node.clock.sleep(back).await;
            }
            match answer {
                Ok(answer) if !reply_lost => answer,
                _ => Err(unreachable(node.node)),
            }
        })
    }

    async fn fence(&self, request: Fence) -> Result<Fenced, ReplicaError> {
        self.call(move |disk| disk.fence(request)).await
    }

    async fn probe(&self, request: Probe) -> Result<Probed, ReplicaError> {
        self.call(move |disk| Ok(disk.probe(request))).await
    }

    async fn read(&self, request: ReadFrames) -> Result<Vec<Frame>, ReplicaError> {
        self.call(move |disk| disk.read(request)).await
    }

    async fn release(&self, request: Release) -> Result<(), ReplicaError> {
        self.call(move |disk| disk.release(request)).await
    }

    async fn extents(&self) -> Result<Vec<ExtentInfo>, ReplicaError> {
        self.call(|disk| Ok(disk.extents())).await
    }

    fn disk_use(&self) -> Option<DiskUse> {
        self.disk.lock().disk_use
    }
}
