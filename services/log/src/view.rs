//! What readers share: a partition's committed state and its newest batches. Readers never wait for the actor.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tidemark_runtime::{Invariant, check_invariant};
use tidemark_segment::BatchSpan;
use tidemark_types::{LeaderEpoch, Offset, PartitionId};

use crate::backing::Memory;
use crate::state::PartitionState;

/// Bookkeeping a cached batch costs beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = 160;

/// A committed batch, ready to be sent: `prefix` and `rest` are the client's batch with offset and leader
/// epoch in place.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) base: Offset,
    /// Exclusive.
    pub(crate) end: Offset,
    pub(crate) max_timestamp: i64,
    pub(crate) prefix: Bytes,
    pub(crate) rest: Bytes,
}

impl StoredBatch {
    pub(crate) fn len(&self) -> usize {
        self.prefix.len() + self.rest.len()
    }

    /// Which offsets it has, as a cold segment's index names them.
    pub(crate) const fn span(&self) -> BatchSpan {
        BatchSpan {
            base: self.base,
            end: self.end,
            max_timestamp: self.max_timestamp,
        }
    }

    /// The batch in one piece, for decoding.
    pub(crate) fn joined(&self) -> Bytes {
        [&self.prefix[..], &self.rest[..]].concat().into()
    }
}

/// One partition as readers see it.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) id: PartitionId,
    pub(crate) state: RwLock<Readable>,
    /// When its row was asked for last (see `LogStarts`); 0 for never.
    pub(crate) start_asked_ms: AtomicU64,
}

/// Committed values only.
#[derive(Debug, Default)]
pub(crate) struct Readable {
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) epochs: Vec<(LeaderEpoch, Offset)>,
    pub(crate) max_timestamp: Option<(i64, Offset)>,
    /// The newest batches, contiguous up to the high watermark.
    tail: VecDeque<StoredBatch>,
}

impl Readable {
    /// First offset held in memory; the high watermark when none is.
    pub(crate) fn tail_start(&self) -> Offset {
        self.tail.front().map_or(self.high_watermark, |b| b.base)
    }

    /// The cached batches from the one that holds `offset` on.
    pub(crate) fn tail_from(&self, offset: Offset) -> impl Iterator<Item = &StoredBatch> {
        let at = self.tail.partition_point(|b| b.end <= offset);
        self.tail.range(at..)
    }
}

impl View {
    pub(crate) fn new(id: PartitionId, state: &PartitionState) -> Self {
        Self {
            id,
            state: RwLock::new(Readable {
                log_start: state.log_start,
                high_watermark: state.next_offset,
                epochs: state.epochs.clone(),
                max_timestamp: state.max_timestamp,
                tail: VecDeque::new(),
            }),
            start_asked_ms: AtomicU64::new(0),
        }
    }

    /// K3: what begins the log is the largest of all that is known, and never beyond its end.
    pub(crate) fn raise_log_start(&self, known: Offset) {
        if self.state.read().log_start < known {
            let mut shown = self.state.write();
            shown.log_start = shown.log_start.max(known.min(shown.high_watermark));
        }
    }

    /// Shows a committed batch.
    pub(crate) fn publish(&self, committed: &PartitionState, batch: StoredBatch) {
        let mut shown = self.state.write();
        check_invariant!(
            Invariant::NoRegress,
            batch.base == shown.high_watermark && batch.end > batch.base,
            "{}: batch {}..{} shown at high watermark {}",
            self.id,
            batch.base,
            batch.end,
            shown.high_watermark
        );
        shown.high_watermark = batch.end;
        if shown.epochs.last() != committed.epochs.last() {
            shown.epochs = committed.epochs.clone();
        }
        shown.max_timestamp = committed.max_timestamp;
        if shown.tail.capacity() == 0 {
            // A partition that is written to seldom holds one batch, and there are many of those.
            shown.tail.reserve_exact(1);
        }
        shown.tail.push_back(batch);
    }

    fn drop_oldest(&self) {
        let mut shown = self.state.write();
        shown.tail.pop_front();
        if shown.tail.is_empty() {
            shown.tail = VecDeque::new();
        }
    }
}

/// The budget of all partitions' tails: first in, first out, across shards. What it counts is the memory that is held:
/// a request's once while any batch of it is cached, a batch's own where it is no slice of a request.
#[derive(Debug)]
pub(crate) struct TailCache {
    bytes_max: usize,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    bytes: usize,
    held: VecDeque<Cached>,
}

/// A batch in the cache: the newest of its view when it came.
#[derive(Debug)]
pub(crate) struct Cached {
    view: Arc<View>,
    own_bytes: usize,
    memory: Option<Arc<Memory>>,
}

impl Cached {
    /// A batch of `bytes` bytes that was just shown, a slice of `memory` if that is given.
    pub(crate) fn new(view: Arc<View>, bytes: usize, memory: Option<Arc<Memory>>) -> Self {
        let own_bytes = if memory.is_some() { 0 } else { bytes };
        Self {
            view,
            own_bytes: own_bytes + BATCH_OVERHEAD_BYTES,
            memory,
        }
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.view.id
    }
}

impl TailCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ring: Mutex::default(),
        }
    }

    /// Accounts for batches just published and drops the oldest ones over the budget.
    pub(crate) fn account(&self, published: impl IntoIterator<Item = Cached>) {
        let mut ring = self.ring.lock();
        for batch in published {
            ring.bytes += batch.own_bytes + batch.memory.as_ref().map_or(0, |m| m.enter());
            ring.held.push_back(batch);
        }
        while ring.bytes > self.bytes_max
            && let Some(oldest) = ring.held.pop_front()
        {
            oldest.view.drop_oldest();
            ring.bytes -= oldest.own_bytes + oldest.memory.as_ref().map_or(0, |m| m.leave());
        }
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.ring.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;
    use tidemark_types::{PartitionIndex, TopicId};

    use super::*;
    use crate::backing::Backing;

    #[test]
    fn the_cache_keeps_to_its_budget_and_drops_the_oldest_of_all_partitions() {
        let cache = TailCache::new(10 * (1_000 + BATCH_OVERHEAD_BYTES));
        let state = PartitionState::default();
        let views: Vec<Arc<View>> = (0..2)
            .map(|index| {
                let id = PartitionId {
                    topic: TopicId(1),
                    index: PartitionIndex(index),
                };
                Arc::new(View::new(id, &state))
            })
            .collect();
        for i in 0..40i64 {
            let view = &views[usize::from(i % 4 == 0)];
            let base = view.state.read().high_watermark;
            let batch = StoredBatch {
                base,
                end: Offset(base.0 + 1),
                max_timestamp: 0,
                prefix: Bytes::from_static(&[0; 21]),
                rest: Bytes::from_static(&[0; 979]),
            };
            view.publish(&state, batch);
            cache.account([Cached::new(Arc::clone(view), 1_000, None)]);
            assert!(cache.bytes() <= 10 * (1_000 + BATCH_OVERHEAD_BYTES));
        }
        let held = |view: &View| {
            let shown = view.state.read();
            (shown.tail_start().0, shown.high_watermark.0)
        };
        assert_eq!((held(&views[0]), held(&views[1])), ((22, 30), (8, 10)));
        let shown = views[0].state.read();
        let from: Vec<i64> = shown.tail_from(Offset(27)).map(|b| b.base.0).collect();
        assert_eq!(from, [27, 28, 29]);
    }

    /// A request's memory that says when it is given free.
    struct Counted {
        bytes: Vec<u8>,
        live: Arc<AtomicUsize>,
    }

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.live.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        }
    }

    const BUDGET: usize = 20_000;
    const REQUEST_BYTES_MAX: usize = 9_000;

    /// A request: its size, and per batch its view, its size in percent of the request, and how long it is on its way.
    type Request = (usize, Vec<(usize, usize, usize)>);

    fn requests() -> impl Strategy<Value = Vec<Request>> {
        let batches = prop::collection::vec((0..4_usize, 1..100_usize, 0..12_usize), 1..6);
        prop::collection::vec((100..REQUEST_BYTES_MAX, batches), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever small batches of large requests arrive in which order, and whatever views are forgotten: the
        /// requests' memory that only the cache holds stays within its budget.
        #[test]
        fn the_memory_held_is_within_the_budget(requests in requests(), forget in 0..40_usize) {
            let cache = TailCache::new(BUDGET);
            let state = PartitionState::default();
            let view = |i: i32| {
                let id = PartitionId { topic: TopicId(1), index: PartitionIndex(i) };
                Arc::new(View::new(id, &state))
            };
            let mut views: Vec<Arc<View>> = (0..4).map(view).collect();
            let live = Arc::new(AtomicUsize::new(0));
            // Batches wait until their time comes, in the order of their views.
            let mut waiting: Vec<(usize, usize, Bytes, Arc<Memory>)> = Vec::new();
            let mut publish = |now: usize, waiting: &mut Vec<(usize, usize, Bytes, Arc<Memory>)>| {
                if now == forget {
                    views[0] = view(0);
                }
                let (due, later) = waiting.drain(..).partition(|w| w.0 <= now);
                *waiting = later;
                let shown: Vec<Cached> = due.into_iter().map(|(_, at, bytes, memory)| {
                    let base = views[at].state.read().high_watermark;
                    let len = bytes.len();
                    views[at].publish(&state, StoredBatch {
                        base,
                        end: Offset(base.0 + 1),
                        max_timestamp: 0,
                        prefix: Bytes::new(),
                        rest: bytes,
                    });
                    Cached::new(Arc::clone(&views[at]), len, Some(memory))
                }).collect();
                cache.account(shown);
                let in_flight: BTreeMap<_, _> = waiting.iter().map(|w| (Arc::as_ptr(&w.3), w.3.bytes())).collect();
                let in_flight: usize = in_flight.values().sum();
                (live.load(Ordering::Relaxed).saturating_sub(in_flight), cache.bytes())
            };
            for (now, (size, batches)) in requests.into_iter().enumerate() {
                live.fetch_add(size, Ordering::Relaxed);
                let request = Bytes::from_owner(Counted { bytes: vec![0; size], live: Arc::clone(&live) });
                let (memory, _) = Backing::new(size).into_parts();
                for (at, percent, delay) in batches {
                    let slice = request.slice(..(size * percent / 100).max(1));
                    waiting.push((now + delay, at, slice, Arc::clone(&memory)));
                }
                drop(request);
                let (held, counted) = publish(now, &mut waiting);
                prop_assert!(counted <= BUDGET && held <= counted, "{held} held, {counted} counted");
            }
            let (held, counted) = publish(usize::MAX - 1, &mut waiting);
            prop_assert!(held <= counted && counted <= BUDGET);
        }
    }
}
