//! Fetches that wait for data, by partition.
//!
//! # Cost
//! A commit costs as much as there are fetches that wait for its partitions, and tells each which of its partitions to
//! look at: a fetch of a hundred thousand of them, or a thousand fetches of the same hundred, take nothing from the
//! others but that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemark_runtime::FastMap;
use tidemark_types::PartitionId;
use tokio::sync::Notify;

use crate::shard::Shard;

/// Numbers fetches, so that they are woken in an order that depends on nothing else.
#[derive(Debug, Default)]
pub(crate) struct Numbers(AtomicU64);

/// One fetch's wait.
#[derive(Debug)]
pub(crate) struct Wake {
    number: u64,
    notify: Notify,
    /// Places in the fetch that something was committed for.
    due: Mutex<Vec<usize>>,
}

impl Wake {
    pub(crate) fn new(numbers: &Numbers) -> Arc<Self> {
        Arc::new(Self {
            number: numbers.0.fetch_add(1, Ordering::Relaxed),
            notify: Notify::new(),
            due: Mutex::default(),
        })
    }

    /// Waits until something is due.
    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }

    /// What is due, in the fetch's order. Each of it waits no more.
    pub(crate) fn due(&self) -> Vec<usize> {
        let mut due = std::mem::take(&mut *self.due.lock());
        due.sort_unstable();
        due
    }

    fn tell(&self, place: usize) {
        self.due.lock().push(place);
        self.notify.notify_one();
    }
}

/// Which fetch, and the place in it.
type Place = (u64, usize);

/// The fetches that wait for data of a shard.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<FastMap<PartitionId, BTreeMap<Place, Arc<Wake>>>>);

impl Waiters {
    /// Has the fetch told of the next commit for the partition, once. Look for data again after this, before waiting.
    fn add(&self, partition: PartitionId, place: usize, wake: &Arc<Wake>) {
        let mut waiting = self.0.lock();
        let fetches = waiting.entry(partition).or_default();
        fetches.insert((wake.number, place), Arc::clone(wake));
    }

    fn remove(&self, partition: PartitionId, place: usize, wake: &Wake) {
        let mut waiting = self.0.lock();
        if let Some(fetches) = waiting.get_mut(&partition) {
            fetches.remove(&(wake.number, place));
            if fetches.is_empty() {
                waiting.remove(&partition);
            }
        }
    }

    /// Wakes those who wait for these partitions.
    pub(crate) fn wake(&self, partitions: impl Iterator<Item = PartitionId>) {
        let mut waiting = self.0.lock();
        if waiting.is_empty() {
            return;
        }
        for partition in partitions {
            for ((_, place), wake) in waiting.remove(&partition).unwrap_or_default() {
                wake.tell(place);
            }
        }
    }

    /// Wakes all.
    pub(crate) fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.0.lock());
        for ((_, place), wake) in waiting.into_values().flatten() {
            wake.tell(place);
        }
    }
}

/// The places where a fetch waits. It leaves them when it is dropped too: its client may go at any time.
pub(crate) struct Registered<'a> {
    wake: &'a Arc<Wake>,
    at: Vec<(usize, &'a Shard, PartitionId)>,
}

impl<'a> Registered<'a> {
    pub(crate) const fn new(wake: &'a Arc<Wake>) -> Self {
        Self {
            wake,
            at: Vec::new(),
        }
    }

    /// Waits for a partition, which is `place` in the fetch.
    pub(crate) fn add(&mut self, place: usize, shard: &'a Shard, partition: PartitionId) {
        shard.waiters.add(partition, place, self.wake);
        self.at.push((place, shard, partition));
    }

    /// Waits for a partition again whose data was due.
    pub(crate) fn again(&self, place: usize, shard: &Shard, partition: PartitionId) {
        shard.waiters.add(partition, place, self.wake);
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        for (place, shard, partition) in &self.at {
            shard.waiters.remove(*partition, *place, self.wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tidemark_types::{PartitionIndex, TopicId};

    use super::*;

    fn partition(index: i32) -> PartitionId {
        PartitionId {
            topic: TopicId(1),
            index: PartitionIndex(index),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_is_told_what_to_look_at_and_only_that() {
        let (waiters, numbers) = (Waiters::default(), Numbers::default());
        let (wide, narrow) = (Wake::new(&numbers), Wake::new(&numbers));
        // The same partition twice, as a fetch may name it.
        for (place, index) in [(0, 7), (1, 8), (2, 7), (3, 9)] {
            waiters.add(partition(index), place, &wide);
        }
        waiters.add(partition(8), 0, &narrow);
        waiters.wake([partition(7), partition(5)].into_iter());
        assert!(wide.wait().now_or_never().is_some());
        assert_eq!(wide.due(), [0, 2]);
        waiters.wake([partition(7)].into_iter());
        assert!(wide.wait().now_or_never().is_none(), "once");
        waiters.add(partition(7), 0, &wide);
        waiters.wake([partition(8), partition(7)].into_iter());
        assert_eq!((wide.due(), narrow.due()), (vec![0, 1], vec![0]));
        waiters.wake_all();
        assert_eq!((wide.due(), narrow.due()), (vec![3], vec![]));
        assert!(waiters.0.lock().is_empty());
    }

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let (waiters, numbers) = (Waiters::default(), Numbers::default());
        let wakes: Vec<_> = (0..10).map(|_| Wake::new(&numbers)).collect();
        for wake in &wakes {
            (0..5).for_each(|i| waiters.add(partition(i), 0, wake));
        }
        for wake in &wakes {
            (0..5).for_each(|i| waiters.remove(partition(i), 0, wake));
        }
        assert!(waiters.0.lock().is_empty());
    }
}
