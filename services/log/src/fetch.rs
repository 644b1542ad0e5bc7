//! What a fetch asks for and what it is answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark_topics::Topic;
use tidemark_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};

/// Which records a reader may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Isolation {
    /// Up to the high watermark.
    #[default]
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// One partition of a fetch.
#[derive(Clone, Debug)]
pub struct FetchPartition {
    /// The topic.
    pub topic: Arc<Topic>,
    /// The partition.
    pub index: PartitionIndex,
    /// First offset wanted; the batch that holds it is returned whole.
    pub offset: Offset,
    /// The leader epoch the client knows, checked when present (KIP-320).
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record the client has. The log is never truncated, so it never diverges.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// Bytes to return for this partition at the most; an oversized first batch is exempt.
    pub max_bytes: usize,
}

/// A fetch over any number of partitions.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// The partitions, in the order in which they are filled.
    pub partitions: Vec<FetchPartition>,
    /// Answer as soon as this many bytes are there. 0 and 1 answer as soon as there is anything.
    pub min_bytes: usize,
    /// Bytes to return in all at the most; the first batch of the first partition that has one is exempt.
    pub max_bytes: usize,
    /// Answer after this long even without `min_bytes`.
    pub max_wait: Duration,
    /// What may be seen.
    pub isolation: Isolation,
}

/// What a fetch found in one partition, in the request's order.
#[derive(Clone, Debug)]
pub struct FetchedPartition {
    /// Why nothing was read; the offsets are −1 then unless they are known.
    pub error: Option<ErrorCode>,
    /// End of the readable log, exclusive.
    pub high_watermark: Offset,
    /// End of what a `read_committed` reader may see, exclusive.
    pub last_stable_offset: Offset,
    /// First readable offset.
    pub log_start: Offset,
    /// Record batches with offsets and leader epochs in place. The chunks concatenate to whole batches.
    pub batches: Vec<Bytes>,
    /// Producer ids and first offsets of aborted transactions in the answer (`read_committed` only).
    pub aborted: Vec<(i64, Offset)>,
}

impl FetchedPartition {
    /// An answer that only carries an error.
    #[must_use]
    pub const fn failed(error: ErrorCode) -> Self {
        Self {
            error: Some(error),
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start: Offset(-1),
            batches: Vec::new(),
            aborted: Vec::new(),
        }
    }

    /// Bytes of the batches.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }
}
