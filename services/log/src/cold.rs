//! Frames read back from the journal, kept for a while.
//!
//! A shard multiplexes its partitions, so whoever catches up on several of them reads the same frames once per
//! partition. A frame never changes (J7) and only frames below a committed or sealed end get here (J6), so nothing
//! here is ever stale.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;

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
/// Bookkeeping a kept frame costs beside its bytes.
const FRAME_OVERHEAD_BYTES: usize = 512;

/// A frame, decoded.
#[derive(Debug)]
pub(crate) struct ColdFrame {
    pub(crate) lsn: Lsn,
    /// Absent for a frame without data.
    data: Option<(Head, Vec<(Bytes, u32)>)>,
    cost: usize,
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
        })
    }

    /// The frame's batches of one partition, in order.
    pub(crate) fn batches(&self, partition: PartitionId) -> impl Iterator<Item = StoredBatch> {
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
}

#[derive(Debug, Default)]
struct Kept {
    bytes: usize,
    frames: FastMap<(ExtentKey, u64), Arc<ColdFrame>>,
    reads: VecDeque<KeptRead>,
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
        let read = reader.read(&extent.extent, lsn, end, READ_BYTES).await?;
        let mut frames = Vec::with_capacity(read.len());
        for frame in read {
            frames.push(Arc::new(ColdFrame::decode(frame)?));
        }
        self.keep(extent.extent.id, &frames);
        Ok(frames)
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
        while kept.bytes > self.bytes_max
            && let Some(oldest) = kept.reads.pop_front()
        {
            kept.bytes -= oldest.cost;
            for key in oldest.keys {
                kept.frames.remove(&key);
            }
        }
    }
}
