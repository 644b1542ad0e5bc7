//! Finding a partition's batches in cold segments, by offset and by time.

use std::sync::Arc;

use tidemark_types::{Offset, PartitionId};

use super::objects::{ObjectError, Objects};
use super::rows::{Level0, Rows};
use crate::view::StoredBatch;

/// Visits a partition's batches that end above `from` and begin below `until`, in order, until `visit` answers `false`;
/// then the answer is `false` too. `true` does not say that `until` was reached.
pub(crate) async fn scan(
    objects: &Arc<Objects>,
    rows: &Rows,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    visit: &mut (impl FnMut(StoredBatch) -> bool + Send),
) -> Result<bool, ObjectError> {
    let mut next = from;
    let first = locate(objects, &rows.segments, partition, from).await?;
    for segment in &rows.segments[first..] {
        let index = objects.index(segment).await?;
        let Some(part) = index.find(partition).filter(|p| p.end() > next) else {
            continue;
        };
        if part.base() >= until {
            return Ok(true);
        }
        let mut block = part.seek(next);
        while block < part.blocks().len() && next < until {
            let blocks = objects.chunk_of(&part, block);
            block = blocks.end;
            let object = segment.row.object;
            let chunk = objects.chunk(object, &part, blocks).await?;
            objects.read_ahead(&index, partition, block);
            for batch in &chunk.batches {
                if batch.end <= next {
                    continue;
                }
                if batch.base >= until {
                    return Ok(true);
                }
                next = batch.end;
                if !visit(batch.clone()) {
                    return Ok(false);
                }
            }
        }
        if next >= until {
            return Ok(true);
        }
    }
    Ok(true)
}

/// The first batch between `from` and `until` that has a timestamp at or after `ms`.
pub(crate) async fn by_time(
    objects: &Arc<Objects>,
    rows: &Rows,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    ms: i64,
) -> Result<Option<StoredBatch>, ObjectError> {
    let first = locate(objects, &rows.segments, partition, from).await?;
    let late = rows.segments[first..].iter();
    for segment in late.filter(|s| s.row.max_timestamp >= ms) {
        let index = objects.index(segment).await?;
        let Some(part) = index.find(partition) else {
            continue;
        };
        if part.base() >= until {
            return Ok(None);
        }
        let mut at = part.seek(from);
        while let Some(block) = part.seek_time(at, ms) {
            let blocks = objects.chunk_of(&part, block);
            at = blocks.end;
            let object = segment.row.object;
            let chunk = objects.chunk(object, &part, blocks).await?;
            let hit = |b: &&StoredBatch| b.end > from && b.max_timestamp >= ms;
            if let Some(found) = chunk.batches.iter().find(hit) {
                return Ok(Some(found.clone()).filter(|b| b.base < until));
            }
        }
    }
    Ok(None)
}

/// End of the partition's newest cold segment.
pub(crate) async fn end(
    objects: &Objects,
    rows: &Rows,
    partition: PartitionId,
) -> Result<Option<Offset>, ObjectError> {
    for segment in rows.segments.iter().rev() {
        let index = objects.index(segment).await?;
        if let Some(part) = index.find(partition) {
            return Ok(Some(part.end()));
        }
    }
    Ok(None)
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
