//! Settings of tiering.

use std::time::Duration;

/// Settings of the cold part of a log. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierConfig {
    /// An object closes once its batches take this many bytes. With its index it is to stay within one PUT (16 MiB): larger
    /// ones are sent in parts, which costs as many requests and two more, and all of it is in memory until it was put. It may
    /// get one read of the journal more.
    pub object_bytes: u64,
    /// A read of the journal at the least: small ones would end an object closer to its size, at a request each.
    pub read_bytes_min: u64,
    /// Objects gathered at once, by all shards: each keeps its batches in memory until its put is answered.
    pub gatherers_max: usize,
    /// Footer indexes kept in memory.
    pub index_cache_bytes: u64,
    /// Chunks of cold batches kept in memory.
    pub chunk_cache_bytes: u64,
    /// One ranged GET, unless a single batch is larger: big enough that a GET's fixed cost (time and price) is small.
    pub chunk_bytes: u32,
    /// Chunks read ahead of a reader that moves on.
    pub ahead_chunks: usize,
    /// Read-ahead GETs under way at once.
    pub ahead_max: usize,
    /// How often retention is looked at.
    pub retention_period: Duration,
    /// How often orphans and condemned objects are looked for.
    pub collect_period: Duration,
    /// How long an object that is no longer part of the log stays: readers may hold its name.
    pub grace: Duration,
    /// A partition's own object closes once its batches take this many bytes.
    pub segment_bytes: u64,
    /// How often compaction is looked at.
    pub compaction_period: Duration,
    /// From so many bytes a second in and out on the log is busy, and compaction waits, up to
    /// [`TierConfig::compaction_patience`].
    pub busy_bytes_per_s: u64,
    /// How long compaction that is due is put off at the most. A shard with as many objects as one run takes waits for nothing.
    pub compaction_patience: Duration,
    /// What one run of compaction takes for keys and for bytes on their way, beside the object it makes. One run at a time.
    pub compaction_memory_bytes: usize,
    /// Objects of all partitions that one run rewrites into partitions' own ones at the least, and at the most.
    pub merge_objects: (usize, usize),
    /// Small neighbours of which one run makes one object of all partitions at the least, and at the most.
    pub squeeze_objects: (usize, usize),
    /// A run needs this many bytes per partition in it, on average: it bounds the objects, and with them the PUTs, per byte.
    pub merge_partition_bytes: u64,
    /// `cleanup.policy=compact` waits for this many bytes that were not compacted, so that small partitions do not cost an
    /// object for every few records; but no longer than [`TierConfig::clean_wait`].
    pub clean_bytes: u64,
    /// See [`TierConfig::clean_bytes`].
    pub clean_wait: Duration,
    /// How long an owner that stops may take to tier what is left and to save its state.
    pub leave: Duration,
    /// When a deleted object is deleted once more: a put may have landed late (T3).
    pub second_delete: Duration,
    /// How often a shard's objects are listed for what nothing names (T3); zero: never.
    pub reconcile_period: Duration,
}

impl Default for TierConfig {
    fn default() -> Self {
        Self {
            object_bytes: 14 << 20,
            read_bytes_min: 1 << 20,
            gatherers_max: 2,
            index_cache_bytes: 32 << 20,
            chunk_cache_bytes: 64 << 20,
            chunk_bytes: 1 << 20,
            ahead_chunks: 2,
            ahead_max: 8,
            retention_period: Duration::from_secs(60),
            collect_period: Duration::from_secs(30),
            segment_bytes: 64 << 20,
            compaction_period: Duration::from_secs(15),
            // An eighth of what two cores move.
            busy_bytes_per_s: 64 << 20,
            compaction_patience: Duration::from_secs(5 * 60),
            compaction_memory_bytes: 128 << 20,
            // From half a GiB on, as much as an extent holds.
            merge_objects: (32, 256),
            squeeze_objects: (8, 64),
            merge_partition_bytes: 1 << 20,
            clean_bytes: 1 << 20,
            clean_wait: Duration::from_secs(60 * 60),
            grace: Duration::from_secs(10 * 60),
            leave: Duration::from_secs(5),
            second_delete: Duration::from_secs(24 * 60 * 60),
            reconcile_period: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}
