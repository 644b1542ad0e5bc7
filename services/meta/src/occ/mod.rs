//! The optimistic transaction layer that the `embedded` and `sim` engines share, over a small [`Storage`].
//!
//! # Overview
//! A transaction reads from a [`View`] of one version, gathers its writes and what it read, and hands both to
//! the one [`Sequencer`]. That refuses it when something it read was written after its version, and otherwise
//! applies a whole group of transactions as one durable batch.
//!
//! # Consistency
//! Why this is strictly serializable:
//! - The sequencer is alone and gives every transaction a version; that is the serial order. An admitted
//!   transaction read nothing that was written between its read version and its own, so it would have read the
//!   same at its place in the order. A read-only one stands at its read version.
//! - A view is published only after its batch is durable, and a commit is answered only after that. So a
//!   transaction that begins after an answer reads at that version or later: the order agrees with real time,
//!   and nothing that a crash could undo is ever read.
//! - The conflict window forgets old writes (by age and count); a transaction from before its floor is `TooOld`.
//!
//! # Crash consistency
//! A batch applies all or none, and holds the version counter: versionstamps grow across restarts. A failed batch
//! poisons the store: its transactions are `MaybeCommitted`, and nothing is read or written until a restart
//! has found out (a read in between could contradict what the restart finds).
//!
//! # Cancellation
//! A commit that was submitted goes on when its future is dropped.

mod conflicts;
mod merge;
mod sequencer;
mod storage;
#[cfg(test)]
mod tests;
mod transaction;
mod watches;
mod writes;

use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tidemark_runtime::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub(crate) use self::sequencer::{Request, Sequencer};
pub(crate) use self::storage::{Changes, Storage, StorageError, View};
use self::transaction::OccTransaction;
use self::watches::Watches;
pub(crate) use self::writes::{point_range, range_of, stamp_key};
use crate::{Committed, MetaError, MetaStore, Transaction};

/// Commits waiting for the sequencer at the most.
const QUEUE_COMMITS_MAX: usize = 1024;
/// Bytes of commits waiting for the sequencer at the most; one transaction is below it.
const QUEUE_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(QUEUE_BYTES_MAX > tidemark_types::limits::META_TXN_BYTES_MAX);

/// A commit on its way to the sequencer.
pub(crate) struct Queued {
    request: Request,
    answer: oneshot::Sender<Result<Committed, MetaError>>,
    /// Gives its share of the queue's bytes back when the commit was answered.
    share: OwnedSemaphorePermit,
}

/// What readers see: a durable version.
pub(crate) struct Published<V> {
    version: u64,
    pub(crate) view: V,
}

/// Where commits are sequenced.
enum Path<S: Storage> {
    /// By whoever commits, one at a time: single-threaded and deterministic.
    Inline(Mutex<Sequencer<S>>),
    /// By one thread, in groups.
    Queue {
        queue: mpsc::Sender<Queued>,
        bytes: Arc<Semaphore>,
    },
}

/// What transactions and the sequencer share.
struct Board<V> {
    /// `Err`: why the store refuses work.
    published: RwLock<Result<Arc<Published<V>>, String>>,
    watches: Watches,
}

struct Shared<S: Storage> {
    clock: Clock,
    board: Arc<Board<S::View>>,
    path: Path<S>,
}

/// A store of optimistic transactions over `S`.
pub(crate) struct OccStore<S: Storage>(Arc<Shared<S>>);

/// The sequencing side of a queued store: owned by one thread. It holds no sender, so it ends with the store.
pub(crate) struct Driver<S: Storage> {
    board: Arc<Board<S::View>>,
    sequencer: Sequencer<S>,
    queue: mpsc::Receiver<Queued>,
}

impl<S: Storage> Clone for OccStore<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Storage> fmt::Debug for OccStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OccStore")
    }
}

impl<S: Storage> OccStore<S> {
    /// A store that sequences in the committing task. It goes on after `version`.
    pub(crate) fn inline(storage: S, version: u64, clock: Clock) -> Self {
        let board = Board::new(version, storage.view());
        let path = Path::Inline(Mutex::new(Sequencer::new(storage, version)));
        Self(Arc::new(Shared { clock, board, path }))
    }

    /// The newest durable state.
    pub(crate) fn newest(&self) -> Result<Arc<Published<S::View>>, MetaError> {
        self.0.board.published()
    }

    /// A store whose commits wait for [`Driver::run`].
    pub(crate) fn queued(storage: S, version: u64, clock: Clock) -> (Self, Driver<S>) {
        let board = Board::new(version, storage.view());
        let (sender, queue) = mpsc::channel(QUEUE_COMMITS_MAX);
        let driver = Driver {
            board: board.clone(),
            sequencer: Sequencer::new(storage, version),
            queue,
        };
        let path = Path::Queue {
            queue: sender,
            bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
        };
        (Self(Arc::new(Shared { clock, board, path })), driver)
    }
}

impl<S: Storage> MetaStore for OccStore<S> {
    fn begin(&self) -> Box<dyn Transaction> {
        Box::new(OccTransaction::new(self.0.clone()))
    }
}

impl<S: Storage> Shared<S> {
    async fn commit(&self, request: Request) -> Result<Committed, MetaError> {
        match &self.path {
            Path::Inline(sequencer) => {
                // As with a real engine, others run between the call and its effect.
                tokio::task::yield_now().await;
                let mut sequencer = sequencer.lock();
                let mut outcomes = self
                    .board
                    .sequence(&mut sequencer, std::slice::from_ref(&request));
                outcomes.pop().expect("one outcome per request")
            }
            Path::Queue { queue, bytes } => {
                let closed = || MetaError::Unavailable("it is closed".into());
                let weight = u32::try_from(request.bytes().min(QUEUE_BYTES_MAX))
                    .expect("the queue's bytes fit 32 bits");
                let share = bytes.clone().acquire_many_owned(weight).await;
                let (answer, outcome) = oneshot::channel();
                let queued = Queued {
                    request,
                    answer,
                    share: share.map_err(|_| closed())?,
                };
                queue.send(queued).await.map_err(|_| closed())?;
                // The driver answers everything it took, unless it died in the middle.
                outcome.await.unwrap_or(Err(MetaError::MaybeCommitted))
            }
        }
    }
}

impl<V: View> Board<V> {
    fn new(version: u64, view: V) -> Arc<Self> {
        Arc::new(Self {
            published: RwLock::new(Ok(Arc::new(Published { version, view }))),
            watches: Watches::default(),
        })
    }

    fn published(&self) -> Result<Arc<Published<V>>, MetaError> {
        self.published
            .read()
            .clone()
            .map_err(MetaError::Unavailable)
    }

    /// Sequences a group, publishes it, wakes watches. The outcomes are in the group's order.
    fn sequence<S: Storage<View = V>>(
        &self,
        sequencer: &mut Sequencer<S>,
        group: &[Request],
    ) -> Vec<Result<Committed, MetaError>> {
        let (outcomes, applied) = sequencer.sequence(group);
        match applied {
            Ok(None) => {}
            Ok(Some(changes)) => {
                let published = Published {
                    version: sequencer.version(),
                    view: sequencer.view(),
                };
                *self.published.write() = Ok(Arc::new(published));
                self.watches.changed(&changes);
            }
            Err(why) => self.poison(why),
        }
        outcomes
    }

    fn poison(&self, why: String) {
        tracing::error!("metadata store stopped until a restart: {why}");
        *self.published.write() = Err(why);
        self.watches.give_up();
    }
}

impl<S: Storage> Driver<S> {
    /// Commits groups until `stop` completes or the store is dropped; then commits what is queued and refuses more.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut group = Vec::with_capacity(QUEUE_COMMITS_MAX);
        loop {
            tokio::select! {
                biased;
                () = &mut stop, if !self.queue.is_closed() => self.queue.close(),
                taken = self.queue.recv_many(&mut group, QUEUE_COMMITS_MAX) => {
                    if taken == 0 {
                        return;
                    }
                    self.commit(&mut group);
                }
            }
        }
    }

    fn commit(&mut self, group: &mut Vec<Queued>) {
        let (requests, waiting): (Vec<_>, Vec<_>) = group
            .drain(..)
            .map(|q| (q.request, (q.answer, q.share)))
            .unzip();
        let outcomes = self.board.sequence(&mut self.sequencer, &requests);
        for ((answer, _share), outcome) in waiting.into_iter().zip(outcomes) {
            // Nobody may be waiting any more: the commit stands all the same (J9).
            let _ = answer.send(outcome);
        }
    }
}

impl<S: Storage> Drop for Driver<S> {
    /// A panic in the middle of a group leaves its outcome unknown: nothing may be read until a restart.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.board.poison("its sequencer panicked".into());
        }
    }
}
