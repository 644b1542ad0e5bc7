//! Metrics that are read when they are scraped: what the log and the log node count for themselves.

use std::sync::Arc;

use opentelemetry::global;
use opentelemetry::metrics::Meter;
use tidemark_log::{Log, LogCounters, ShardState, TierCounters};
use tidemark_lognode::{LogNode, Stats};

/// Registers the observations; they last as long as the process.
pub(super) fn observe(log: &Log, node: &Arc<LogNode>) {
    let meter = global::meter("tidemark");
    for (name, about, read) in LOG_COUNTERS {
        let log = log.clone();
        counter(&meter, name, about, move || read(&log.counters()));
    }
    for (name, about, read) in TIER_COUNTERS {
        let log = log.clone();
        counter(&meter, name, about, move || read(&log.tier_counters()));
    }
    for (name, about, read) in WAL_COUNTERS {
        let node = Arc::clone(node);
        counter(&meter, name, about, move || read(&node.stats()));
    }
    for (name, about, read) in WAL_GAUGES {
        let node = Arc::clone(node);
        gauge(&meter, name, about, move || read(&node.stats()));
    }
    for (name, about, read) in SHARD_GAUGES {
        let log = log.clone();
        gauge(&meter, name, about, move || {
            log.status().shards.iter().map(read).sum()
        });
    }
}

type Row<T> = (&'static str, &'static str, fn(&T) -> u64);

const LOG_COUNTERS: [Row<LogCounters>; 7] = [
    ("tidemark.log.frames", "Frames committed", |c| c.frames),
    ("tidemark.log.batches", "Record batches committed", |c| {
        c.batches
    }),
    ("tidemark.log.records", "Records committed", |c| c.records),
    (
        "tidemark.log.bytes.in",
        "Bytes of record batches committed",
        |c| c.bytes_in,
    ),
    (
        "tidemark.log.bytes.out",
        "Bytes of record batches given to readers",
        |c| c.bytes_out,
    ),
    ("tidemark.log.rolls", "Extents rolled", |c| c.rolls),
    ("tidemark.log.takeovers", "Shards taken", |c| c.takeovers),
];

const TIER_COUNTERS: [Row<TierCounters>; 24] = [
    (
        "tidemark.tier.objects",
        "Objects that became part of the log",
        |c| c.objects,
    ),
    ("tidemark.tier.object.bytes", "Their bytes", |c| {
        c.object_bytes
    }),
    (
        "tidemark.tier.states",
        "State objects written, of which each shard keeps one",
        |c| c.states,
    ),
    ("tidemark.tier.state.bytes", "Their bytes", |c| {
        c.state_bytes
    }),
    (
        "tidemark.tier.failures",
        "Steps of tiering that failed and were tried again",
        |c| c.failures,
    ),
    (
        "tidemark.tier.extents.released",
        "Extents given up on the log nodes",
        |c| c.extents_released,
    ),
    (
        "tidemark.tier.gets",
        "Ranged reads of objects, read-ahead included",
        |c| c.gets,
    ),
    ("tidemark.tier.get.bytes", "Their bytes", |c| c.get_bytes),
    (
        "tidemark.tier.get.failures",
        "Reads of objects that failed",
        |c| c.get_failures,
    ),
    (
        "tidemark.tier.refused.appends",
        "Appends refused because the disk was nearly full",
        |c| c.refused_appends,
    ),
    (
        "tidemark.tier.objects.condemned",
        "Objects taken out of the log",
        |c| c.objects_condemned,
    ),
    (
        "tidemark.tier.objects.deleted",
        "Objects deleted, second deletes included",
        |c| c.objects_deleted,
    ),
    (
        "tidemark.tier.orphans",
        "Objects of owners that ended before they committed them",
        |c| c.orphans,
    ),
    (
        "tidemark.compaction.puts",
        "Objects that compaction wrote",
        |c| c.compaction_puts,
    ),
    (
        "tidemark.compaction.put.bytes",
        "Their bytes: what was rewritten",
        |c| c.compaction_put_bytes,
    ),
    (
        "tidemark.compaction.gets",
        "Ranged reads of objects by compaction",
        |c| c.compaction_gets,
    ),
    ("tidemark.compaction.get.bytes", "Their bytes", |c| {
        c.compaction_get_bytes
    }),
    (
        "tidemark.compaction.failures",
        "Runs of compaction that failed and are tried again",
        |c| c.compaction_failures,
    ),
    (
        "tidemark.compaction.records",
        "Records that cleanup.policy=compact took out",
        |c| c.records_compacted,
    ),
    (
        "tidemark.reconcile.shards",
        "Shards whose objects were all listed and held against the metadata",
        |c| c.reconciles,
    ),
    (
        "tidemark.reconcile.lists",
        "Listings of the object store for that",
        |c| c.reconcile_lists,
    ),
    (
        "tidemark.reconcile.condemned",
        "Objects that nothing named, to be deleted after the grace",
        |c| c.reconcile_condemned,
    ),
    (
        "tidemark.reconcile.foreign",
        "Names listed that are no object's of this service, left alone",
        |c| c.reconcile_foreign,
    ),
    (
        "tidemark.reconcile.failures",
        "Reconciliations that failed and go on later",
        |c| c.reconcile_failures,
    ),
];

const WAL_COUNTERS: [Row<Stats>; 3] = [
    ("tidemark.wal.groups", "Group commits", |s| s.groups),
    ("tidemark.wal.syncs", "Syncs of segment files", |s| s.syncs),
    (
        "tidemark.wal.bytes.written",
        "Bytes written, padding included",
        |s| s.bytes_written,
    ),
];

const WAL_GAUGES: [Row<Stats>; 6] = [
    (
        "tidemark.wal.queued",
        "Requests that wait for the writer",
        |s| s.queued as u64,
    ),
    (
        "tidemark.wal.queued.bytes",
        "Bytes that wait for the writer",
        |s| s.queued_bytes as u64,
    ),
    (
        "tidemark.wal.disk.used.bytes",
        "Bytes of segments with live data",
        |s| s.disk_used_bytes,
    ),
    (
        "tidemark.wal.disk.held.bytes",
        "Bytes of all segments",
        |s| s.disk_held_bytes,
    ),
    (
        "tidemark.wal.disk.budget.bytes",
        "What segments may take",
        |s| s.disk_budget_bytes,
    ),
    (
        "tidemark.wal.poisoned",
        "1 when the disk failed and takes no more writes",
        |s| u64::from(s.poisoned),
    ),
];

const SHARD_GAUGES: [Row<tidemark_log::ShardStatus>; 4] = [
    ("tidemark.shards.serving", "Shards that serve", |s| {
        u64::from(matches!(s.state, ShardState::Serving { .. }))
    }),
    (
        "tidemark.shards.closed",
        "Shards that wait for an operator",
        |s| u64::from(matches!(s.state, ShardState::Closed { .. })),
    ),
    ("tidemark.shards.inflight.bytes", "Unacked bytes", |s| {
        s.inflight_bytes as u64
    }),
    (
        "tidemark.shards.partitions",
        "Partitions with state in memory",
        |s| s.partitions as u64,
    ),
];

fn counter(
    meter: &Meter,
    name: &'static str,
    about: &'static str,
    read: impl Fn() -> u64 + Send + Sync + 'static,
) {
    meter
        .u64_observable_counter(name)
        .with_description(about)
        .with_callback(move |seen| seen.observe(read(), &[]))
        .build();
}

fn gauge(
    meter: &Meter,
    name: &'static str,
    about: &'static str,
    read: impl Fn() -> u64 + Send + Sync + 'static,
) {
    meter
        .u64_observable_gauge(name)
        .with_description(about)
        .with_callback(move |seen| seen.observe(read(), &[]))
        .build();
}
