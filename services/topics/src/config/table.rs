//! Every topic config of Kafka 4.x, and Tidemark's own: defaults as Kafka ships them.

use tidemark_types::limits::BATCH_BYTES_MAX;

use super::spec::{ConfigSpec, ConfigType, Effect};
use super::value::Rule;
use ConfigType::{Boolean, Double, Int, List, Long, String};
use Effect::{Honoured, None, ToColdSegments};

const INT_MAX: i64 = i32::MAX as i64;
const LONG_MAX: i64 = i64::MAX;
const LONG_MAX_TEXT: &str = "9223372036854775807";
const NO_TIERED_FLAGS: &str = "tiering is the service's own affair and cannot be set per topic";

/// A whole number of at least `min`.
const fn at_least(min: i64, max: i64) -> Rule {
    Rule::Range { min, max }
}

macro_rules! table {
    ($($name:literal ($broker:literal) $ty:ident = $default:expr, $rule:expr, $effect:ident, $doc:literal;)*) => {
        &[$(ConfigSpec {
            name: $name, broker_name: $broker, ty: $ty, default: $default, effect: $effect, doc: $doc, rule: $rule,
        },)*]
    };
}

/// In the order of their names.
static TABLE: &[ConfigSpec] = table! {
    "cleanup.policy" ("log.cleanup.policy") List = "delete", Rule::Elements(&["compact", "delete"]), ToColdSegments,
        "What happens to old records: 'delete' removes them by time or size, 'compact' keeps the latest value of each key; both may be given.";
    "compression.gzip.level" ("compression.gzip.level") Int = "-1", Rule::RangeOr { min: 1, max: 9, or: -1 }, None,
        "The gzip level of recompression by the server. Batches are never recompressed here.";
    "compression.lz4.level" ("compression.lz4.level") Int = "9", at_least(1, 17), None,
        "The lz4 level of recompression by the server. Batches are never recompressed here.";
    "compression.type" ("compression.type") String = "producer",
        Rule::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), None,
        "The codec that the server would recompress to. Here every batch is kept as its producer compressed it, as with 'producer'.";
    "compression.zstd.level" ("compression.zstd.level") Int = "3", at_least(-131_072, 22), None,
        "The zstd level of recompression by the server. Batches are never recompressed here.";
    "delete.retention.ms" ("log.cleaner.delete.retention.ms") Long = "86400000", at_least(0, LONG_MAX), ToColdSegments,
        "How long tombstones stay readable in a compacted topic.";
    "file.delete.delay.ms" ("log.segment.delete.delay.ms") Long = "60000", at_least(0, LONG_MAX), None,
        "How long a broker keeps a deleted segment's file.";
    "flush.messages" ("log.flush.interval.messages") Long = LONG_MAX_TEXT, at_least(1, LONG_MAX), None,
        "After how many records a broker syncs to disk. Here every acknowledged record is synced.";
    "flush.ms" ("log.flush.interval.ms") Long = LONG_MAX_TEXT, at_least(0, LONG_MAX), None,
        "After what time a broker syncs to disk. Here every acknowledged record is synced.";
    "follower.replication.throttled.replicas" ("follower.replication.throttled.replicas") List = "", Rule::ThrottledReplicas, None,
        "Replicas whose replication is throttled on the follower's side.";
    "index.interval.bytes" ("log.index.interval.bytes") Int = "4096", at_least(0, INT_MAX), None,
        "How often a broker adds an entry to its offset index.";
    "leader.replication.throttled.replicas" ("leader.replication.throttled.replicas") List = "", Rule::ThrottledReplicas, None,
        "Replicas whose replication is throttled on the leader's side.";
    "local.retention.bytes" ("log.local.retention.bytes") Long = "-2", at_least(-2, LONG_MAX), None,
        "How many bytes of tiered data stay on local disks. Here the disk budget of the log nodes decides.";
    "local.retention.ms" ("log.local.retention.ms") Long = "-2", at_least(-2, LONG_MAX), None,
        "How long tiered data stays on local disks. Here the disk budget of the log nodes decides.";
    "max.compaction.lag.ms" ("log.cleaner.max.compaction.lag.ms") Long = LONG_MAX_TEXT, at_least(1, LONG_MAX), ToColdSegments,
        "The longest time a record of a compacted topic stays out of compaction.";
    "max.message.bytes" ("message.max.bytes") Int = "1048588", at_least(0, BATCH_BYTES_MAX as i64), Honoured,
        "The largest record batch that may be appended, after compression, in bytes. The service's bound is 64 MiB.";
    "message.timestamp.after.max.ms" ("log.message.timestamp.after.max.ms") Long = "3600000", at_least(0, LONG_MAX), Honoured,
        "How far a CreateTime timestamp may lie in the future of the server's clock.";
    "message.timestamp.before.max.ms" ("log.message.timestamp.before.max.ms") Long = LONG_MAX_TEXT, at_least(0, LONG_MAX), Honoured,
        "How far a CreateTime timestamp may lie in the past of the server's clock.";
    "message.timestamp.type" ("log.message.timestamp.type") String = "CreateTime", Rule::OneOf(&["CreateTime", "LogAppendTime"]), Honoured,
        "Whether records carry the producer's timestamp or the time of their append.";
    "min.cleanable.dirty.ratio" ("log.cleaner.min.cleanable.ratio") Double = "0.5", Rule::Fraction, ToColdSegments,
        "The share of a log that must be uncompacted before compaction runs.";
    "min.compaction.lag.ms" ("log.cleaner.min.compaction.lag.ms") Long = "0", at_least(0, LONG_MAX), ToColdSegments,
        "The shortest time a record of a compacted topic stays out of compaction.";
    "min.insync.replicas" ("min.insync.replicas") Int = "1", at_least(1, INT_MAX), None,
        "How many replicas must have a record before it is acknowledged. Here the topic's durability class decides (tidemark.durability).";
    "preallocate" ("log.preallocate") Boolean = "false", Rule::Bool, None,
        "Whether a broker preallocates segment files. Here the log nodes always do.";
    "remote.log.copy.disable" ("remote.log.copy.disable") Boolean = "false", Rule::OnlyFalse(NO_TIERED_FLAGS), None,
        "Whether to stop copying to remote storage.";
    "remote.log.delete.on.disable" ("remote.log.delete.on.disable") Boolean = "false", Rule::OnlyFalse(NO_TIERED_FLAGS), None,
        "Whether to delete remote data when remote storage is disabled.";
    "remote.storage.enable" ("remote.storage.enable") Boolean = "false", Rule::OnlyFalse(NO_TIERED_FLAGS), None,
        "Whether a topic's old segments move to remote storage.";
    "retention.bytes" ("log.retention.bytes") Long = "-1", at_least(-1, LONG_MAX), ToColdSegments,
        "The size a partition may reach before its oldest records are removed, in bytes; -1 means no limit.";
    "retention.ms" ("log.retention.ms") Long = "604800000", at_least(-1, LONG_MAX), ToColdSegments,
        "How long records are kept, in ms; -1 means for ever.";
    "segment.bytes" ("log.segment.bytes") Int = "1073741824", at_least(1 << 20, INT_MAX), None,
        "The size of a broker's segment file. Here extents of a shard roll by their own rule.";
    "segment.index.bytes" ("log.index.size.max.bytes") Int = "10485760", at_least(4, INT_MAX), None,
        "The size of a broker's index file.";
    "segment.jitter.ms" ("log.roll.jitter.ms") Long = "0", at_least(0, LONG_MAX), None,
        "The jitter of time-based segment rolls.";
    "segment.ms" ("log.roll.ms") Long = "604800000", at_least(1, LONG_MAX), None,
        "The age at which a broker rolls a segment. Here extents of a shard roll by their own rule.";
    "tidemark.durability" ("tidemark.durability") String = "local", Rule::Durability, Honoured,
        "The durability class: 'local' (synced on one replica), 'quorum' (synced on two of three), 'object' (payload in object storage before the acknowledgement).";
    "unclean.leader.election.enable" ("unclean.leader.election.enable") Boolean = "false", Rule::Bool, None,
        "Whether a replica that lacks acknowledged records may become the leader. Here none ever does; an operator's explicit unclean seal is the only way past lost data.";
};

/// Every topic config, in the order of the names.
#[must_use]
pub fn config_table() -> &'static [ConfigSpec] {
    TABLE
}

/// The config of that name.
#[must_use]
pub fn config_spec(name: &str) -> Option<&'static ConfigSpec> {
    TABLE
        .binary_search_by(|spec| spec.name.cmp(name))
        .ok()
        .map(|i| &TABLE[i])
}
