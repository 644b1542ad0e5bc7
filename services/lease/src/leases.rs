//! The handle everything is called on, and what its operations give.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_journal::{
    DiskUse, Extent, FrameBody, Mutation, Nodes, Reader, RecoverOptions, Writer, WriterOptions,
};
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::{MetaError, MetaStore, Mode, keys};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{ExtentIdx, Incarnation, Lsn, NodeId, Ownership, ShardId};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::observer::Observer;
use crate::{
    LostRange, OwnerError, OwnershipState, ProbeError, RollError, TakeError, UncleanSealed, empty,
    heartbeat, owner, ownership, release, roll, take, unclean,
};

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
    /// Bounds of a recovery.
    pub recover: RecoverOptions,
    /// A rule to break; tests only. Set it by [`LeaseConfig::mutated`].
    #[doc(hidden)]
    pub mutation: Option<Mutation>,
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
            recover: RecoverOptions::default(),
            mutation: None,
        }
    }

    /// The same with one rule of the protocol broken everywhere it is kept.
    #[doc(hidden)]
    #[must_use]
    pub const fn mutated(mut self, mutation: Option<Mutation>) -> Self {
        self.mutation = mutation;
        self.writer.mutation = mutation;
        self.recover.mutation = mutation;
        self
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
    /// Writes the new extent. On full disks it has ended, as a writer that meets one ([`tidemark_journal::WriterEnd::Full`]).
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

/// The lease operations of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leases(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) nodes: Nodes,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) tasks: Tasks,
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) config: LeaseConfig,
    pub(crate) recoveries: Semaphore,
    pub(crate) observer: Mutex<Observer>,
    committed_at: Mutex<Option<Instant>>,
    early: Mutex<BTreeMap<ShardId, Instant>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leases")
            .field("node", &self.node)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// B2: recoveries under way at once, per process.
const RECOVERIES_MAX: usize = 8;
/// B3: one early takeover per shard and this long.
const EARLY_EVERY: Duration = Duration::from_secs(60);
/// J2: how old the last metadata commit may be when an optional roll starts.
const FRESH: Duration = Duration::from_secs(1);

impl Inner {
    pub(crate) fn note_commit(&self) {
        *self.committed_at.lock() = Some(self.clock.now());
    }

    pub(crate) fn dead_nodes(&self) -> Vec<(NodeId, u64)> {
        self.observer.lock().dead()
    }

    /// B3, for an owner that drains. Counted when it is asked.
    pub(crate) fn may_take_early(&self, shard: ShardId) -> bool {
        let now = self.clock.now();
        let mut early = self.early.lock();
        let last = early.get(&shard);
        if last.is_some_and(|at| now.duration_since(*at) < EARLY_EVERY) {
            return false;
        }
        early.insert(shard, now);
        true
    }

    /// How many candidates go before this node, when the shard's owner is another node that looks dead (B2).
    pub(crate) async fn takeover_rank(&self, shard: ShardId) -> Result<Option<u32>, MetaError> {
        let dead = self.dead_nodes();
        if dead.is_empty() {
            return Ok(None);
        }
        let mut tx = self.store.begin();
        let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await?;
        let owner = row.and_then(|row| row.owner).map(|owner| owner.node);
        let owner_is_dead = dead.iter().any(|(node, _)| Some(*node) == owner);
        Ok(owner_is_dead.then(|| self.observer.lock().rank(shard, self.node)))
    }
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
        let observer = Mutex::new(Observer::new(config.ttl, config.heartbeat));
        Self(Arc::new(Inner {
            store,
            nodes,
            clock,
            entropy,
            tasks,
            node,
            incarnation,
            config,
            recoveries: Semaphore::new(RECOVERIES_MAX),
            observer,
            committed_at: Mutex::default(),
            early: Mutex::default(),
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
        heartbeat::register(store, clock, entropy, node).await
    }

    /// Starts the heartbeat and the observation of the other nodes; ends when the tasks stop.
    pub fn start_heartbeat(&self) {
        let leases = self.clone();
        self.0
            .tasks
            .spawn("lease heartbeat", heartbeat::run(leases));
    }

    /// Announces that this process hands its shards over (or no longer does): others may take them at once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_draining(&self, draining: bool) -> Result<(), OwnerError> {
        heartbeat::set_draining(&self.0, draining).await
    }

    /// Takes a shard. Immediate when nobody owns it, when its owner drains, and when its owner is an earlier
    /// incarnation of this node (a restart); otherwise only once its owner's heartbeat stood still (B1).
    ///
    /// Do not call it for a shard this process owns and writes to: it would be taken from itself.
    ///
    /// # Errors
    /// See [`TakeError`]. Retrying is always safe.
    pub async fn take(&self, shard: ShardId) -> Result<Taken, TakeError> {
        Box::pin(take::take(&self.0, shard)).await
    }

    /// Seals the writer's extent at `proposed_end` (what [`Writer::freeze`] returned) and opens the next, in one
    /// transaction. The caller may go on sequencing into `writer` meanwhile; nothing above `proposed_end` commits.
    ///
    /// # Errors
    /// See [`RollError`]: each variant says what became of the writer.
    ///
    /// # Panics
    /// When `proposed_end` is not where the writer froze.
    pub async fn roll(
        &self,
        ownership: &Ownership,
        writer: &Writer,
        proposed_end: Lsn,
    ) -> Result<Rolled, RollError> {
        Box::pin(roll::roll(&self.0, ownership, writer, proposed_end)).await
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
        owner::mark_checkpoint(&self.0, *ownership, extent).await
    }

    /// Marks the shard SERVING. Idempotent.
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub async fn mark_serving(&self, ownership: &Ownership) -> Result<(), OwnerError> {
        owner::mark_serving(&self.0, *ownership).await
    }

    /// Seals the shard's newest extent at `end`, its committed end, with none behind it. Call after the writer stopped and
    /// everything it sent was committed, before [`Leases::release`]. Idempotent.
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub async fn seal_last(
        &self,
        ownership: &Ownership,
        extent: ExtentIdx,
        end: Lsn,
    ) -> Result<(), OwnerError> {
        owner::seal_last(&self.0, *ownership, extent, end).await
    }

    /// Gives the shard up, so that anyone may take it without waiting. Call after the writer stopped.
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub async fn release(&self, ownership: &Ownership) -> Result<(), OwnerError> {
        owner::release(&self.0, *ownership).await
    }

    /// Releases the shard's hot extents up to and with `last`, as far as they are SEALED, tiered to their end, and older
    /// than one with a committed checkpoint. Answers the first extent that is retained: keep readers off older ones,
    /// then call [`Leases::forget_extents`].
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub async fn release_extents(
        &self,
        ownership: &Ownership,
        last: Option<ExtentIdx>,
    ) -> Result<ExtentIdx, OwnerError> {
        release::release(&self.0, *ownership, last).await
    }

    /// Gives up sealed extents without a complete checkpoint behind the newest that is marked (ADR 0012), as far as they are
    /// tiered. Answers the sealed ones that are left: keep readers off others, then call [`Leases::forget_extents`].
    ///
    /// # Errors
    /// See [`TakeError`].
    pub async fn give_up_empty(&self, ownership: &Ownership) -> Result<Vec<ExtentIdx>, TakeError> {
        empty::give_up(&self.0, *ownership).await
    }

    /// Has the log nodes forget the shard's extents that were given up. `false`: some may still hold them: call it again.
    pub async fn forget_extents(&self, ownership: &Ownership) -> bool {
        release::forget(&self.0, ownership).await
    }

    /// How full the disks of an extent's replicas are: the fullest one. `None` when no replica tells.
    #[must_use]
    pub fn disk_use(&self, extent: &Extent) -> Option<DiskUse> {
        let told = self.disk_uses(extent).map(|(_, used)| used);
        told.max_by_key(DiskUse::permille)
    }

    /// How full the disks of an extent's replicas are, of those that tell.
    pub fn disk_uses(&self, extent: &Extent) -> impl Iterator<Item = (NodeId, DiskUse)> {
        let replicas = extent.replicas.nodes().iter();
        replicas.filter_map(|node| Some((*node, self.0.nodes.get(*node)?.disk_use()?)))
    }

    /// K1's proof: A replicas of the open extent answer, after this call began, that no newer owner fenced them.
    ///
    /// # Errors
    /// See [`ProbeError`].
    pub async fn probe(&self, ownership: &Ownership, extent: &Extent) -> Result<(), ProbeError> {
        owner::probe(&self.0, ownership, extent).await
    }

    /// Watches the shard's row in the background until it names another owner or the tasks stop.
    #[must_use]
    pub fn watch_ownership(&self, ownership: &Ownership) -> watch::Receiver<OwnershipState> {
        let (sender, seen) = watch::channel(OwnershipState::Held);
        let name = format!("ownership watch of shard {}", ownership.shard);
        let task = ownership::watch(self.clone(), *ownership, sender);
        self.0.tasks.spawn(name, task);
        seen
    }

    /// Whether a metadata commit of this process succeeded within the last second: the precondition of every
    /// optional roll (J2).
    #[must_use]
    pub fn metadata_is_fresh(&self) -> bool {
        let last = *self.0.committed_at.lock();
        last.is_some_and(|at| self.0.clock.now().duration_since(at) <= FRESH)
    }

    /// The operator's step when a shard's extent cannot be vouched for (J10): seals the open extent at the end of what
    /// is readable, records the lost range in its row, and leaves the shard released under a raised epoch. Take it
    /// again to serve. Also records what is unreadable of the sealed extent that a replay would start from.
    ///
    /// # Errors
    /// As [`Leases::take`].
    pub async fn unclean_seal(&self, shard: ShardId) -> Result<UncleanSealed, TakeError> {
        Box::pin(unclean::unclean_seal(&self.0, shard)).await
    }
}
