//! What tiering has done since the process started, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A snapshot of the counters of tiering.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct TierCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters themselves.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> TierCounters {
                TierCounters { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Objects committed.
    objects,
    /// Their bytes.
    object_bytes,
    /// State objects that were written: one PUT each.
    states,
    /// Their bytes.
    state_bytes,
    /// Puts, index reads or commits of tiering that failed and were tried again.
    failures,
    /// Extents that were given up on the log nodes.
    extents_released,
    /// Ranged GETs for readers and footer indexes, read-ahead included.
    gets,
    /// Their bytes.
    get_bytes,
    /// GETs that failed and were tried again.
    get_failures,
    /// Appends refused because the disk was too full.
    refused_appends,
    /// Objects taken out of the log by retention or deletion.
    objects_condemned,
    /// Objects deleted, second deletes included.
    objects_deleted,
    /// Intents of past epochs that were cleared.
    orphans,
    /// Objects that compaction made: one PUT each (more when its bytes make it a multipart upload).
    compaction_puts,
    /// Their bytes: what was rewritten.
    compaction_put_bytes,
    /// Ranged GETs of compaction.
    compaction_gets,
    /// Their bytes.
    compaction_get_bytes,
    /// Runs of compaction that failed and are tried again.
    compaction_failures,
    /// Records taken out by `cleanup.policy=compact`: superseded ones, old tombstones, ones without a key.
    records_compacted,
    /// Shards whose objects were all listed and held against the rows.
    reconciles,
    /// Listings for that: one request each.
    reconcile_lists,
    /// Objects that nothing named, given to the collector.
    reconcile_condemned,
    /// Names met that are no object's of this service: left alone.
    reconcile_foreign,
    /// Runs of it that failed and go on later.
    reconcile_failures,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Counts `more`.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
