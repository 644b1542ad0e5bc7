//! Whether a partition is due, and what a run goes through.

use std::sync::Arc;

use tidemark_segment::Index;
use tidemark_topics::{Topic, TopicConfig};
use tidemark_types::{Offset, PartitionId};

use crate::tier::draft::CompactError;
use crate::tier::inventory::{Inventory, log_start};
use crate::tier::job::Job;
use crate::tier::rows::{Level1, Located, Rows};

/// What a run goes through.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) partition: PartitionId,
    pub(super) config: TopicConfig,
    /// The partition's own segments that can be read.
    pub(super) own: Vec<Level1>,
    /// Segments of all partitions that hold more of it, from `loose_base` on.
    pub(super) loose: Vec<Located>,
    pub(super) loose_base: Offset,
    /// What was not compacted and may be. Empty: only tombstones are due.
    pub(super) dirty: (Offset, Offset),
    now_ms: i64,
}

/// What a look at a partition's blocks tells.
#[derive(Debug, Default)]
struct Dirty {
    /// End of what may be compacted.
    until: Offset,
    bytes: u64,
    /// Newest timestamp of the first block.
    oldest_ms: Option<i64>,
}

impl Plan {
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.1 > self.dirty.0
    }

    /// Neighbours that fit one object together. When nothing is dirty, only rows with tombstones that may go.
    pub(super) fn groups(&self, bytes_max: u64) -> Vec<&[Level1]> {
        let mut groups = Vec::new();
        let (mut from, mut bytes) = (0, 0);
        for (at, row) in self.own.iter().enumerate() {
            if at > from && bytes + row.bytes() > bytes_max {
                groups.push(&self.own[from..at]);
                (from, bytes) = (at, 0);
            }
            bytes += row.bytes();
        }
        groups.push(&self.own[from..]);
        groups.retain(|group| !group.is_empty());
        if !self.is_dirty() {
            let rows = self.own.chunks(1);
            groups = rows
                .filter(|row| has_due_tombstones(&row[0], self.now_ms))
                .collect();
        }
        groups
    }
}

/// A tombstone may go once all before it was compacted, and its date has passed.
fn has_due_tombstones(row: &Level1, now_ms: i64) -> bool {
    row.row.clean >= row.end && row.row.horizon_ms.is_some_and(|ms| ms <= now_ms)
}

/// The run that a partition needs now, if any. `inventory` is of all segments.
pub(crate) async fn plan(
    job: Job<'_>,
    topic: &Topic,
    partition: PartitionId,
    rows: &Rows,
    inventory: &Inventory,
) -> Result<Option<Plan>, CompactError> {
    let start = log_start(job.shard, partition);
    let own: Vec<Level1> = rows
        .of(partition)
        .iter()
        .filter(|r| r.end > start)
        .copied()
        .collect();
    let loose = inventory.partitions.get(&partition);
    let held = loose.map_or(&[][..], |loose| &loose.segments);
    let mut indexes: Vec<Arc<Index>> = Vec::new();
    for row in &own {
        if let Some(segment) = row.located() {
            indexes.push(job.tier.objects.index(segment).await?);
        }
    }
    indexes.extend(held.iter().map(|at| Arc::clone(&inventory.segments[*at].1)));
    let base = own.first().map(|row| row.row.base);
    let Some(base) = base.or(loose.map(|loose| loose.base)) else {
        return Ok(None);
    };
    let first = rows.clean_end(partition).max(base).max(start);
    let now_ms = job.env.clock.wall_ms();
    let dirty = look(job, topic, partition, &indexes, first);
    let own_bytes: u64 = own.iter().map(Level1::bytes).sum();
    let all = own_bytes + loose.map_or(0, |loose| loose.bytes);
    let is_dirty = dirty.until > first && is_due(job, &topic.config, &dirty, all, now_ms);
    if !is_dirty && !own.iter().any(|row| has_due_tombstones(row, now_ms)) {
        return Ok(None);
    }
    // Without anything dirty the run ends where the last one did.
    let clean = rows.clean_end(partition);
    Ok(Some(Plan {
        partition,
        config: topic.config.clone(),
        loose_base: own.last().map_or(base, |row| row.end),
        own,
        loose: held
            .iter()
            .map(|at| (&inventory.segments[*at].0).into())
            .collect(),
        dirty: if is_dirty {
            (first, dirty.until)
        } else {
            (clean, clean)
        },
        now_ms,
    }))
}

/// Goes through the blocks from `first` on, up to the first one that is too young, or that holds the end of the log: as
/// Kafka's active segment that is never compacted, so that a reader always finds a batch to come to the end by.
fn look(
    job: Job<'_>,
    topic: &Topic,
    partition: PartitionId,
    indexes: &[Arc<Index>],
    first: Offset,
) -> Dirty {
    let view = job.shard.view(partition);
    let log_end = view.map_or(Offset(0), |view| view.state.read().high_watermark);
    let young = (job.env.clock.wall_ms()).saturating_sub(topic.config.min_compaction_lag_ms);
    let mut dirty = Dirty {
        until: first,
        ..Dirty::default()
    };
    for index in indexes {
        let Some(part) = index.find(partition).filter(|part| part.end() > first) else {
            continue;
        };
        let from = part.seek(first);
        for (at, block) in part.blocks().iter().enumerate().skip(from) {
            let next = part.blocks().get(at + 1);
            let end = next.map_or(part.end(), |next| next.base);
            if block.max_timestamp > young || end >= log_end {
                return dirty;
            }
            let range = part.range(at..at + 1);
            dirty.bytes += range.end - range.start;
            dirty.oldest_ms = dirty.oldest_ms.or(Some(block.max_timestamp));
            dirty.until = end;
        }
    }
    dirty
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of sizes")]
fn is_due(job: Job<'_>, config: &TopicConfig, dirty: &Dirty, all: u64, now_ms: i64) -> bool {
    let Some(oldest) = dirty.oldest_ms else {
        return false;
    };
    if oldest < now_ms.saturating_sub(config.max_compaction_lag_ms) {
        return true;
    }
    let tier = &job.tier.config;
    let wait = i64::try_from(tier.clean_wait.as_millis()).unwrap_or(i64::MAX);
    let is_worth_it = dirty.bytes >= tier.clean_bytes || oldest <= now_ms.saturating_sub(wait);
    let ratio = dirty.bytes as f64 / all.max(1) as f64;
    is_worth_it && ratio > config.min_cleanable_dirty_ratio
}
