//! Reading batches: from the tail in memory, else from the journal through the sparse indexes.

use std::sync::Arc;

use tidemark_journal::{FrameKind, Reader};
use tidemark_types::{DecodeError, ExtentIdx, Lsn, Offset, PartitionId};
use tokio::time::Instant;

use crate::again::{Again, PassError};
use crate::checkpoint::Assembler;
use crate::cold::READ_BYTES;
use crate::env::Env;
use crate::error::ReadError;
use crate::head::Head;
use crate::index::{Index, ReadableExtent, Starts, starts_of};
use crate::maps::{Maps, What};
use crate::shard::{Readables, Shard};
use crate::tier;
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

/// A position in the journal: which of the readable extents, and where in it.
pub(crate) type Hint = (ExtentIdx, Lsn);

/// How a scan goes about it.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// Where to begin in the journal, when that is known.
    pub(crate) hint: Option<Hint>,
    /// Until when the object store is waited for.
    pub(crate) deadline: Instant,
}

/// Batches from the one that holds `from` on, at most `bytes_max` of them unless the first is larger and
/// `oversized` allows that. Empty at the end of the log, or when the first does not fit. What was found before an error is
/// given; whoever reads on meets the error again.
pub(crate) async fn read(
    env: &Env,
    shard: &Shard,
    view: &View,
    from: Offset,
    (bytes_max, oversized): (usize, bool),
    deadline: Instant,
) -> Result<Vec<StoredBatch>, ReadError> {
    let mut take = Take {
        batches: Vec::new(),
        bytes: 0,
        bytes_max,
        oversized,
    };
    let mut next = from;
    let tail_start = view
        .state
        .read()
        .tail_start()
        .max(clean_end(env, shard, view.id));
    if next < tail_start {
        let way = Way {
            hint: None,
            deadline,
        };
        let range = (next, tail_start);
        let mut offer = |batch| take.offer(batch);
        let scanned = scan(env, shard, view.id, range, way, &mut offer).await;
        match scanned {
            Ok(Some(reached)) => next = reached,
            Ok(None) => return Ok(take.batches),
            Err(error) if take.batches.is_empty() => return Err(error),
            Err(error) => {
                tracing::debug!(partition = %view.id, "read on later: {error}");
                return Ok(take.batches);
            }
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

/// Where a partition's compacted part ends: below it the cold segments are read, even while the journal or the tail still
/// hold what was there before.
pub(crate) fn clean_end(env: &Env, shard: &Shard, partition: PartitionId) -> Offset {
    let rows = env.tier.as_ref().map(|_| shard.cold.rows());
    rows.map_or(Offset(0), |rows| rows.clean_end(partition))
}

/// Visits a partition's batches that end above `from` and begin below `until`, in order, out of cold segments and the
/// journal, until `visit` answers `false`: then the answer is `None`. Else it is where the next batch begins, which may lie
/// behind the last one visited where compaction left a gap.
pub(crate) async fn scan(
    env: &Env,
    shard: &Shard,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    mut way: Way,
    visit: &mut (impl FnMut(StoredBatch) -> bool + Send),
) -> Result<Option<Offset>, ReadError> {
    let mut next = from;
    let mut again = Again::default();
    loop {
        let readables = shard.readables();
        let range = (next, until);
        let mut follow = |batch: StoredBatch| {
            next = batch.end;
            visit(batch)
        };
        let passed = pass(env, shard, &readables, partition, range, way, &mut follow);
        way.hint = None;
        match passed.await {
            Ok(reached) => return Ok(reached),
            // Deleted while it was read: what is left is not asked for.
            Err(PassError::Gap(_)) if begins_after(shard, partition, next) => return Ok(None),
            Err(error) => again.consider(env, shard, &readables, error).await?,
        }
    }
}

fn begins_after(shard: &Shard, partition: PartitionId, offset: Offset) -> bool {
    let view = shard.view(partition);
    view.is_none_or(|view| view.state.read().log_start > offset)
}

/// One pass over a snapshot of the readable extents, and over the rows of a moment after it: what an extent that was
/// given up held is in them (invariant 14).
async fn pass(
    env: &Env,
    shard: &Shard,
    readables: &Readables,
    partition: PartitionId,
    (from, until): (Offset, Offset),
    way: Way,
    visit: &mut (impl FnMut(StoredBatch) -> bool + Send),
) -> Result<Option<Offset>, PassError> {
    let Readables { reader, extents } = readables;
    let reader = reader.as_ref().ok_or(ReadError::NotLeader(shard.id))?;
    let known = (reader, &env.cold.maps);
    let hinted = way.hint.and_then(|(index, lsn)| {
        let at = extents.iter().position(|e| e.extent.id.index == index);
        at.map(|at| (at, lsn))
    });
    let mut next = from;
    let (first, mut at) = if let Some((first, lsn)) = hinted {
        (first, Some(lsn))
    } else {
        let hot = hot_start(known, extents, partition).await?;
        let cold = hot.max(clean_end(env, shard, partition)).min(until);
        if let Some(tier) = env.tier.as_ref().filter(|_| next < cold) {
            let rows = shard.cold.rows();
            let range = (from, cold);
            let scanned = tier::scan::scan(&tier.objects, &rows, partition, range, visit);
            let reached = tier::scan::by(way.deadline, scanned).await?;
            let Some(reached) = reached else {
                return Ok(None);
            };
            next = reached;
            if next < cold {
                return Err(PassError::Gap(next));
            }
        }
        (locate(known, extents, partition, next).await?, None)
    };
    for extent in &extents[first..] {
        let start = match at.take() {
            Some(lsn) => Some(lsn),
            None => {
                let look = |index: &Index| index.seek(partition, next);
                with_index(known, extent, look).await?
            }
        };
        let Some(mut lsn) = start else { continue };
        let end = extent.end();
        while lsn < end && next < until {
            for frame in env.cold.frames(reader, extent, lsn, end).await? {
                lsn = frame.lsn.next();
                for batch in frame.batches(partition) {
                    if batch.end <= next {
                        continue;
                    }
                    if batch.base >= until {
                        return Ok(Some(next));
                    }
                    next = batch.end;
                    if !visit(batch) {
                        return Ok(None);
                    }
                }
            }
        }
        if next >= until {
            break;
        }
    }
    Ok(Some(next))
}

/// The first offset of a partition that the readable extents hold, or would hold.
pub(crate) async fn hot_start(
    known: (&Reader, &Maps),
    extents: &[Arc<ReadableExtent>],
    partition: PartitionId,
) -> Result<Offset, ReadError> {
    for extent in extents {
        // One without a complete checkpoint holds nothing (J1).
        if let Some(starts) = starts(known, extent).await? {
            let start = starts.get(&partition);
            return Ok(start.map_or(Offset(0), |start| start.next_offset));
        }
    }
    Ok(Offset(0))
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
