//! What of each partition still lies only in objects of all partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_segment::Index;
use tidemark_types::{Offset, PartitionId};

use super::objects::{ObjectError, Objects};
use super::rows::{Level0, Rows};
use crate::shard::Shard;

/// One partition's parts.
#[derive(Debug, Default)]
pub(crate) struct Loose {
    /// First offset, which the partition's own segments do not cover.
    pub(crate) base: Offset,
    /// Bytes of the parts.
    pub(crate) bytes: u64,
    /// Which of the segments hold some, ascending.
    pub(crate) segments: Vec<usize>,
}

/// The segments that were looked at, with their indexes, and what is in them.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) segments: Vec<(Level0, Arc<Index>)>,
    pub(crate) partitions: BTreeMap<PartitionId, Loose>,
}

impl Inventory {
    /// Of the oldest `segments_max` segments, as far as `wanted` says. What nobody can read is left out.
    pub(crate) async fn take(
        objects: &Objects,
        shard: &Shard,
        rows: &Rows,
        segments_max: usize,
        wanted: impl Fn(PartitionId) -> bool,
    ) -> Result<Self, ObjectError> {
        let mut all = Self::default();
        for segment in rows.segments.iter().take(segments_max) {
            let index = objects.index(segment).await?;
            let at = all.segments.len();
            for part in index.partitions() {
                let id = part.id();
                let covered = rows.own_end(id).max(log_start(shard, id));
                if part.end() <= covered || !wanted(id) {
                    continue;
                }
                let loose = all.partitions.entry(id).or_insert_with(|| Loose {
                    base: part.base().max(rows.own_end(id)),
                    ..Loose::default()
                });
                loose.bytes += part.bytes();
                loose.segments.push(at);
            }
            all.segments.push((*segment, index));
        }
        Ok(all)
    }
}

/// Where a partition begins; nowhere when its topic is gone.
pub(crate) fn log_start(shard: &Shard, partition: PartitionId) -> Offset {
    let view = shard.view(partition);
    view.map_or(Offset(i64::MAX), |view| view.state.read().log_start)
}
