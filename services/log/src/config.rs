//! Settings of the log. Plain values; every default is derived beside it.

use std::time::Duration;

use tidemark_types::limits;

use crate::Mutation;

/// Settings of a [`crate::Log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Number of shards; fixed when the data folder is made, since placement is a hash modulo it (K10).
    pub shards: u32,
    /// Bytes of recent batches kept in memory for readers, shared by all shards.
    pub tail_cache_bytes: usize,
    /// Bytes of older frames kept after they were read back from the journal, shared by all shards.
    pub cold_cache_bytes: usize,
    /// Bytes of sealed extents' indexes kept in memory, shared by all shards; the newest stays whatever its size.
    pub index_cache_bytes: usize,
    /// An extent rolls when its frames take this many bytes.
    pub roll_bytes: u64,
    /// An extent that cannot roll takes appends until its frames take this many bytes; above `roll_bytes`.
    pub extent_bytes_max: u64,
    /// An extent that has data rolls at this age.
    pub roll_age: Duration,
    /// Bytes of unacked batches per shard before appends are refused with `Overloaded`.
    pub inflight_bytes_max: usize,
    /// Unacked batches per shard before appends are refused with `Overloaded`.
    pub inflight_batches_max: usize,
    /// An idempotent producer is forgotten this long after its last batch (Kafka's
    /// `producer.id.expiration.ms`, one day).
    pub producer_expiry: Duration,
    /// An idempotency key is forgotten this long after its append.
    pub key_expiry: Duration,
    /// Largest decompressed size of a batch that must be looked into (keys of compacted topics, timestamp
    /// lookups), bytes.
    pub decompress_bytes_max: usize,
    /// A checkpoint's frame is closed once it has this many bytes.
    pub checkpoint_part_bytes: usize,
    /// A rule to break; the simulator only.
    #[doc(hidden)]
    pub mutation: Option<Mutation>,
}

impl LogConfig {
    /// Whether a rule is broken on purpose.
    pub(crate) fn breaks(&self, which: Mutation) -> bool {
        self.mutation == Some(which)
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            shards: limits::SHARDS_DEFAULT,
            tail_cache_bytes: 32 << 20,
            cold_cache_bytes: 32 << 20,
            // An index of a full extent of 1 KiB batches takes about 12 MB, one of 128 KiB batches 100 kB.
            index_cache_bytes: 32 << 20,
            roll_bytes: limits::EXTENT_ROLL_BYTES,
            extent_bytes_max: limits::EXTENT_BYTES_MAX,
            roll_age: Duration::from_millis(limits::EXTENT_ROLL_MS),
            inflight_bytes_max: limits::SHARD_INFLIGHT_BYTES_MAX,
            inflight_batches_max: 16_384,
            producer_expiry: Duration::from_secs(24 * 60 * 60),
            key_expiry: Duration::from_secs(24 * 60 * 60),
            decompress_bytes_max: limits::BATCH_BYTES_MAX,
            checkpoint_part_bytes: limits::FRAME_PAYLOAD_BYTES_TARGET,
            mutation: None,
        }
    }
}
