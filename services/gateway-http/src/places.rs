//! How many connections there may be, and who makes room at the bound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Places for connections. When all are taken the oldest connection that never sent a whole head makes room for the
/// next: peers that connect and stay silent cannot keep others waiting. Without such a one the next waits for a place.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    free: Arc<Semaphore>,
    silent: Mutex<Silent>,
}

#[derive(Debug, Default)]
struct Silent {
    next: u64,
    /// Oldest first.
    leave: BTreeMap<u64, CancellationToken>,
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
    leave: CancellationToken,
    heard: AtomicBool,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let max = max.min(u32::MAX as usize >> 4);
        Arc::new(Self {
            max,
            free: Arc::new(Semaphore::new(max)),
            silent: Mutex::default(),
        })
    }

    /// A place for a connection that is there: cancel-safe, but for the one that made room for it.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                if let Some((_, oldest)) = self.silent.lock().leave.pop_first() {
                    oldest.cancel();
                }
                let waited = Arc::clone(&self.free).acquire_owned().await;
                waited.expect("nobody closes this semaphore")
            }
        };
        let leave = CancellationToken::new();
        let mut silent = self.silent.lock();
        let id = silent.next;
        silent.next += 1;
        silent.leave.insert(id, leave.clone());
        Place {
            places: Arc::clone(self),
            id,
            leave,
            heard: AtomicBool::new(false),
            _permit: permit,
        }
    }

    /// Completes when every connection has ended.
    pub(crate) async fn empty(&self) {
        let all = u32::try_from(self.max).unwrap_or(u32::MAX);
        let _closed = self.free.acquire_many(all).await;
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.max - self.free.available_permits()
    }
}

impl Place {
    /// The connection sent a whole head.
    pub(crate) fn heard(&self) {
        if !self.heard.swap(true, Ordering::Relaxed) {
            self.places.silent.lock().leave.remove(&self.id);
        }
    }

    /// Completes when the connection is to make room.
    pub(crate) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.silent.lock().leave.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_oldest_silent_connection_makes_room() {
        let places = Places::new(3);
        let talks = places.take().await;
        talks.heard();
        let [first, second] = [places.take().await, places.take().await];
        assert!(
            places.take().now_or_never().is_none(),
            "its place is still held"
        );
        assert!(first.asked_to_leave().now_or_never().is_some());
        for stays in [&talks, &second] {
            assert!(stays.asked_to_leave().now_or_never().is_none());
        }
        drop(first);
        assert!(places.take().now_or_never().is_some());
    }

    #[tokio::test]
    async fn nobody_who_talks_is_sent_away() {
        let places = Places::new(1);
        let talks = places.take().await;
        talks.heard();
        assert!(places.take().now_or_never().is_none());
        assert!(talks.asked_to_leave().now_or_never().is_none());
        assert_eq!(places.open(), 1);
        drop(talks);
        places.empty().await;
    }
}
