//! What the log has done since the process started, for metrics. Counted per frame and per request, never per record.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of the counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogCounters {
    /// Frames committed.
    pub frames: u64,
    /// Record batches committed.
    pub batches: u64,
    /// Records committed.
    pub records: u64,
    /// Bytes of the batches committed.
    pub bytes_in: u64,
    /// Bytes of batches given to readers.
    pub bytes_out: u64,
    /// Extents rolled.
    pub rolls: u64,
    /// Shards taken.
    pub takeovers: u64,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    frames: AtomicU64,
    batches: AtomicU64,
    records: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    rolls: AtomicU64,
    takeovers: AtomicU64,
}

impl Counters {
    pub(crate) fn committed(&self, batches: usize, records: u64, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.batches.fetch_add(batches as u64, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn rolled(&self) {
        self.rolls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn took_over(&self) {
        self.takeovers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> LogCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogCounters {
            frames: read(&self.frames),
            batches: read(&self.batches),
            records: read(&self.records),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            rolls: read(&self.rolls),
            takeovers: read(&self.takeovers),
        }
    }
}
