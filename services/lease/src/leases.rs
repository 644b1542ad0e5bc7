//! The handle everything is called on, and what its operations give.

use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::{Extent, FrameBody, Nodes, Reader, Writer, WriterOptions};
use tidemark_meta::MetaStore;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{ExtentIdx, Incarnation, Lsn, NodeId, Ownership, ShardId};
use tokio::sync::watch;

use crate::{LostRange, OwnerError, OwnershipState, ProbeError, RollError, TakeError};

/// How extents are replicated and how long a silent owner is believed in.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// n: replicas of a new extent; fewer when fewer nodes answer, never fewer than `ack_quorum` (J10).
    pub copies: usize,
    /// A: replicas that make an ack.
    pub ack_quorum: usize,
    /// A heartbeat's period; the unit of an observer's credit (B1).
    pub heartbeat: Duration,
    /// How long a heartbeat must stand still before the owner's shards may be taken.
    pub ttl: Duration,
    /// Bounds of the writers.
    pub writer: WriterOptions,
}

impl LeaseConfig {
    /// The embedded service: one replica, one process.
    #[must_use]
    pub fn embedded() -> Self {
        Self::replicated(1, 1)
    }

    /// `copies` replicas of which `ack_quorum` make an ack; 3 and 2 in production.
    #[must_use]
    pub fn replicated(copies: usize, ack_quorum: usize) -> Self {
        Self {
            copies,
            ack_quorum,
            heartbeat: Duration::from_secs(1),
            ttl: Duration::from_secs(6),
            writer: WriterOptions::default(),
        }
    }
}

/// A sealed extent as its row has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedExtent {
    /// Identity, first LSN and replicas: what [`Reader::read`] takes.
    pub extent: Extent,
    /// End, exclusive; never passed (J6).
    pub end: Lsn,
    /// What an operator gave up of it: frames from `lost.from` on cannot be read.
    pub lost: Option<LostRange>,
}

impl SealedExtent {
    /// End of what can be read, exclusive: the sealed end, or where the lost range begins.
    #[must_use]
    pub fn readable_end(&self) -> Lsn {
        self.lost
            .as_ref()
            .map_or(self.end, |lost| self.end.min(lost.from))
    }
}

/// A shard that was taken: RECOVERING, with an open extent that has no checkpoint yet.
#[derive(Debug)]
pub struct Taken {
    /// Proof for every later call.
    pub ownership: Ownership,
    /// From the newest extent with a complete checkpoint on, oldest first (J1). Extents after the first hold no
    /// complete checkpoint and no data, only perhaps pieces of one. Empty when the shard never committed a checkpoint.
    pub replay: Vec<SealedExtent>,
    /// All retained extents before `replay`, oldest first.
    pub older: Vec<SealedExtent>,
    /// Writes the new extent.
    pub writer: Writer,
    /// Reads any extent of the shard.
    pub reader: Reader,
}

/// A roll that happened.
#[derive(Debug)]
pub struct Rolled {
    /// Writes the new extent, which is empty: append the checkpoint of the state committed at `sealed.end` first.
    pub writer: Writer,
    /// The old extent.
    pub sealed: SealedExtent,
    /// Data frames the old extent did not commit, in order, with the LSNs they had there. Append each after the
    /// checkpoint and re-key its pending acks to the LSN it gets (J13): their offsets stay.
    pub uncommitted: Vec<(Lsn, FrameBody)>,
}

/// What an unclean seal gave up, for the message to the operator and the tenants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UncleanSealed {
    /// The extents that lost something, with the range each lost.
    pub lost: Vec<SealedExtent>,
}

/// The lease operations of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leases(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) nodes: Nodes,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) config: LeaseConfig,
}

impl Leases {
    /// The operations of `node`'s start `incarnation` (from [`Leases::register`]).
    #[must_use]
    pub fn new(
        store: Arc<dyn MetaStore>,
        nodes: Nodes,
        clock: Clock,
        entropy: Entropy,
        tasks: Tasks,
        (node, incarnation): (NodeId, Incarnation),
        config: LeaseConfig,
    ) -> Self {
        let _ = tasks;
        Self(Arc::new(Inner {
            store,
            nodes,
            clock,
            entropy,
            node,
            incarnation,
            config,
        }))
    }

    /// Registers a start of `node` and gives its incarnation, above every earlier one's (J9).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn register(
        store: &dyn MetaStore,
        clock: &Clock,
        entropy: &Entropy,
        node: NodeId,
    ) -> Result<Incarnation, OwnerError> {
        let _ = (store, clock, entropy, node);
        Err(OwnerError::Store(not_built()))
    }

    /// Starts the heartbeat and the observation of the other nodes; ends when the tasks stop.
    pub fn start_heartbeat(&self) {}

    /// Takes a shard. Immediate when nobody owns it, when its owner drains, and when its owner is an earlier
    /// incarnation of this node (a restart); otherwise only once its owner's heartbeat stood still (B1).
    ///
    /// # Errors
    /// See [`TakeError`]. Retrying is always safe.
    pub async fn take(&self, shard: ShardId) -> Result<Taken, TakeError> {
        let _ = shard;
        Err(TakeError::Store(not_built()))
    }

    /// Seals the writer's extent at `proposed_end` (what [`Writer::freeze`] returned) and opens the next, in one
    /// transaction. The caller may go on sequencing into `writer` meanwhile; nothing above `proposed_end` commits.
    ///
    /// # Errors
    /// See [`RollError`]: each variant says what became of the writer.
    pub async fn roll(
        &self,
        ownership: &Ownership,
        writer: &Writer,
        proposed_end: Lsn,
    ) -> Result<Rolled, RollError> {
        let _ = (ownership, writer, proposed_end);
        Err(RollError::Unknown(not_built()))
    }

    /// Notes that an extent's checkpoint is committed (J12). Idempotent.
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub async fn mark_checkpoint(
        &self,
        ownership: &Ownership,
        extent: ExtentIdx,
    ) -> Result<(), OwnerError> {
        let _ = (ownership, extent);
        Err(OwnerError::Store(not_built()))
    }

    /// Marks the shard SERVING. Idempotent.
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub async fn mark_serving(&self, ownership: &Ownership) -> Result<(), OwnerError> {
        let _ = ownership;
        Err(OwnerError::Store(not_built()))
    }

    /// Gives the shard up, so that anyone may take it without waiting. Call after the writer stopped.
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub async fn release(&self, ownership: &Ownership) -> Result<(), OwnerError> {
        let _ = ownership;
        Err(OwnerError::Store(not_built()))
    }

    /// K1's proof: A replicas of the open extent answer, after this call began, that no newer owner fenced them.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn probe(&self, ownership: &Ownership, extent: &Extent) -> Result<(), ProbeError> {
        let _ = (ownership, extent);
        let needed = extent.replicas.ack_quorum();
        Err(ProbeError::Unproven {
            needed,
            answered: 0,
        })
    }

    /// Watches the shard's row in the background until it names another owner or the tasks stop.
    #[must_use]
    pub fn watch_ownership(&self, ownership: &Ownership) -> watch::Receiver<OwnershipState> {
        let _ = ownership;
        watch::channel(OwnershipState::Held).1
    }

    /// Whether a metadata commit of this process succeeded within the last second: the precondition of every
    /// optional roll (J2).
    #[must_use]
    pub fn metadata_is_fresh(&self) -> bool {
        false
    }

    /// The operator's step when a shard's extent cannot be vouched for (J10): seals the open extent at the end of what
    /// is readable, records the lost range in its row, and leaves the shard released under a raised epoch. Take it
    /// again to serve. Also records what is unreadable of the sealed extent that a replay would start from.
    ///
    /// # Errors
    /// As [`Leases::take`].
    pub async fn unclean_seal(&self, shard: ShardId) -> Result<UncleanSealed, TakeError> {
        let _ = shard;
        Err(TakeError::Store(not_built()))
    }
}

fn not_built() -> tidemark_meta::MetaError {
    tidemark_meta::MetaError::Unavailable("not built yet".to_owned())
}
