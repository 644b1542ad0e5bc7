//! Decides where an open extent ends when its owner is gone, and repairs it up to there.
//!
//! # Overview
//! Every replica is fenced at the new epoch. F final, vouching inventories meet every ack quorum, so End := the
//! highest of them covers every acked frame; what lies below it on fewer than A replicas is copied, verbatim,
//! until A hold it. Nothing is ever cut: what a replica holds above End is simply never read (J6).
//!
//! # Consistency
//! Replies are fixed for the epoch and End never goes down (J3). When the only replica that reaches End is lost,
//! [`RecoverError::SourceLost`] asks for a new epoch, never for fewer replies. When its data is unreadable, all n
//! replies are waited for *before* anything is copied, and End := the A-th highest of them (J10): an acked frame
//! is on A replicas, so it is below that.
//!
//! # Retries
//! A fence is asked for again, with jitter, until the deadline. Everything is idempotent.

mod copy;
mod fence;
mod unclean;

use std::time::Duration;

use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{Epoch, Lsn, NodeId};
use tokio::time::Instant;

use self::fence::Fencing;
pub use self::unclean::{UncleanEnd, recover_unclean};
use crate::mutation::{Mutation, mutated};
use crate::{Extent, ExtentId, Inventory, Nodes, ReplicaError};

/// What a replica cannot vouch for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("log node {node} is damaged from lsn {from}: {why}")]
pub struct Damage {
    /// The replica.
    pub node: NodeId,
    /// First LSN it cannot vouch for.
    pub from: Lsn,
    /// File and byte range.
    pub why: String,
}

/// Why an extent's end could not be decided. Nothing was sealed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoverError {
    /// A newer owner fenced the shard: give up.
    #[error("recover {extent}: fenced at epoch {fence}")]
    Fenced {
        /// The extent.
        extent: ExtentId,
        /// The fence.
        fence: Epoch,
    },
    /// Too many replicas cannot vouch for their data: only mending them, or an operator, helps (J5, J10).
    #[error("recover {extent}: {} of its replicas cannot vouch for it", damage.len())]
    Limbo {
        /// The extent.
        extent: ExtentId,
        /// What they said.
        damage: Vec<Damage>,
    },
    /// Too few replicas answered before the deadline: try again.
    #[error("recover {extent}: {needed} replicas must answer, {answered} did: {last}")]
    TooFew {
        /// The extent.
        extent: ExtentId,
        /// Replicas needed.
        needed: usize,
        /// Replicas that answered.
        answered: usize,
        /// The last failure.
        last: ReplicaError,
    },
    /// The replica whose inventory set End is gone: start over with a new T1 (J3).
    #[error("recover {extent}: the source of its end is gone: {why}")]
    SourceLost {
        /// The extent.
        extent: ExtentId,
        /// The failure.
        why: ReplicaError,
    },
}

/// Bounds of a recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoverOptions {
    /// Longest wait for one answer.
    pub call_timeout: Duration,
    /// Longest wait for enough answers.
    pub deadline: Duration,
    /// A rule to break; tests only.
    #[doc(hidden)]
    pub mutation: Option<Mutation>,
}

impl Default for RecoverOptions {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(10),
            mutation: None,
        }
    }
}

/// What a recovery works with.
#[derive(Debug)]
pub struct Recovery<'a> {
    nodes: &'a Nodes,
    clock: &'a Clock,
    entropy: &'a Entropy,
    extent: &'a Extent,
    epoch: Epoch,
    options: RecoverOptions,
    give_up: Instant,
}

impl<'a> Recovery<'a> {
    /// A recovery of `extent` under `epoch`, which T1 has stored. Its deadline starts now.
    #[must_use]
    pub fn new(
        nodes: &'a Nodes,
        (clock, entropy): (&'a Clock, &'a Entropy),
        extent: &'a Extent,
        epoch: Epoch,
        options: RecoverOptions,
    ) -> Self {
        Self {
            nodes,
            clock,
            entropy,
            extent,
            epoch,
            options,
            give_up: clock.now() + options.deadline,
        }
    }

    fn breaks(&self, which: Mutation) -> bool {
        mutated(self.options.mutation, which)
    }

    fn fence_quorum(&self) -> usize {
        if self.breaks(Mutation::FenceQuorumOne) {
            1
        } else {
            self.extent.replicas.fence_quorum()
        }
    }

    fn too_few(&self, needed: usize, answered: usize, last: Option<ReplicaError>) -> RecoverError {
        RecoverError::TooFew {
            extent: self.extent.id,
            needed,
            answered,
            last: last.unwrap_or(ReplicaError::NoSuchExtent(self.extent.id)),
        }
    }
}

/// Fences the replicas of an extent at the recovery's epoch and makes sure that A of them hold everything below the
/// end it answers, exclusive. That end covers every frame that was ever acked.
///
/// # Errors
/// See [`RecoverError`]. Nothing is undone: fences stay up, copies stay where they are.
pub async fn recover(ctx: &Recovery<'_>) -> Result<Lsn, RecoverError> {
    let mut fencing = Fencing::start(ctx);
    fencing.wait_vouching(ctx.fence_quorum()).await?;
    let mut end = if ctx.breaks(Mutation::SealAtMinimum) {
        fencing.replies.nth_highest(fencing.replies.vouching())
    } else {
        fencing.replies.nth_highest(1)
    };
    // J10: nothing is copied before all of the gap was read once.
    if let Err(error) = copy::check_gap(ctx, &fencing.replies, end).await {
        end = lower_end(ctx, &mut fencing, error).await?;
    }
    if !ctx.breaks(Mutation::NoReappend) {
        copy::fill_gap(ctx, &mut fencing, end).await?;
    }
    Ok(end)
}

/// End when its source failed before anything was copied.
async fn lower_end(
    ctx: &Recovery<'_>,
    fencing: &mut Fencing<'_>,
    error: copy::SourceError,
) -> Result<Lsn, RecoverError> {
    let quorum = ctx.extent.replicas.ack_quorum();
    match error {
        copy::SourceError::Unreadable(_) => {
            if !ctx.breaks(Mutation::LateSecondHighest) {
                fencing
                    .wait_vouching(ctx.extent.replicas.nodes().len())
                    .await?;
            }
            Ok(fencing.replies.nth_highest(quorum))
        }
        copy::SourceError::Gone(_) if ctx.breaks(Mutation::ForgottenReply) => {
            Ok(fencing.replies.nth_highest(2))
        }
        copy::SourceError::Gone(why) => Err(RecoverError::SourceLost {
            extent: ctx.extent.id,
            why,
        }),
    }
}

/// The end an inventory vouches for; none when it cannot vouch.
fn vouched_end(first: Lsn, inventory: &Inventory) -> Option<Lsn> {
    match inventory {
        Inventory::Absent => Some(first),
        Inventory::Held { end, .. } => Some((*end).max(first)),
        Inventory::Limbo { .. } => None,
    }
}
