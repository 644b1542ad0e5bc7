//! Memory for the frames of all connections, and who must give it back when it is short.
//!
//! # Overview
//! Frames up to [`SMALL_BYTES`] have a quarter of it to themselves: whatever senders of large frames do, the
//! others' requests are read. A frame that finds no room waits; while it does, senders slower than the least rate
//! are cut, the one that holds most first. Without pressure a slow sender has its whole deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_runtime::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, Charge};

/// Frames up to this length are small, bytes: all but large produces.
const SMALL_BYTES: usize = 64 << 10;
/// The part of the memory that only small frames take: one in this many bytes.
const SMALL_SHARE: usize = 4;
/// Under pressure a frame may be slower than the least rate for this long.
const GRACE: Duration = Duration::from_secs(1);
/// While a frame waits for room one slow sender is cut at this interval.
const CUT_EVERY: Duration = Duration::from_millis(50);

/// The memory of all frames. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct FramePool {
    small: Budget,
    large: Budget,
    readings: Arc<Mutex<BTreeMap<u64, Arc<Reading>>>>,
    clock: Clock,
    origin: Instant,
    bytes_per_s_min: u64,
}

/// What a connection's reader does. Zero `held`: it waits for no frame's bytes.
#[derive(Debug, Default)]
struct Reading {
    held: AtomicUsize,
    received: AtomicUsize,
    /// When the frame began, ms since the pool's origin, later by the time it waited for room.
    since_ms: AtomicU64,
    /// It waits for room, so its sender is not to blame.
    waits: AtomicBool,
    cut: CancellationToken,
}

/// A connection's place in the pool; it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Reader {
    pool: FramePool,
    id: u64,
    reading: Arc<Reading>,
}

impl FramePool {
    pub(crate) fn new(bytes: usize, bytes_per_s_min: u64, clock: Clock) -> Self {
        Self {
            small: Budget::new(bytes / SMALL_SHARE),
            large: Budget::new(bytes - bytes / SMALL_SHARE),
            readings: Arc::default(),
            origin: clock.now(),
            clock,
            bytes_per_s_min,
        }
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.small.used() + self.large.used()
    }

    /// A place for a connection's reader.
    pub(crate) fn reader(&self) -> Reader {
        let reading = Arc::new(Reading::default());
        let mut readings = self.readings.lock();
        let id = readings.last_key_value().map_or(0, |(id, _)| id + 1);
        readings.insert(id, Arc::clone(&reading));
        drop(readings);
        Reader {
            pool: self.clone(),
            id,
            reading,
        }
    }

    fn now_ms(&self) -> u64 {
        let since = self.clock.now().duration_since(self.origin);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Cuts the slow sender that holds most, among those that take of the same memory.
    fn cut_one(&self, is_small: bool) {
        let now_ms = self.now_ms();
        let is_slow = |r: &Reading| {
            let took_ms = now_ms.saturating_sub(r.since_ms.load(Ordering::Relaxed));
            let due = self.bytes_per_s_min.saturating_mul(took_ms) / 1_000;
            u128::from(took_ms) > GRACE.as_millis()
                && (r.received.load(Ordering::Relaxed) as u64) < due
        };
        let readings = self.readings.lock();
        let slow = readings.values().filter(|r| {
            let held = r.held.load(Ordering::Relaxed);
            let same = held > 0 && (held <= SMALL_BYTES || !is_small);
            same && !r.waits.load(Ordering::Relaxed) && is_slow(r) && !r.cut.is_cancelled()
        });
        if let Some(victim) = slow.max_by_key(|r| r.held.load(Ordering::Relaxed)) {
            victim.cut.cancel();
        }
    }
}

impl Reader {
    /// A frame begins.
    pub(crate) fn begin(&self) {
        let now_ms = self.pool.now_ms();
        self.reading.since_ms.store(now_ms, Ordering::Relaxed);
        self.reading.received.store(0, Ordering::Relaxed);
    }

    /// So many bytes of the frame are here.
    pub(crate) fn received(&self, bytes: usize) {
        self.reading.received.store(bytes, Ordering::Relaxed);
    }

    /// The frame is whole, or given up.
    pub(crate) fn end(&self) {
        self.reading.held.store(0, Ordering::Relaxed);
    }

    /// Completes when this sender is to go, for the others' sake.
    pub(crate) async fn cut(&self) {
        self.reading.cut.cancelled().await;
    }

    /// Waits for `bytes` more of a frame of `length`.
    pub(crate) async fn take(&self, bytes: usize, length: usize) -> Charge {
        let is_small = length <= SMALL_BYTES;
        let budget = match is_small {
            true => &self.pool.small,
            false => &self.pool.large,
        };
        let charge = match budget.try_take(bytes) {
            Some(charge) => charge,
            None => {
                let began_ms = self.pool.now_ms();
                self.reading.waits.store(true, Ordering::Relaxed);
                let charge = self.wait(budget, bytes, is_small).await;
                let waited_ms = self.pool.now_ms() - began_ms;
                self.reading
                    .since_ms
                    .fetch_add(waited_ms, Ordering::Relaxed);
                self.reading.waits.store(false, Ordering::Relaxed);
                charge
            }
        };
        self.reading.held.fetch_add(bytes, Ordering::Relaxed);
        charge
    }

    async fn wait(&self, budget: &Budget, bytes: usize, is_small: bool) -> Charge {
        let claim = budget.take(bytes);
        tokio::pin!(claim);
        loop {
            tokio::select! {
                biased;
                charge = &mut claim => return charge,
                () = self.pool.clock.sleep(CUT_EVERY) => self.pool.cut_one(is_small),
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.pool.readings.lock().remove(&self.id);
    }
}
