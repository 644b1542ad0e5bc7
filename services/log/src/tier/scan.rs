//! Finding a partition's batches in cold segments, by offset and by time: in its own ones first, then in those of all.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tidemark_types::{Offset, PartitionId};
use tokio::time::Instant;

use super::objects::{ObjectError, Objects};
use super::rows::{Level0, Located, Rows};
use crate::view::StoredBatch;

/// How long a request waits for the object store, whatever it asks of it: longer than one attempt of a GET takes at the
/// most (10 s and one more for each MiB), and half of what Kafka's clients wait for an answer (`request.timeout.ms`, 30 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// What `read` finds, unless it takes longer than until `deadline`.
pub(crate) async fn by<T>(
    deadline: Instant,
    read: impl Future<Output = Result<T, ObjectError>>,
) -> Result<T, ObjectError> {
    let read = tokio::time::timeout_at(deadline, read).await;
    read.unwrap_or(Err(ObjectError::Slow(PATIENCE)))
}

/// Visits a partition's batches that end above `from` and begin below `until`, in order, until `visit` answers `false`:
/// then the answer is `None`. Else it is the offset up to which the segments tell what is there, which may lie below
/// `until`, and behind the last batch visited.
pub(crate) async fn scan(
    objects: &Arc<Objects>,
    rows: &Rows,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    visit: &mut (impl FnMut(StoredBatch) -> bool + Send),
) -> Result<Option<Offset>, ObjectError> {
    let mut next = from;
    let own = rows.of(partition);
    let skip = own.partition_point(|row| row.end <= from);
    for row in &own[skip..] {
        if row.row.base >= until {
            return Ok(Some(next));
        }
        if let Some(segment) = row.located() {
            let range = (next, until);
            let Some(reached) = scan_one(objects, segment, partition, range, visit).await? else {
                return Ok(None);
            };
            next = reached;
        }
        // What is missing was compacted away. What the row holds from `until` on was not visited: hot extents may hold it
        // too, and it is read there.
        next = next.max(row.end.min(until));
    }
    if next >= until {
        return Ok(Some(next));
    }
    let first = locate(objects, &rows.segments, partition, next).await?;
    for segment in &rows.segments[first..] {
        let range = (next, until);
        let Some(reached) = scan_one(objects, segment.into(), partition, range, visit).await?
        else {
            return Ok(None);
        };
        next = reached;
        if next >= until {
            break;
        }
    }
    Ok(Some(next))
}

/// As [`scan`], of one segment: answers the end of the last batch visited.
async fn scan_one(
    objects: &Arc<Objects>,
    segment: Located,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    visit: &mut (impl FnMut(StoredBatch) -> bool + Send),
) -> Result<Option<Offset>, ObjectError> {
    let mut next = from;
    let index = objects.index(segment).await?;
    let Some(part) = index.find(partition).filter(|p| p.end() > next) else {
        return Ok(Some(next));
    };
    if part.base() >= until {
        return Ok(Some(next));
    }
    let mut block = part.seek(next);
    while block < part.blocks().len() && next < until {
        let blocks = objects.chunk_of(&part, block);
        block = blocks.end;
        let chunk = objects.chunk(segment.object, &part, blocks).await?;
        objects.read_ahead(&index, partition, block);
        for batch in &chunk.batches {
            if batch.end <= next {
                continue;
            }
            if batch.base >= until {
                return Ok(Some(next));
            }
            next = batch.end;
            if !visit(batch.clone()) {
                return Ok(None);
            }
        }
    }
    Ok(Some(next))
}

/// The first batch between `from` and `until` that has a timestamp at or after `ms`.
pub(crate) async fn by_time(
    objects: &Arc<Objects>,
    rows: &Rows,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    ms: i64,
) -> Result<Option<StoredBatch>, ObjectError> {
    let own = rows.of(partition);
    let skip = own.partition_point(|row| row.end <= from);
    for row in &own[skip..] {
        let newest = row.row.object.map(|object| object.max_timestamp);
        let segment = row.located().filter(|_| newest >= Some(ms));
        let Some(segment) = segment.filter(|_| row.row.base < until) else {
            continue;
        };
        let found = first_in(objects, segment, partition, (from, until), ms).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    let from = from.max(rows.own_end(partition));
    let first = locate(objects, &rows.segments, partition, from).await?;
    let late = rows.segments[first..].iter();
    for segment in late.filter(|s| s.row.max_timestamp >= ms) {
        let found = first_in(objects, segment.into(), partition, (from, until), ms).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// As [`by_time`], of one segment.
async fn first_in(
    objects: &Objects,
    segment: Located,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    ms: i64,
) -> Result<Option<StoredBatch>, ObjectError> {
    let index = objects.index(segment).await?;
    let Some(part) = index.find(partition).filter(|p| p.base() < until) else {
        return Ok(None);
    };
    let mut at = part.seek(from);
    while let Some(block) = part.seek_time(at, ms) {
        let blocks = objects.chunk_of(&part, block);
        at = blocks.end;
        let chunk = objects.chunk(segment.object, &part, blocks).await?;
        let hit = |b: &&StoredBatch| b.end > from && b.max_timestamp >= ms;
        if let Some(found) = chunk.batches.iter().find(hit) {
            return Ok(Some(found.clone()).filter(|b| b.base < until));
        }
    }
    Ok(None)
}

/// Up to where cold segments hold the partition.
pub(crate) async fn end(
    objects: &Objects,
    rows: &Rows,
    partition: PartitionId,
) -> Result<Option<Offset>, ObjectError> {
    let own = rows.of(partition).last().map(|row| row.end);
    for segment in rows.segments.iter().rev() {
        let index = objects.index(segment).await?;
        if let Some(part) = index.find(partition) {
            return Ok(own.max(Some(part.end())));
        }
    }
    Ok(own)
}

/// The first segment whose part of the partition ends above `offset`, or one before it that holds nothing of it. A
/// partition's offsets ascend through the segments; those without it tell nothing, so its neighbours are asked.
async fn locate(
    objects: &Objects,
    segments: &[Level0],
    partition: PartitionId,
    offset: Offset,
) -> Result<usize, ObjectError> {
    let (mut low, mut high) = (0, segments.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let mut probe = middle;
        let mut end = end_in(objects, &segments[probe], partition).await?;
        while end.is_none() && probe + 1 < high {
            probe += 1;
            end = end_in(objects, &segments[probe], partition).await?;
        }
        match end {
            Some(end) if end <= offset => low = probe + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

async fn end_in(
    objects: &Objects,
    segment: &Level0,
    partition: PartitionId,
) -> Result<Option<Offset>, ObjectError> {
    let index = objects.index(segment).await?;
    Ok(index.find(partition).map(|part| part.end()))
}
