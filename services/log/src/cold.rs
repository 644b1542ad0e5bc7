//! Frames read back from the journal, kept for a while.
//!
//! A shard multiplexes its partitions, so whoever catches up on several of them reads the same frames once per
//! partition. A frame never changes (J7) and only frames below a committed or sealed end get here (J6), so nothing
//! here is ever stale.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_journal::{ExtentId, Frame, FrameKind, Reader, read_memory_bytes_max};
use tidemark_records::PREFIX_BYTES;
use tidemark_runtime::FastMap;
use tidemark_types::{Lsn, PartitionId};

use crate::error::ReadError;
use crate::head::Head;
use crate::index::ReadableExtent;
use crate::maps::Maps;
use crate::owner::stored;
use crate::view::StoredBatch;

/// Bytes of one read from the journal.
pub(crate) const READ_BYTES: usize = 1 << 20;
/// The same while what a fetch leaves serves the next one: half as many waits for the disk.
const READ_BYTES_AHEAD: usize = 2 << 20;
/// So many reads in a row are used up before they leave, then reads go ahead (again): what fills a cache of 32 MiB twice.
const USED_UP_MIN: u32 = 64;
/// Bookkeeping a kept frame costs beside its bytes.
const FRAME_OVERHEAD_BYTES: usize = 512;

/// A frame, decoded.
#[derive(Debug)]
pub(crate) struct ColdFrame {
    pub(crate) lsn: Lsn,
    /// Absent for a frame without data.
    data: Option<(Head, Vec<(Bytes, u32)>)>,
    cost: usize,
    /// Somebody looked for batches in it.
    used: AtomicBool,
}

impl ColdFrame {
    fn decode(frame: Frame) -> Result<Self, ReadError> {
        let cost = read_memory_bytes_max(frame.encoded_len()) + FRAME_OVERHEAD_BYTES;
        let data = if frame.body.kind == FrameKind::Data {
            let head = Head::decode(&frame.body.head)?;
            let parts = frame.body.parts.into_iter().map(|p| (p.bytes, p.crc));
            Some((head, parts.collect()))
        } else {
            None
        };
        Ok(Self {
            lsn: frame.lsn,
            data,
            cost,
            used: AtomicBool::new(false),
        })
    }

    /// The frame's batches of one partition, in order.
    pub(crate) fn batches(&self, partition: PartitionId) -> impl Iterator<Item = StoredBatch> {
        self.used.store(true, Ordering::Relaxed);
        let (head, parts) = self.data.as_ref().map(|(h, p)| (h, p)).unzip();
        let entries = head.into_iter().flat_map(Head::batches);
        let ours = entries.zip(parts.into_iter().flatten());
        ours.filter(move |(batch, _)| batch.partition == partition)
            .map(|(batch, (bytes, crc))| {
                let prefix: [u8; PREFIX_BYTES] = batch.prefix(bytes.len(), *crc);
                stored(batch, Bytes::copy_from_slice(&prefix), bytes)
            })
    }
}

/// The kept frames of all shards, first in, first out. Frames of one read share memory, so they go together.
#[derive(Debug)]
pub(crate) struct ColdCache {
    /// What is known of sealed extents.
    pub(crate) maps: Maps,
    bytes_max: usize,
    kept: Mutex<Kept>,
    /// Reads of the journal that are under way.
    reading: AtomicUsize,
}

#[derive(Debug)]
struct Kept {
    bytes: usize,
    frames: FastMap<(ExtentKey, u64), Arc<ColdFrame>>,
    reads: VecDeque<KeptRead>,
    /// Reads in a row that left used up. Too many readers for the cache push out what was read ahead for the others.
    used_up: u32,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            bytes: 0,
            frames: FastMap::default(),
            reads: VecDeque::new(),
            used_up: USED_UP_MIN,
        }
    }
}

impl Kept {
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.reads.pop_front() else {
            return false;
        };
        self.bytes -= oldest.cost;
        let mut used_up = true;
        for key in oldest.keys {
            if let Some(frame) = self.frames.remove(&key) {
                used_up &= frame.used.load(Ordering::Relaxed);
            }
        }
        self.used_up = if used_up {
            self.used_up.saturating_add(1)
        } else {
            0
        };
        true
    }
}

/// The frames of one read that are kept, and what its memory takes.
#[derive(Debug)]
struct KeptRead {
    cost: usize,
    keys: Vec<(ExtentKey, u64)>,
}

/// An extent's id as hashed words.
type ExtentKey = (u32, u64);

const fn key(extent: ExtentId, lsn: Lsn) -> (ExtentKey, u64) {
    ((extent.shard.0, extent.index.0), lsn.0)
}

impl ColdCache {
    pub(crate) fn new(bytes_max: usize, maps: Maps) -> Self {
        Self {
            maps,
            bytes_max,
            kept: Mutex::default(),
            reading: AtomicUsize::new(0),
        }
    }

    /// The frame at `lsn` and those after it that are at hand, at least one. `end` is never passed (J6).
    pub(crate) async fn frames(
        &self,
        reader: &Reader,
        extent: &ReadableExtent,
        lsn: Lsn,
        end: Lsn,
    ) -> Result<Vec<Arc<ColdFrame>>, ReadError> {
        if let Some(frame) = self.kept.lock().frames.get(&key(extent.extent.id, lsn)) {
            return Ok(vec![Arc::clone(frame)]);
        }
        let reading = Reading::one_more(&self.reading);
        let bytes_max = self.read_bytes(&reading);
        let read = reader.read(&extent.extent, lsn, end, bytes_max).await?;
        let mut frames = Vec::with_capacity(read.len());
        for frame in read {
            frames.push(Arc::new(ColdFrame::decode(frame)?));
        }
        self.keep(extent.extent.id, &frames);
        Ok(frames)
    }

    /// Many reads at once would hold, and push out, more than the cache does: they do not go ahead.
    fn read_bytes(&self, reading: &Reading<'_>) -> usize {
        let few = reading.in_all * READ_BYTES_AHEAD <= self.bytes_max / 2;
        if few && self.kept.lock().used_up >= USED_UP_MIN {
            READ_BYTES_AHEAD
        } else {
            READ_BYTES
        }
    }

    fn keep(&self, extent: ExtentId, frames: &[Arc<ColdFrame>]) {
        let mut kept = self.kept.lock();
        let mut keys = Vec::with_capacity(frames.len());
        for frame in frames {
            let key = key(extent, frame.lsn);
            if let Entry::Vacant(free) = kept.frames.entry(key) {
                free.insert(Arc::clone(frame));
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return;
        }
        // One frame holds the memory of its read, all of it, whoever else is kept.
        let cost = frames.iter().map(|frame| frame.cost).sum();
        kept.bytes += cost;
        kept.reads.push_back(KeptRead { cost, keys });
        while kept.bytes > self.bytes_max && kept.drop_oldest() {}
    }
}

/// A read that is under way, until dropped.
struct Reading<'a> {
    count: &'a AtomicUsize,
    in_all: usize,
}

impl<'a> Reading<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        let in_all = count.fetch_add(1, Ordering::Relaxed) + 1;
        Self { count, in_all }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tidemark_journal::FrameBody;
    use tidemark_types::{Epoch, ExtentIdx, PartitionIndex, ShardId, TopicId};

    use super::*;

    fn frames(range: std::ops::Range<u64>) -> Vec<Arc<ColdFrame>> {
        let frame = |lsn| {
            let body = FrameBody {
                kind: FrameKind::Checkpoint,
                head: Bytes::from_static(&[0; 1000]),
                parts: Vec::new(),
            };
            let frame = Frame::pack(id(), Lsn(lsn), Epoch(1), 0, body);
            Arc::new(ColdFrame::decode(frame).unwrap())
        };
        range.map(frame).collect()
    }

    fn id() -> ExtentId {
        ExtentId {
            shard: ShardId(0),
            index: ExtentIdx(0),
        }
    }

    /// Reads that leave with frames nobody looked at are made no larger until many in a row were of use.
    #[test]
    fn it_reads_ahead_only_while_that_is_of_use() {
        let partition = PartitionId {
            topic: TopicId(1),
            index: PartitionIndex(0),
        };
        let cost = frames(0..1)[0].cost;
        let two = READ_BYTES_AHEAD * 2;
        let mut cache = ColdCache::new(two, Maps::new(1 << 20));
        let mut next = 0;
        let mut read = |cache: &ColdCache, used: usize| {
            let read = frames(next..next + 2);
            next += 2;
            cache.keep(id(), &read);
            for frame in &read[..used] {
                assert_eq!(frame.batches(partition).count(), 0);
            }
        };
        let read_bytes = |cache: &ColdCache| cache.read_bytes(&Reading::one_more(&cache.reading));
        assert_eq!(read_bytes(&cache), READ_BYTES_AHEAD);
        let others = Reading::one_more(&cache.reading);
        assert_eq!(read_bytes(&cache), READ_BYTES, "two at once are too many");
        drop(others);
        // Room for one of the reads below, whatever it allows for larger ones.
        let keep = |cache: &mut ColdCache, bytes_max| cache.bytes_max = bytes_max;
        keep(&mut cache, cost * 2);
        read(&cache, 2);
        read(&cache, 1);
        read(&cache, 2);
        keep(&mut cache, two);
        assert_eq!(
            read_bytes(&cache),
            READ_BYTES,
            "one left that was not used up"
        );
        keep(&mut cache, cost * 2);
        for _ in 0..USED_UP_MIN - 1 {
            read(&cache, 2);
        }
        keep(&mut cache, two);
        assert_eq!(read_bytes(&cache), READ_BYTES);
        keep(&mut cache, cost * 2);
        read(&cache, 2);
        keep(&mut cache, two);
        assert_eq!(read_bytes(&cache), READ_BYTES_AHEAD);
    }
}
