//! From objects of all partitions to objects of one.
//!
//! # Overview
//! A run takes the oldest segments of a shard and goes through their partitions in order. All of them are sorted by
//! partition, so each is read once from front to back, and a partition's batches become its own objects one after the
//! other. A segment whose every partition was rewritten is condemned by the sweep behind the run.
//!
//! # Crash consistency
//! Every object is committed by itself, behind what the partition has already; a run that ends early is gone on with by the
//! next one, which leaves out what is covered.
//!
//! # Bounds
//! With `n` segments of `b` bytes, `p` partitions and windows of `w` bytes a run costs at most `2b/w + 3n` GETs and
//! `b/segment_bytes + p` PUTs; `p ≤ b/merge_partition_bytes`, or there is no run. Every byte is rewritten once.

use tidemark_types::{Offset, PartitionId};

use super::draft::{CompactError, Draft};
use super::inventory::{Inventory, Loose, log_start};
use super::job::Job;
use super::objects::ObjectError;
use super::rows::Level0;
use super::stream::Stream;
use crate::Mutation;

/// Bytes of one GET at the most: what a window may take however much memory there is.
const WINDOW_BYTES_MAX: usize = 8 << 20;
/// And at the least.
const WINDOW_BYTES_MIN: usize = 64 << 10;

/// Rewrites the oldest segments when they are worth it. Answers whether there was a run.
pub(crate) async fn merge(job: Job<'_>) -> Result<bool, CompactError> {
    let config = &job.tier.config;
    let (least, most) = config.merge_objects;
    let rows = job.shard.cold.rows();
    if rows.segments.len() < least.max(1) {
        return Ok(false);
    }
    let objects = &job.tier.objects;
    let found = Inventory::take(objects, job.shard, &rows, most, |_| true).await?;
    let bytes: u64 = found.partitions.values().map(|loose| loose.bytes).sum();
    let needed = config.merge_partition_bytes;
    if found.partitions.is_empty() || bytes / (found.partitions.len() as u64) < needed {
        return Ok(false);
    }
    let segments = found.segments.iter().map(|(segment, _)| segment);
    let mut streams = open(job, segments).await?;
    for (partition, loose) in &found.partitions {
        rewrite(job, &mut streams, *partition, loose).await?;
    }
    Ok(true)
}

/// Streams over objects to be read side by side.
pub(super) async fn open<'a>(
    job: Job<'_>,
    segments: impl ExactSizeIterator<Item = &'a Level0>,
) -> Result<Vec<Stream>, ObjectError> {
    let memory = job.tier.config.compaction_memory_bytes;
    let window = |bytes: usize| bytes.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX) as u64;
    let (each, large) = (window(memory / segments.len().max(1)), window(memory / 4));
    let mut streams = Vec::with_capacity(segments.len());
    for segment in segments {
        let stream = Stream::open(&job.tier.objects, segment.into(), each).await?;
        streams.push(stream.by_large(large));
    }
    Ok(streams)
}

async fn rewrite(
    job: Job<'_>,
    streams: &mut [Stream],
    partition: PartitionId,
    loose: &Loose,
) -> Result<(), CompactError> {
    let mut draft: Option<Draft> = None;
    let mut next = loose.base;
    let start = log_start(job.shard, partition);
    for at in &loose.segments {
        // A batch that was deleted in part is kept whole, as everywhere.
        let mut batches = streams[*at].batches(partition, next.max(start));
        while let Some(some) = batches.next(&job.tier.objects).await? {
            for batch in some {
                let open = draft.get_or_insert_with(|| Draft::new(job, partition, next));
                next = batch.end;
                if open.bytes() > 0 && job.env.config.breaks(Mutation::MergeLosesRange) {
                    continue;
                }
                open.push(batch)?;
                if open.bytes() >= job.tier.config.segment_bytes {
                    publish(job, &mut draft, next).await?;
                }
            }
        }
    }
    publish(job, &mut draft, next).await
}

async fn publish(job: Job<'_>, draft: &mut Option<Draft>, end: Offset) -> Result<(), CompactError> {
    match draft.take() {
        Some(draft) => {
            let clean = draft.base();
            draft.publish(job, &[], end, clean).await
        }
        None => Ok(()),
    }
}
