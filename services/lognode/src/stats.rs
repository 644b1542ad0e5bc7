//! Counters of a log node, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a log node has done and holds. Bytes and counts since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Group commits.
    pub groups: u64,
    /// Syncs of segment files.
    pub syncs: u64,
    /// Bytes written, padding included.
    pub bytes_written: u64,
    /// Requests that wait for the writer.
    pub queued: usize,
    /// Bytes of requests that wait for the writer.
    pub queued_bytes: usize,
    /// Bytes of segment files that hold live data, the current one included.
    pub disk_used_bytes: u64,
    /// Bytes of all segment files.
    pub disk_held_bytes: u64,
    /// What segment files may take at the most.
    pub disk_budget_bytes: u64,
    /// The disk failed a write or a sync and takes no more (J5).
    pub poisoned: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    groups: AtomicU64,
    syncs: AtomicU64,
    bytes: AtomicU64,
    used: AtomicU64,
    held: AtomicU64,
}

impl Counters {
    pub(crate) fn group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: u64) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn disk(&self, used: u64, held: u64) {
        self.used.store(used, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            groups: self.groups.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes_written: self.bytes.load(Ordering::Relaxed),
            disk_used_bytes: self.used.load(Ordering::Relaxed),
            disk_held_bytes: self.held.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }
}
