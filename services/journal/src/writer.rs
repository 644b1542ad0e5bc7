//! The owner's end of an open extent: sequences frames, streams them to the replicas, finds the commit point.
//!
//! # Overview
//! [`Writer::append`] gives a frame its LSN and enqueues it on every replica before it returns, so frames leave
//! in LSN order and any number of them are in flight. A driver task collects the acks; LSN n is committed once
//! A replicas are durable beyond n. Both the committed end and the reason a writer ended are seen through
//! one watch ([`Writer::committed`]).
//!
//! # Roll
//! [`Writer::freeze`] caps the commit point where it stands (J2) while frames may still be sequenced;
//! [`Writer::thaw`] lifts the cap when the roll is known not to have happened; [`Writer::retire`] ends the writer
//! and hands over what was never committed, in order, so that the next extent carries it (J13).
//!
//! # Cancellation
//! Nothing here is awaited by the owner. A writer whose last handle is dropped stops; frames on their way may
//! still become durable, as those of any owner that died.

mod lane;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::Mutex;
use tidemark_runtime::Tasks;
use tidemark_types::{Coded, Epoch, ErrorCode, Lsn, NodeId, limits};
use tokio::sync::watch;

use self::state::State;
use crate::mutation::Mutation;
use crate::{Extent, FrameBody, Nodes, ReplicaError};

/// What a writer has reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Every LSN below this is durable on A replicas and may be acked and shown.
    pub end: Lsn,
    /// Why nothing more will be committed. Frames at or above `end` are indeterminate then (K5).
    pub ended: Option<WriterEnd>,
}

/// Why a writer ended. The variant says what the owner does.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WriterEnd {
    /// A newer owner fenced the shard: stop at once, answer nothing about the end.
    #[error("append: fenced at epoch {fence}")]
    Fenced {
        /// The fence.
        fence: Epoch,
    },
    /// Fewer than A replicas are left and the disks of those lost are full: roll once there is room.
    #[error("append: too few replicas are left, {node} is full")]
    Full {
        /// The node that refused last.
        node: NodeId,
    },
    /// Fewer than A replicas are left: roll to others, or take the shard again.
    #[error("append: too few replicas are left, {node} failed: {error}")]
    Storage {
        /// The node that failed last.
        node: NodeId,
        /// Its error.
        error: Box<ReplicaError>,
    },
    /// [`Writer::retire`] or [`Writer::stop`] was called.
    #[error("append: the extent is no longer written to")]
    Retired,
}

impl Coded for WriterEnd {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Fenced { .. } | Self::Retired => ErrorCode::NotLeader,
            Self::Full { .. } | Self::Storage { .. } => ErrorCode::StorageError,
        }
    }
}

/// A body that was not sequenced, handed back untouched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{why}")]
pub struct AppendRefused {
    /// What was to be appended.
    pub body: FrameBody,
    /// Why it was not.
    pub why: RefusedWhy,
}

/// Why [`Writer::append`] refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefusedWhy {
    /// The writer ended.
    #[error(transparent)]
    Ended(WriterEnd),
    /// Too many bytes are uncommitted: try again when the committed end has moved.
    #[error("append: {in_flight_bytes} bytes wait for their commit")]
    Backpressure {
        /// Uncommitted bytes.
        in_flight_bytes: usize,
    },
}

impl Coded for AppendRefused {
    fn code(&self) -> ErrorCode {
        match &self.why {
            RefusedWhy::Ended(why) => why.code(),
            RefusedWhy::Backpressure { .. } => ErrorCode::Overloaded,
        }
    }
}

/// Bounds of a writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriterOptions {
    /// Uncommitted bytes at the most. Twice what an owner admits: the rest is checkpoints and frame heads.
    pub uncommitted_bytes_max: usize,
    /// Bytes one replica may be behind the newest frame before it counts as lost for this extent.
    pub lane_bytes_max: usize,
    /// A rule to break; tests only.
    #[doc(hidden)]
    pub mutation: Option<Mutation>,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            uncommitted_bytes_max: 2 * limits::SHARD_INFLIGHT_BYTES_MAX,
            lane_bytes_max: 4 * limits::SHARD_INFLIGHT_BYTES_MAX,
            mutation: None,
        }
    }
}

/// Writes one open extent. Clones share it; the last one dropped stops it.
#[derive(Clone, Debug)]
pub struct Writer(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    extent: Extent,
    epoch: Epoch,
    state: Arc<Mutex<State>>,
    committed: watch::Receiver<Committed>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.lock().end(WriterEnd::Retired);
    }
}

impl Writer {
    /// Starts writing an extent that was opened on at least A of its replicas and holds no frame yet.
    /// Replicas in `lost` (those that did not open it) are never sent anything. With fewer than A left the writer has ended
    /// for want of them, as `why` says.
    #[must_use]
    pub fn start(
        extent: Extent,
        epoch: Epoch,
        nodes: &Nodes,
        (lost, why): (&[NodeId], Option<ReplicaError>),
        options: WriterOptions,
        tasks: &Tasks,
    ) -> Self {
        let (sender, committed) = watch::channel(Committed {
            end: extent.first,
            ended: None,
        });
        let name = format!("journal writer of {}", extent.id);
        let state = State::new(extent.clone(), epoch, nodes, (lost, why), options, sender);
        let state = Arc::new(Mutex::new(state));
        let driven = Arc::clone(&state);
        tasks.spawn(name, async move {
            std::future::poll_fn(|cx| driven.lock().poll(cx)).await;
        });
        Self(Arc::new(Handle {
            extent,
            epoch,
            state,
            committed,
        }))
    }

    /// Sequences a frame: gives it the next LSN and enqueues it on every replica, before returning. The LSN
    /// never gets other bytes, whoever stops waiting for it (J7).
    ///
    /// # Errors
    /// Hands the body back when the writer ended or too much is uncommitted.
    ///
    /// # Panics
    /// When the body is over `limits::FRAME_BYTES_MAX`.
    pub fn append(&self, body: FrameBody) -> Result<Lsn, AppendRefused> {
        self.0.state.lock().append(body)
    }

    /// The committed end and why the writer ended. Starts at the extent's first LSN.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<Committed> {
        self.0.committed.clone()
    }

    /// Waits until everything below `end` is committed.
    ///
    /// # Errors
    /// Why the writer ended before that.
    pub async fn wait_committed(&self, end: Lsn) -> Result<(), WriterEnd> {
        let mut seen = self.committed();
        let reached = seen
            .wait_for(|c| c.end >= end || c.ended.is_some())
            .await
            .map_or(None, |c| Some(c.clone()));
        match reached {
            Some(c) if c.end >= end => Ok(()),
            Some(Committed { ended, .. }) => Err(ended.unwrap_or(WriterEnd::Retired)),
            None => Err(WriterEnd::Retired),
        }
    }

    /// The extent written to.
    #[must_use]
    pub fn extent(&self) -> &Extent {
        &self.0.extent
    }

    /// The epoch it is written under.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The LSN the next frame gets.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.0.state.lock().next_lsn()
    }

    /// Encoded bytes sequenced into the extent so far: what a roll by size looks at.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().bytes()
    }

    /// Encoded bytes sequenced and not committed.
    #[must_use]
    pub fn uncommitted_bytes(&self) -> usize {
        self.0.state.lock().uncommitted_bytes()
    }

    /// Replicas that failed or fell too far behind: a reason to roll (J11).
    #[must_use]
    pub fn lost_replicas(&self) -> Vec<NodeId> {
        self.0.state.lock().lost()
    }

    /// Stops the commit point where it stands and returns it: the end to propose to a roll (J2). From here
    /// nothing above it is committed, acked or shown, while frames may still be sequenced. Idempotent.
    #[must_use]
    pub fn freeze(&self) -> Lsn {
        self.0.state.lock().freeze()
    }

    /// Notes that a roll's transaction may be under way, so that nobody thaws the writer on a guess. Answers
    /// whether one was noted before and its outcome never learnt.
    pub fn doubt(&self) -> bool {
        self.0.state.lock().doubt()
    }

    /// Lifts [`Writer::freeze`]: only when the roll is known not to have happened, and none before it is in doubt (J2).
    pub fn thaw(&self) {
        self.0.state.lock().thaw();
    }

    /// Ends the writer; the commit point stays where it is.
    pub fn stop(&self) {
        self.0.state.lock().end(WriterEnd::Retired);
    }

    /// Ends the writer and hands over the data frames at or above the committed (or frozen) end, oldest first,
    /// with the LSNs they had. The next extent carries them in this order under new LSNs (J13). Checkpoint frames
    /// are left out: every extent gets its own.
    #[must_use]
    pub fn retire(&self) -> Vec<(Lsn, FrameBody)> {
        self.0.state.lock().retire()
    }
}
