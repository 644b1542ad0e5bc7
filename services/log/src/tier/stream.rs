//! One object read from its front to its back by compaction: few large GETs, past the readers' caches.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tidemark_segment::{Index, Partition};
use tidemark_types::{ObjectId, Offset, PartitionId};

use super::objects::{ObjectError, Objects, decode_chunk};
use super::rows::Located;
use crate::view::StoredBatch;

/// An object and the window of it that is at hand.
#[derive(Debug)]
pub(crate) struct Stream {
    object: ObjectId,
    index: Arc<Index>,
    /// End of the batches, bytes.
    data_end: u64,
    /// Bytes of a GET, unless a single block is larger.
    window: u64,
    /// Where `held` begins.
    at: u64,
    held: Bytes,
}

impl Stream {
    pub(crate) async fn open(
        objects: &Objects,
        segment: Located,
        window: u64,
    ) -> Result<Self, ObjectError> {
        Ok(Self {
            object: segment.object,
            index: objects.index(segment).await?,
            data_end: segment.index_at,
            window,
            at: 0,
            held: Bytes::new(),
        })
    }

    /// The partition's batches that end above `from`.
    pub(crate) fn batches(&mut self, partition: PartitionId, from: Offset) -> Batches<'_> {
        let part = self.index.find(partition);
        Batches {
            block: part.map_or(0, |part| part.seek(from)),
            partition,
            from,
            stream: self,
        }
    }

    async fn block(
        &mut self,
        objects: &Objects,
        part: &Partition<'_>,
        block: usize,
    ) -> Result<Vec<StoredBatch>, ObjectError> {
        let range = part.range(block..block + 1);
        if self.slice(&range).is_none() {
            let end = range.end.max(self.data_end.min(range.start + self.window));
            self.held = Bytes::new();
            self.held = objects.raw(self.object, range.start..end).await?;
            self.at = range.start;
        }
        let bytes = self.slice(&range);
        let checked = bytes.and_then(|bytes| decode_chunk(part, block..block + 1, &bytes).ok());
        let chunk = match checked {
            Some(chunk) => chunk,
            // Bytes that fail their checksum are worth another GET, of this block alone.
            None => objects.block(self.object, part, block).await?,
        };
        Ok(chunk.batches)
    }

    fn slice(&self, range: &Range<u64>) -> Option<Bytes> {
        let from = usize::try_from(range.start.checked_sub(self.at)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(self.at)?).ok()?;
        (to <= self.held.len()).then(|| self.held.slice(from..to))
    }
}

/// A partition's batches, a block at a time.
#[derive(Debug)]
pub(crate) struct Batches<'a> {
    stream: &'a mut Stream,
    partition: PartitionId,
    block: usize,
    from: Offset,
}

impl Batches<'_> {
    /// The next block's batches; `None` behind the last. They share the memory of the stream's window.
    pub(crate) async fn next(
        &mut self,
        objects: &Objects,
    ) -> Result<Option<Vec<StoredBatch>>, ObjectError> {
        let index = Arc::clone(&self.stream.index);
        let part = index.find(self.partition);
        let Some(part) = part.filter(|part| self.block < part.blocks().len()) else {
            return Ok(None);
        };
        // Compaction is never in a hurry: whoever serves clients goes first.
        tokio::task::yield_now().await;
        let mut batches = self.stream.block(objects, &part, self.block).await?;
        self.block += 1;
        batches.retain(|batch| batch.end > self.from);
        Ok(Some(batches))
    }
}
