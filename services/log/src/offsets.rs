//! Lookups of offsets by position, time and leader epoch.

use tidemark_types::{LeaderEpoch, Offset};

/// Which offset is asked for (Kafka's ListOffsets).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetSpec {
    /// The first readable offset (−2).
    Earliest,
    /// The high watermark, or the last stable offset for `read_committed` (−1). Needs proof of ownership (K1).
    Latest,
    /// The record with the largest timestamp (−3).
    MaxTimestamp,
    /// The first offset that is held outside cold storage (−4).
    EarliestLocal,
    /// The last offset in cold storage (−5).
    LatestTiered,
    /// The first record at or after this time, ms since the Unix epoch.
    Timestamp(i64),
}

/// An offset that was found. All −1: there is none (an empty log, nothing that late, nothing tiered).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListedOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp, ms since the Unix epoch; −1 for lookups by position, as in Kafka.
    pub timestamp_ms: i64,
    /// The leader epoch of the offset; −1 when unknown.
    pub leader_epoch: LeaderEpoch,
}

impl ListedOffset {
    /// Nothing was found.
    pub const NONE: Self = Self {
        offset: Offset(-1),
        timestamp_ms: -1,
        leader_epoch: LeaderEpoch(-1),
    };
}

/// Where a leader epoch ends (Kafka's OffsetForLeaderEpoch).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochEnd {
    /// The largest known epoch at or below the requested one.
    pub epoch: LeaderEpoch,
    /// Its end, exclusive; (−1, −1) when the requested epoch is above this owner's.
    pub end: Offset,
}

/// A partition's offsets, for status and HTTP. Committed values only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionOffsets {
    /// First readable offset.
    pub log_start: Offset,
    /// End of the readable log, exclusive.
    pub high_watermark: Offset,
    /// The leader epoch of this owner.
    pub leader_epoch: LeaderEpoch,
}
