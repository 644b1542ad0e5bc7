//! `cleanup.policy=compact`: a partition's cold part rewritten to the latest record of each key.
//!
//! # Overview
//! A run surveys what was not compacted yet ([`plan`]) and notes each key's latest offset, as many keys as fit; then it goes
//! through everything below the surveyed end, oldest first: neighbouring segments of the partition become one, and what
//! still lies in segments of all partitions becomes its own.
//!
//! # Consistency
//! Each object is committed by itself, in ascending order, so a tombstone never goes before the records it deletes. `clean`
//! in the rows says how far a run came: whatever ends it, the next one surveys the rest.
//!
//! # Bounds
//! Half of the configured memory for keys, a quarter for bytes on their way; beside them one decoded batch and the object
//! in the making. When the keys do not fit, the run covers less, and another follows.

pub(super) mod plan;

use tidemark_compaction::{Cleaned, Cleaner, OffsetMap, Survey, Surveyed};
use tidemark_records::{Batch, PREFIX_BYTES};
use tidemark_types::{Offset, PartitionId};

use self::plan::Plan;
use super::counters::add;
use super::draft::{CompactError, Draft, commit};
use super::job::Job;
use super::rows::{Level1, Located};
use super::stream::Stream;
use crate::Mutation;
use crate::view::StoredBatch;

/// Bytes of one GET at the most.
const WINDOW_BYTES_MAX: usize = 8 << 20;
/// And at the least.
const WINDOW_BYTES_MIN: usize = 64 << 10;

/// Compacts one partition. Answers whether there is more to do at once: not all keys fitted.
pub(crate) async fn clean(job: Job<'_>, plan: &Plan) -> Result<bool, CompactError> {
    let (map, end, is_whole) = survey(job, plan).await?;
    let now = job.env.clock.wall_ms();
    let budget = job.env.config.decompress_bytes_max;
    let retention = match job.env.config.breaks(Mutation::TombstonesAtOnce) {
        true => 0,
        false => plan.config.delete_retention_ms,
    };
    let mut run = Run {
        job,
        partition: plan.partition,
        cleaner: Cleaner::new((map, end), now, retention, budget),
        end,
        budget,
    };
    let outcome = run.all(plan).await;
    let counts = run.cleaner.counts();
    let gone = counts.superseded + counts.tombstones + counts.keyless;
    add(&job.tier.counters.records_compacted, gone);
    outcome?;
    Ok(!is_whole)
}

fn window(job: Job<'_>) -> u64 {
    let window = job.tier.config.compaction_memory_bytes / 4;
    window.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX) as u64
}

/// Notes the latest offsets of keys from where the last run ended. Answers them, up to where, and whether that is all.
async fn survey(job: Job<'_>, plan: &Plan) -> Result<(OffsetMap, Offset, bool), CompactError> {
    let (from, until) = plan.dirty;
    let keys = usize::try_from(until.0.saturating_sub(from.0)).unwrap_or(0);
    let entropy = &job.env.entropy;
    let seed = (entropy.next_u64(), entropy.next_u64());
    let map = OffsetMap::new(job.tier.config.compaction_memory_bytes / 2, keys, seed);
    let mut survey = Survey::new(map, from, job.env.config.decompress_bytes_max);
    let dirty = plan
        .segments()
        .filter(|(_, end)| until > from && *end > from);
    'all: for (segment, _) in dirty {
        let mut stream = Stream::open(&job.tier.objects, segment, window(job)).await?;
        let mut batches = stream.batches(plan.partition, from);
        while let Some(some) = batches.next(&job.tier.objects).await? {
            for stored in some {
                if stored.base >= until {
                    break 'all;
                }
                // What does not decode stays as it is.
                let Ok(batch) = Batch::parse_trusted(stored.joined()) else {
                    continue;
                };
                match survey.add(&batch) {
                    Ok(Surveyed::Whole) => {}
                    Ok(Surveyed::Full) => {
                        let (map, end) = survey.into_map();
                        return Ok((map, end, false));
                    }
                    Err(_) => survey.pass_over(&batch),
                }
            }
        }
    }
    let (map, end) = survey.into_map();
    Ok((map, end.max(until), true))
}

struct Run<'a> {
    job: Job<'a>,
    partition: PartitionId,
    cleaner: Cleaner,
    /// Everything below was surveyed.
    end: Offset,
    budget: usize,
}

impl Run<'_> {
    async fn all(&mut self, plan: &Plan) -> Result<(), CompactError> {
        for group in plan.groups(self.job.tier.config.segment_bytes) {
            if group[0].row.base < self.end {
                self.rewrite(group).await?;
            }
        }
        if plan.is_dirty() {
            self.take_over_loose(plan).await?;
        }
        Ok(())
    }

    /// Makes one row of neighbours, or leaves a single one whose records all stay.
    async fn rewrite(&mut self, group: &[Level1]) -> Result<(), CompactError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(());
        };
        let mut draft = Draft::new(self.job, self.partition, first.row.base);
        let mut changed = group.len() > 1;
        for segment in group.iter().filter_map(Level1::located) {
            let objects = &self.job.tier.objects;
            let mut stream = Stream::open(objects, segment, window(self.job)).await?;
            let mut batches = stream.batches(self.partition, Offset(0));
            while let Some(some) = batches.next(objects).await? {
                for batch in &some {
                    changed |= self.keep(&mut draft, batch)?;
                }
            }
        }
        let clean = self.end.min(last.end).max(last.row.clean);
        if changed {
            return draft.publish(self.job, group, last.end, clean).await;
        }
        let mut marked = *last;
        marked.row.clean = clean;
        marked.row.horizon_ms = draft.horizon_ms();
        if marked != *last {
            commit(self.job, self.partition, group, marked).await?;
        }
        Ok(())
    }

    /// Makes own segments of what lies in those of all partitions, up to the surveyed end.
    async fn take_over_loose(&mut self, plan: &Plan) -> Result<(), CompactError> {
        let mut next = plan.loose_base;
        let mut draft = Draft::new(self.job, self.partition, next);
        'all: for segment in &plan.loose {
            let objects = &self.job.tier.objects;
            let mut stream = Stream::open(objects, *segment, window(self.job)).await?;
            let mut batches = stream.batches(self.partition, next);
            while let Some(some) = batches.next(objects).await? {
                for batch in &some {
                    if batch.base >= self.end {
                        break 'all;
                    }
                    self.keep(&mut draft, batch)?;
                    next = batch.end;
                    if draft.bytes() >= self.job.tier.config.segment_bytes {
                        let full = Draft::new(self.job, self.partition, next);
                        let full = std::mem::replace(&mut draft, full);
                        let clean = self.end.min(next);
                        full.publish(self.job, &[], next, clean).await?;
                    }
                }
            }
        }
        if next > draft.base() {
            draft
                .publish(self.job, &[], next, self.end.min(next))
                .await?;
        }
        Ok(())
    }

    /// Adds what stays of a batch, in memory of its own. Answers whether that is less than all.
    fn keep(&mut self, draft: &mut Draft, stored: &StoredBatch) -> Result<bool, CompactError> {
        let bytes = stored.joined();
        let parsed = Batch::parse_trusted(bytes.clone()).ok();
        let cleaned = match &parsed {
            Some(batch) if stored.base < self.end => self.cleaner.clean(batch),
            _ => Cleaned::Unchanged,
        };
        let (kept, changed) = match cleaned {
            Cleaned::Removed => return Ok(true),
            Cleaned::Rewritten(batch) => (Some(batch), true),
            Cleaned::Unchanged => (parsed, false),
        };
        if let Some(ms) = kept.as_ref().and_then(|batch| self.horizon(batch)) {
            draft.tombstones_until(ms);
        }
        let bytes = kept.as_ref().map_or(bytes, |batch| batch.bytes().clone());
        let newest = kept.map_or(stored.max_timestamp, |b| b.header().max_timestamp);
        draft.push(StoredBatch {
            max_timestamp: newest,
            prefix: bytes.slice(..PREFIX_BYTES),
            rest: bytes.slice(PREFIX_BYTES..),
            ..*stored
        })?;
        Ok(changed)
    }

    /// When the batch's tombstones may go, if it has any and a date for them.
    fn horizon(&self, batch: &Batch) -> Option<i64> {
        let header = batch.header();
        if !header.attributes.has_delete_horizon() {
            return None;
        }
        let mut records = batch.records(self.budget).ok()?;
        let has_tombstone = records.any(|r| r.is_ok_and(|record| record.value.is_none()));
        has_tombstone.then_some(header.base_timestamp)
    }
}

impl Plan {
    /// The partition's segments in offset order, with their ends.
    fn segments(&self) -> impl Iterator<Item = (Located, Offset)> {
        let own = self
            .own
            .iter()
            .filter_map(|row| Some((row.located()?, row.end)));
        let loose = self
            .loose
            .iter()
            .map(|segment| (*segment, Offset(i64::MAX)));
        own.chain(loose)
    }
}
