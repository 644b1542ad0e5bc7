//! Settings of tiering.

use std::time::Duration;

/// Settings of the cold part of a log. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierConfig {
    /// An object closes once its batches take this many bytes. One PUT (or a multipart upload) and three small
    /// transactions each: at 64 MiB a GiB costs 16 of them.
    pub object_bytes: u64,
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
    /// When a deleted object is deleted once more: a put may have landed late (T3).
    pub second_delete: Duration,
}

impl Default for TierConfig {
    fn default() -> Self {
        Self {
            object_bytes: 64 << 20,
            gatherers_max: 2,
            index_cache_bytes: 32 << 20,
            chunk_cache_bytes: 64 << 20,
            chunk_bytes: 1 << 20,
            ahead_chunks: 2,
            ahead_max: 8,
            retention_period: Duration::from_secs(60),
            collect_period: Duration::from_secs(30),
            grace: Duration::from_secs(10 * 60),
            second_delete: Duration::from_secs(24 * 60 * 60),
        }
    }
}
