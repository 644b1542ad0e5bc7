//! What `/readyz` and `tidemark status` show.

use tidemark_types::{Epoch, ShardId};

/// Where a shard stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShardState {
    /// A takeover is under way, or waits for a retry; the text says what the last try ran into.
    Recovering {
        /// The last try's error, empty at first.
        why: String,
    },
    /// Owned and answering.
    Serving {
        /// The epoch it is owned under.
        epoch: Epoch,
    },
    /// Its WAL is damaged below a synced mark. An operator decides: `tidemark unclean-seal`.
    Closed {
        /// The damaged range.
        why: String,
    },
    /// Another owner took over, or the process is stopping.
    Stopped,
}

/// One shard's status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// Where it stands.
    pub state: ShardState,
    /// Unacked bytes it holds.
    pub inflight_bytes: usize,
    /// Partitions it has state of.
    pub partitions: usize,
}

/// The log's status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogStatus {
    /// Every shard, by id.
    pub shards: Vec<ShardStatus>,
}

impl LogStatus {
    /// Whether every shard serves.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shards
            .iter()
            .all(|s| matches!(s.state, ShardState::Serving { .. }))
    }
}
