//! Settings of a log node.

/// Settings of a log node. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogNodeConfig {
    /// Size of a segment file. A frame that does not fit gets a larger segment of its own.
    pub segment_bytes: u64,
    /// What all segment files together may take. At it appends are refused with `Full` until space is released.
    pub disk_bytes_max: u64,
    /// How far takeovers may pass that: a new owner needs an extent and a checkpoint before any of its shard's older
    /// extents can go, so at a full disk without room for those of every shard there would be no way back. Given back as
    /// soon as there is other room.
    pub takeover_bytes: u64,
    /// Bytes of requests one group commit takes at the most; a larger single request still goes through.
    pub group_bytes_max: usize,
    /// Bytes of requests that may wait for the writer. ≥ shards × `limits::SHARD_INFLIGHT_BYTES_MAX` makes
    /// a refusal here impossible for owners that keep their own bound.
    pub queue_bytes_max: usize,
    /// Requests that may wait for the writer.
    pub queue_requests_max: usize,
    /// An idle WAL writes its trailing mark after this long, ms (J5).
    pub mark_idle_ms: u64,
    /// Bytes of closed segments whose CRCs are checked at open: those with frames of each shard's newest
    /// extent, newest first. The last segment always is. What lies beyond is checked when it is read.
    /// 256 MiB and the last segment, uncached, took 0.4 s on a virtual disk of 0.9 GB/s.
    pub open_verify_bytes_max: u64,
}

impl Default for LogNodeConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            disk_bytes_max: 64 << 30,
            takeover_bytes: 64 << 20,
            group_bytes_max: 8 << 20,
            queue_bytes_max: 512 << 20,
            queue_requests_max: 65_536,
            mark_idle_ms: 100,
            open_verify_bytes_max: 256 << 20,
        }
    }
}

impl LogNodeConfig {
    /// Small segments and a small budget, for tests and simulation.
    #[must_use]
    pub fn small() -> Self {
        Self {
            segment_bytes: 256 << 10,
            disk_bytes_max: 64 << 20,
            takeover_bytes: 256 << 10,
            group_bytes_max: 64 << 10,
            ..Self::default()
        }
    }
}
