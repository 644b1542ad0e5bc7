//! Reading batches: from the tail in memory, else from the journal through the sparse indexes.

use std::sync::Arc;

use tidemark_journal::{FrameKind, Reader};
use tidemark_types::{DecodeError, Lsn, Offset, PartitionId};

use crate::checkpoint::Assembler;
use crate::cold::{ColdCache, READ_BYTES};
use crate::error::ReadError;
use crate::head::Head;
use crate::index::{Index, ReadableExtent, Starts, starts_of};
use crate::maps::{Maps, What};
use crate::shard::{Readables, Shard};
use crate::view::{StoredBatch, View};

impl From<tidemark_journal::ReadError> for ReadError {
    fn from(error: tidemark_journal::ReadError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// Batches from the one that holds `from` on, at most `bytes_max` of them unless the first is larger and
/// `oversized` allows that. Empty at the end of the log, or when the first does not fit.
pub(crate) async fn read(
    cold: &ColdCache,
    shard: &Shard,
    view: &View,
    from: Offset,
    bytes_max: usize,
    oversized: bool,
) -> Result<Vec<StoredBatch>, ReadError> {
    let mut take = Take {
        batches: Vec::new(),
        bytes: 0,
        bytes_max,
        oversized,
    };
    let mut next = from;
    let tail_start = view.state.read().tail_start();
    if next < tail_start {
        let more = scan(cold, shard, view.id, next, tail_start, None, &mut |batch| {
            next = batch.end;
            take.offer(batch)
        })
        .await?;
        if !more {
            return Ok(take.batches);
        }
    }
    let shown = view.state.read();
    for batch in shown.tail_from(next) {
        // The tail may have lost its oldest batches meanwhile: a gap ends this read.
        if batch.base > next || !take.offer(batch.clone()) {
            break;
        }
        next = batch.end;
    }
    Ok(take.batches)
}

/// What a read takes, within its bounds.
struct Take {
    batches: Vec<StoredBatch>,
    bytes: usize,
    bytes_max: usize,
    oversized: bool,
}

impl Take {
    /// `false`: full, this batch is not taken.
    fn offer(&mut self, batch: StoredBatch) -> bool {
        let bytes = self.bytes + batch.len();
        if bytes > self.bytes_max && !(self.batches.is_empty() && self.oversized) {
            return false;
        }
        self.bytes = bytes;
        self.batches.push(batch);
        true
    }
}

/// Visits a partition's batches that end above `from` and begin below `until`, in order, out of the journal,
/// until `visit` answers `false`; then the answer is `false` too. `hint` says where to begin when that is known.
pub(crate) async fn scan(
    cold: &ColdCache,
    shard: &Shard,
    partition: PartitionId,
    from: Offset,
    until: Offset,
    hint: Option<(usize, Lsn)>,
    visit: &mut (impl FnMut(StoredBatch) -> bool + Send),
) -> Result<bool, ReadError> {
    let Readables { reader, extents } = shard.readables();
    let reader = reader.ok_or(ReadError::NotLeader(shard.id))?;
    let (first, mut at) = match hint {
        Some((extent, lsn)) => (extent, Some(lsn)),
        None => (
            locate((&reader, &cold.maps), &extents, partition, from).await?,
            None,
        ),
    };
    let mut next = from;
    for extent in &extents[first..] {
        let start = match at.take() {
            Some(lsn) => Some(lsn),
            None => {
                let look = |index: &Index| index.seek(partition, next);
                with_index((&reader, &cold.maps), extent, look).await?
            }
        };
        let Some(mut lsn) = start else { continue };
        let end = extent.end();
        while lsn < end && next < until {
            for frame in cold.frames(&reader, extent, lsn, end).await? {
                lsn = frame.lsn.next();
                for batch in frame.batches(partition) {
                    if batch.end <= next {
                        continue;
                    }
                    if batch.base >= until {
                        return Ok(true);
                    }
                    next = batch.end;
                    if !visit(batch) {
                        return Ok(false);
                    }
                }
            }
        }
        if next >= until {
            break;
        }
    }
    Ok(true)
}

/// The extent that holds an offset: the last one whose checkpoint does not lie behind it.
async fn locate(
    known: (&Reader, &Maps),
    extents: &[Arc<ReadableExtent>],
    partition: PartitionId,
    offset: Offset,
) -> Result<usize, ReadError> {
    last_where(known, extents, |starts| {
        starts
            .get(&partition)
            .is_none_or(|start| start.next_offset <= offset)
    })
    .await
}

/// The last extent before which every batch's timestamp is below `timestamp`.
pub(crate) async fn locate_time(
    known: (&Reader, &Maps),
    extents: &[Arc<ReadableExtent>],
    partition: PartitionId,
    timestamp: i64,
) -> Result<usize, ReadError> {
    last_where(known, extents, |starts| {
        starts
            .get(&partition)
            .and_then(|start| start.max_timestamp)
            .is_none_or(|max| max < timestamp)
    })
    .await
}

/// Binary search for the last extent whose checkpoint satisfies `holds`, which is true up to some extent and
/// false from there on; the first extent when none does. Never an extent without a complete checkpoint (J1), unless
/// it is the first: it holds nothing, and what is looked for lies before it.
async fn last_where(
    known: (&Reader, &Maps),
    extents: &[Arc<ReadableExtent>],
    holds: impl Fn(&Starts) -> bool,
) -> Result<usize, ReadError> {
    let (mut low, mut high) = (0, extents.len());
    let mut found = 0;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        // Its neighbour below decides for an extent without a complete checkpoint.
        let mut probe = middle;
        let mut starts = starts(known, &extents[probe]).await?;
        while starts.is_none() && probe > low + 1 {
            probe -= 1;
            starts = self::starts(known, &extents[probe]).await?;
        }
        match starts {
            Some(starts) if !holds(&starts) => high = probe,
            Some(_) => (low, found) = (middle, probe),
            None => low = middle,
        }
    }
    Ok(found)
}

/// What an extent's checkpoint says; read once. `None`: it has no complete one.
async fn starts(
    (reader, maps): (&Reader, &Maps),
    extent: &Arc<ReadableExtent>,
) -> Result<Option<Arc<Starts>>, ReadError> {
    let known = extent.starts.read().clone();
    if known.is_some() {
        maps.used(extent, What::Starts);
        return Ok(known);
    }
    let mut assembler = Assembler::new();
    let (mut lsn, end) = (extent.extent.first, extent.end());
    while lsn < end {
        for frame in reader.read(&extent.extent, lsn, end, READ_BYTES).await? {
            lsn = frame.lsn.next();
            match frame.body.kind {
                FrameKind::Checkpoint => assembler.part(&frame.body.head)?,
                FrameKind::CheckpointEnd => {
                    let state = assembler.end(&frame.body.head)?;
                    let starts = Arc::new(starts_of(&state));
                    *extent.starts.write() = Some(Arc::clone(&starts));
                    maps.keep(extent, What::Starts);
                    return Ok(Some(starts));
                }
                FrameKind::Data => return Ok(None),
            }
        }
    }
    Ok(None)
}

/// Looks something up in an extent's index, which is built by one scan of the extent if need be.
pub(crate) async fn with_index<T>(
    (reader, maps): (&Reader, &Maps),
    extent: &Arc<ReadableExtent>,
    look: impl Fn(&Index) -> T,
) -> Result<T, ReadError> {
    let found = extent.index.read().as_ref().map(&look);
    if let Some(found) = found {
        maps.used(extent, What::Index);
        return Ok(found);
    }
    // One scan at a time: whoever comes second finds it done.
    let _scanning = extent.scanning.lock().await;
    if let Some(index) = &*extent.index.read() {
        return Ok(look(index));
    }
    let mut index = Index::default();
    let (mut lsn, end) = (extent.extent.first, extent.end());
    while lsn < end {
        for frame in reader.read(&extent.extent, lsn, end, READ_BYTES).await? {
            lsn = frame.lsn.next();
            if frame.body.kind == FrameKind::Data {
                let head = Head::decode(&frame.body.head)?;
                let sizes = frame.body.parts.iter().map(|p| p.bytes.len());
                index.note(frame.lsn, &head, sizes);
            }
        }
    }
    let found = look(&index);
    *extent.index.write() = Some(index);
    maps.keep(extent, What::Index);
    Ok(found)
}
