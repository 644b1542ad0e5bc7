//! What keeps the order of one connection's produces when a partition takes no more.
//!
//! A client pipelines: when one batch of a partition is refused, the next ones are on their way already, and taking
//! them would put them before the refused one's retry. So they are refused with it: all that the client sent before
//! it can know of the refusal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemark_types::PartitionId;

/// One connection's requests, counted as they come, and the partitions it must not go on with.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    admitted: AtomicU64,
    /// Requests whose answers were written: as many as were admitted up to the newest of them.
    answered: AtomicU64,
    /// The client has sent nothing that was not read.
    quiet: AtomicBool,
    any: AtomicBool,
    /// Partitions that were refused, with the number of the request that was.
    refused: Mutex<BTreeMap<PartitionId, u64>>,
}

impl Lane {
    /// A request came; its number.
    pub(crate) fn admit(&self) -> u64 {
        self.quiet.store(false, Ordering::Relaxed);
        self.admitted.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The next request's answer was written, or it wants none.
    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if self.quiet.load(Ordering::Relaxed) {
            self.forget();
        }
    }

    /// All that the client has sent was read.
    pub(crate) fn quiet(&self) {
        self.quiet.store(true, Ordering::Relaxed);
        self.forget();
    }

    /// Refuses the partition from request `number` on, until the client had the chance to know.
    pub(crate) fn refuse(&self, partition: PartitionId, number: u64) {
        self.refused.lock().insert(partition, number);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Whether a request before this one was refused here.
    pub(crate) fn refuses(&self, partition: PartitionId) -> bool {
        self.any.load(Ordering::Relaxed) && self.refused.lock().contains_key(&partition)
    }

    fn forget(&self) {
        if self.any.load(Ordering::Relaxed) {
            let answered = self.answered.load(Ordering::Relaxed);
            let mut refused = self.refused.lock();
            refused.retain(|_, number| *number > answered);
            self.any.store(!refused.is_empty(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemark_types::{PartitionIndex, TopicId};

    use super::*;

    fn partition(index: i32) -> PartitionId {
        PartitionId {
            topic: TopicId(1),
            index: PartitionIndex(index),
        }
    }

    #[test]
    fn a_refusal_lasts_until_it_is_told_and_nothing_unread_is_left() {
        let lane = Lane::default();
        let first = lane.admit();
        lane.refuse(partition(0), first);
        lane.admit();
        assert!(lane.refuses(partition(0)) && !lane.refuses(partition(1)));
        lane.quiet();
        assert!(lane.refuses(partition(0)), "the client does not know yet");
        lane.answered();
        assert!(!lane.refuses(partition(0)));

        let third = lane.admit();
        lane.refuse(partition(0), third);
        lane.answered();
        lane.answered();
        assert!(lane.refuses(partition(0)), "more may have been sent before");
        lane.admit();
        assert!(lane.refuses(partition(0)));
        lane.quiet();
        assert!(!lane.refuses(partition(0)));
    }
}
