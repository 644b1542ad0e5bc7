//! What a seed decides before anything runs: the shape of the service and the kinds of faults it meets.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemark_lease::LeaseConfig;
use tidemark_log::{LogConfig, Mutation, TierConfig};
use tidemark_lognode::LogNodeConfig;
use tidemark_runtime::Entropy;

use crate::broken::Broken;
use crate::link::Weather;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shards: u32,
    pub(crate) copies: usize,
    /// Process and log node are one machine, as the embedded service is.
    pub(crate) embedded: bool,
    pub(crate) links: Weather,
    pub(crate) node: LogNodeConfig,
    roll_bytes: u64,
    roll_age: Duration,
    tail_cache_bytes: usize,
    checkpoint_part_bytes: usize,
    /// Faults go on for so long.
    pub(crate) span: Duration,
    /// Pause between two blows, at the most.
    pub(crate) lull_max: Duration,
    /// The metadata store has bad days.
    pub(crate) storms: bool,
    /// The disk fills up, fails syncs and stalls.
    pub(crate) sick_disks: bool,
    /// Each way to the metadata store takes up to this long.
    pub(crate) store_delay_max: Duration,
    /// The machine whose disk may rot or be lost: a majority of every extent is elsewhere.
    pub(crate) frail: Option<usize>,
    /// It is lost, again and again, or else it rots.
    pub(crate) wipes: bool,
    pub(crate) cold: Option<Cold>,
    /// There is a topic that keeps the latest record of each key, and what topics keep changes.
    pub(crate) tables: bool,
    broken: Broken,
}

/// What owners of both shards need of a full disk: an extent and a checkpoint each, in blocks of 4 KiB, beside what small
/// segments take for themselves.
const TAKEOVER_BYTES: u64 = 96 << 10;

/// What a topic keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retention {
    Everything,
    Bytes(u64),
    Ms(u64),
}

/// An object store behind the log nodes.
#[derive(Clone, Debug)]
pub(crate) struct Cold {
    pub(crate) tier: TierConfig,
    /// Of the topic that everyone works on.
    pub(crate) retention: Retention,
    /// The object store has bad days.
    pub(crate) outages: bool,
}

impl Cold {
    fn draw(entropy: &Entropy) -> Self {
        let below = |n| entropy.below(n);
        let ms = |base: u64, doublings| Duration::from_millis(base << below(doublings));
        let mut cold = Self {
            tier: TierConfig {
                object_bytes: 2 << (10 + below(5)),
                read_bytes_min: 1 << 20,
                gatherers_max: 1,
                index_cache_bytes: 1 << (10 + below(5)),
                chunk_cache_bytes: 1 << (10 + below(6)),
                chunk_bytes: 512 << below(4),
                ahead_chunks: usize::try_from(below(3)).unwrap_or(0),
                ahead_max: 2,
                retention_period: ms(250, 3),
                collect_period: ms(250, 3),
                leave: Duration::from_secs(2),
                grace: ms(500, 4),
                segment_bytes: 4 << (10 + below(4)),
                compaction_period: ms(250, 4),
                busy_bytes_per_s: TierConfig::default().busy_bytes_per_s,
                compaction_patience: Duration::from_secs(2),
                compaction_memory_bytes: 1 << 20,
                merge_objects: (2 + usize::try_from(below(3)).unwrap_or(0), 8),
                squeeze_objects: (0, 0),
                merge_partition_bytes: 1 << (6 + below(6)),
                clean_bytes: 1 << 10,
                clean_wait: ms(1_000, 3),
                // Behind whatever a dead epoch's put may still do, though the wall clock jumps.
                second_delete: Duration::from_secs(3_600),
                reconcile_period: Duration::ZERO,
            },
            retention: match below(3) {
                0 => Retention::Everything,
                1 => Retention::Bytes(1 << (10 + below(5))),
                _ => Retention::Ms(1_000 << below(3)),
            },
            outages: below(3) > 0,
        };
        cold.tier.squeeze_objects = cold.tier.merge_objects;
        if cold.tier.merge_objects.0 != 3 {
            // An object may end at any frame, not only where an extent does. Not drawn: seeds keep the rest of their lives.
            cold.tier.read_bytes_min = 1;
        }
        if cold.tier.merge_objects.0 == 4 {
            // Always busy: compaction comes late, and has more to do.
            cold.tier.busy_bytes_per_s = 0;
        }
        cold
    }
}

impl Plan {
    pub(crate) fn draw(entropy: &Entropy, broken: Broken) -> Self {
        let one_in = |n| entropy.below(n) == 0;
        let copies = if one_in(4) { 3 } else { 1 };
        let copies = broken.copies.unwrap_or(copies);
        let embedded = copies == 1 && one_in(2);
        let links = if embedded || one_in(3) {
            Weather::default()
        } else {
            Weather {
                delay_max: Duration::from_micros(100 << entropy.below(7)),
                lost: entropy.below(2) * entropy.below(20),
                ..Weather::default()
            }
        };
        let node = LogNodeConfig {
            segment_bytes: 128 << 10,
            disk_bytes_max: 512 << 20,
            group_bytes_max: 512 << (4 * entropy.below(3)),
            open_verify_bytes_max: entropy.below(2) * (16 << 20),
            ..LogNodeConfig::default()
        };
        let mut plan = Self {
            cold: None,
            tables: false,
            shards: 2,
            copies,
            embedded,
            links,
            node,
            roll_bytes: 1 << (10 + entropy.below(5)),
            roll_age: Duration::from_millis(500 << entropy.below(5)),
            tail_cache_bytes: 1 << (10 + entropy.below(8)),
            checkpoint_part_bytes: 64 << (2 * entropy.below(5)),
            span: Duration::from_secs(6 + entropy.below(6)),
            lull_max: Duration::from_millis(100 << entropy.below(5)),
            storms: !one_in(3),
            sick_disks: !one_in(3),
            store_delay_max: Duration::from_micros(entropy.below(2) * (50 << entropy.below(8))),
            frail: (copies == 3 && !one_in(3))
                .then(|| usize::try_from(entropy.below(3)).unwrap_or(0)),
            wipes: one_in(2),
            broken,
        };
        if plan.falls_in_checkpoints() {
            // Of many pieces.
            plan.checkpoint_part_bytes = 64;
        }
        if broken.cold.unwrap_or_else(|| one_in(2)) {
            plan.node.segment_bytes = 16 << (10 + entropy.below(2));
            let least = if broken.tight { 18 } else { 40 };
            plan.node.disk_bytes_max = plan.node.segment_bytes * (least + entropy.below(12));
            // As the binary does: open extents leave room for what is on its way to the object store.
            let share = plan.node.disk_bytes_max / u64::from(plan.shards) / 4;
            plan.roll_bytes = plan.roll_bytes.min(share);
            plan.node.takeover_bytes = TAKEOVER_BYTES;
            plan.cold = Some(Cold::draw(entropy));
            plan.tables = broken.tables.unwrap_or_else(|| one_in(2));
        }
        plan
    }

    /// Little of everything, and nothing that goes wrong by itself: all that tiering and compaction do comes within seconds.
    pub(crate) fn be_small(&mut self) {
        self.embedded = false;
        self.links = Weather::default();
        self.store_delay_max = Duration::ZERO;
        self.node.segment_bytes = 16 << 10;
        self.node.disk_bytes_max = 20 * self.node.segment_bytes;
        (self.roll_bytes, self.roll_age) = (2 << 10, Duration::from_secs(1));
        self.checkpoint_part_bytes = 1 << 10;
        if let Some(cold) = &mut self.cold {
            let period = Duration::from_millis(250);
            cold.retention = Retention::Bytes(8 << 10);
            cold.outages = false;
            cold.tier = TierConfig {
                object_bytes: 4 << 10,
                segment_bytes: 4 << 10,
                retention_period: period,
                collect_period: period,
                grace: 2 * period,
                compaction_period: period,
                merge_objects: (2, 4),
                squeeze_objects: (2, 4),
                merge_partition_bytes: 128,
                clean_bytes: 256,
                ..cold.tier.clone()
            };
        }
    }

    /// Of the topic that everyone works on.
    pub(crate) fn topic_config(&self) -> BTreeMap<String, String> {
        let retention = self.cold.as_ref().map(|cold| cold.retention);
        let (ms, bytes) = match retention.unwrap_or(Retention::Everything) {
            Retention::Everything => return BTreeMap::new(),
            Retention::Bytes(bytes) => ("-1".to_owned(), bytes.to_string()),
            Retention::Ms(ms) => (ms.to_string(), "-1".to_owned()),
        };
        let named = [("retention.ms", ms), ("retention.bytes", bytes)];
        named.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Machines often fall in the middle of a checkpoint.
    pub(crate) fn falls_in_checkpoints(&self) -> bool {
        self.broken.log == Some(Mutation::CheckpointWithoutEnd)
    }

    pub(crate) fn lease_config(&self) -> LeaseConfig {
        LeaseConfig::replicated(self.copies, self.copies / 2 + 1).mutated(self.broken.journal)
    }

    pub(crate) fn log_config(&self) -> LogConfig {
        LogConfig {
            shards: self.shards,
            roll_bytes: self.roll_bytes,
            roll_age: self.roll_age,
            tail_cache_bytes: self.tail_cache_bytes,
            cold_cache_bytes: 16 << 10,
            checkpoint_part_bytes: self.checkpoint_part_bytes,
            mutation: self.broken.log,
            ..LogConfig::default()
        }
    }
}
