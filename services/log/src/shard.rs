//! What the actor of a shard, its readers and the gateways' handles share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::RwLock;
use tidemark_journal::Reader;
use tidemark_runtime::FastMap;
use tidemark_types::{ExtentIdx, Offset, Ownership, PartitionId, ShardId, TopicId};
use tokio::sync::{mpsc, oneshot};

use crate::append::{AppendAck, AppendError};
use crate::backing::Memory;
use crate::error::ReadError;
use crate::head::{KeyStamp, ProducerStamp};
use crate::index::ReadableExtent;
use crate::room::{Inflight, Reserved};
use crate::status::{ShardState, ShardStatus};
use crate::tier::part::ColdPart;
use crate::view::View;
use crate::waiters::Waiters;

/// Where the answer of an append goes.
pub(crate) type Reply = oneshot::Sender<Result<AppendAck, AppendError>>;

/// An append on its way to the actor.
#[derive(Debug)]
pub(crate) struct Submitted {
    pub(crate) partition: PartitionId,
    pub(crate) leader_epoch_base: i32,
    pub(crate) batch: tidemark_records::Batch,
    pub(crate) producer: Option<ProducerStamp>,
    pub(crate) key: Option<KeyStamp>,
    pub(crate) expected_offset: Option<Offset>,
    pub(crate) reply: Reply,
    pub(crate) reserved: Reserved,
    /// What the batch is a slice of.
    pub(crate) memory: Option<Arc<Memory>>,
}

/// Orders to an actor that are no appends.
#[derive(Debug)]
pub(crate) enum Control {
    /// The topic was deleted.
    Forget(TopicId),
    /// The operator unsealed what kept the shard closed: try again.
    Reopen,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) queue: mpsc::Sender<Submitted>,
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) inflight: Arc<Inflight>,
    role: RwLock<Role>,
    pub(crate) views: RwLock<FastMap<PartitionId, Arc<View>>>,
    extents: RwLock<Readables>,
    pub(crate) waiters: Waiters,
    pub(crate) proofs: Proofs,
    pub(crate) cold: ColdPart,
}

/// Proofs of ownership (K1), one at a time.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// Requests for one so far.
    pub(crate) asked: AtomicU64,
    /// The newest outcome, and how many requests had been made when its proof began.
    pub(crate) last: tokio::sync::Mutex<(u64, Result<(), ReadError>)>,
}

#[derive(Debug)]
struct Role {
    state: ShardState,
    ownership: Option<Ownership>,
}

/// The extents that can be read, ascending, the open one last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readables {
    pub(crate) reader: Option<Reader>,
    pub(crate) extents: Vec<Arc<ReadableExtent>>,
}

impl Shard {
    pub(crate) fn new(
        id: ShardId,
        queue: mpsc::Sender<Submitted>,
        control: mpsc::Sender<Control>,
        (bytes_max, batches_max): (usize, usize),
    ) -> Self {
        Self {
            id,
            queue,
            control,
            inflight: Inflight::new(bytes_max, batches_max),
            role: RwLock::new(Role {
                state: ShardState::Recovering { why: String::new() },
                ownership: None,
            }),
            views: RwLock::default(),
            extents: RwLock::default(),
            waiters: Waiters::default(),
            cold: ColdPart::default(),
            proofs: Proofs {
                asked: AtomicU64::new(0),
                last: tokio::sync::Mutex::new((0, Ok(()))),
            },
        }
    }

    pub(crate) fn serve(&self, ownership: Ownership) {
        *self.role.write() = Role {
            state: ShardState::Serving {
                epoch: ownership.epoch,
            },
            ownership: Some(ownership),
        };
    }

    /// Stops serving: readers and appends are refused from here on, and those that wait are told so.
    pub(crate) fn unserve(&self, state: ShardState) {
        *self.role.write() = Role {
            state,
            ownership: None,
        };
        self.cold.pressure.eased.notify_waiters();
        self.waiters.wake_all();
    }

    /// The ownership while the shard serves.
    pub(crate) fn ownership(&self) -> Result<Ownership, ReadError> {
        let role = self.role.read();
        match (&role.ownership, &role.state) {
            (Some(ownership), _) => Ok(*ownership),
            (None, ShardState::Closed { why }) => Err(ReadError::Closed {
                shard: self.id,
                why: why.clone(),
            }),
            (None, _) => Err(ReadError::NotLeader(self.id)),
        }
    }

    /// A partition's shared state; `None` when nothing was ever appended to it.
    pub(crate) fn view(&self, id: PartitionId) -> Option<Arc<View>> {
        self.views.read().get(&id).cloned()
    }

    pub(crate) fn readables(&self) -> Readables {
        self.extents.read().clone()
    }

    pub(crate) fn set_readables(&self, readables: Readables) {
        *self.extents.write() = readables;
    }

    pub(crate) fn add_extent(&self, extent: Arc<ReadableExtent>) {
        self.extents.write().extents.push(extent);
    }

    /// Keeps readers off extents that are given up. Answers how many of them they had.
    pub(crate) fn drop_extents(&self, gone: impl Fn(ExtentIdx) -> bool) -> u64 {
        let extents = &mut self.extents.write().extents;
        let before = extents.len();
        extents.retain(|e| !gone(e.extent.id.index));
        (before - extents.len()) as u64
    }

    /// The open extent, while the shard serves.
    pub(crate) fn open_extent(&self) -> Option<Arc<ReadableExtent>> {
        self.extents.read().extents.last().cloned()
    }

    pub(crate) fn status(&self) -> ShardStatus {
        ShardStatus {
            shard: self.id,
            state: self.role.read().state.clone(),
            inflight_bytes: self.inflight.bytes(),
            partitions: self.views.read().len(),
        }
    }
}
