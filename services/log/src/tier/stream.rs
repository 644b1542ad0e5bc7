//! One object read from its front to its back by compaction: few large GETs, past the readers' caches.
//!
//! # Bounds
//! Many objects are read side by side, a partition of each at a time, and what was read of one beyond that partition waits in
//! memory: at most `window` bytes of each. A part that takes half of that or more is read up to its own end only, by GETs of up
//! to `large` bytes, and nothing of it waits. So every GET but an object's last has at least half of `window`.

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
    /// Bytes of a GET that reaches into other partitions' parts, unless a single block is larger.
    window: u64,
    /// Bytes of a GET within one partition's part.
    large: u64,
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
            large: window,
            at: 0,
            held: Bytes::new(),
        })
    }

    /// With GETs of up to `bytes` within one partition's part.
    pub(crate) fn by_large(mut self, bytes: u64) -> Self {
        self.large = self.window.max(bytes);
        self
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
            let own_end = part.range(0..part.blocks().len()).end;
            let end = match own_end - range.start >= self.window / 2 {
                true => own_end.min(range.start + self.large),
                false => self.data_end.min(range.start + self.window),
            };
            let end = range.end.max(end);
            self.held = Bytes::new();
            self.held = objects.raw(self.object, range.start..end).await?;
            self.at = range.start;
        }
        let bytes = self.slice(&range);
        if range.end >= self.at + self.held.len() as u64 {
            // Nothing more of it will be asked for.
            self.held = Bytes::new();
        }
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

#[cfg(test)]
mod tests {
    use tidemark_blob::{BlobStore, Put, sim::Sim};
    use tidemark_records::{BatchBuilder, Compression, PREFIX_BYTES};
    use tidemark_runtime::{Clock, Entropy, Tasks};
    use tidemark_segment::{BatchSpan, Builder};
    use tidemark_types::{Epoch, Lsn, PartitionIndex, ShardId, TopicId};

    use super::*;
    use crate::tier::config::TierConfig;
    use crate::tier::counters::Counters;
    use crate::tier::objects::object_key;

    const WINDOW: u64 = 128 << 10;

    fn partition(index: i32) -> PartitionId {
        PartitionId {
            topic: TopicId(1),
            index: PartitionIndex(index),
        }
    }

    /// A batch of 10 KiB that begins at `base`.
    fn batch(base: i64) -> (BatchSpan, Bytes, Bytes) {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(0, None, Some(&[7; 10 << 10]), &[]).unwrap();
        let mut bytes = builder.build().unwrap().bytes().to_vec();
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        let mut prefix = Bytes::from(bytes);
        let rest = prefix.split_off(PREFIX_BYTES);
        let span = BatchSpan {
            base: Offset(base),
            end: Offset(base + 1),
            max_timestamp: 0,
        };
        (span, prefix, rest)
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_of_a_large_part_and_no_more_than_a_window_of_small_ones() {
        let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(7));
        let object = ObjectId {
            shard: ShardId(1),
            epoch: Epoch(1),
            number: 1,
        };
        // 1 MiB of the first partition, 60 KiB of each other.
        let mut builder = Builder::new(object, Lsn(0));
        for (index, batches) in (0..9).map(|i| (i, if i == 0 { 100 } else { 6 })) {
            for base in 0..batches {
                let (span, prefix, rest) = batch(base);
                builder.push(partition(index), span, prefix, rest).unwrap();
            }
        }
        let built = builder.finish(Lsn(9));
        let store = Arc::new(Sim::new(&clock));
        let put = Put::new(object_key(object).unwrap(), built.chunks, &entropy);
        store.put(put).await.unwrap();
        let counters = Arc::new(Counters::default());
        let config = TierConfig::default();
        let tasks = Tasks::new();
        let objects = Objects::new(store, &config, counters, clock, entropy, tasks);
        let located = Located {
            object,
            bytes: built.bytes,
            index_at: built.index_at,
            covers: built.index.header.covers,
        };
        let stream = Stream::open(&objects, located, WINDOW).await.unwrap();
        let mut stream = stream.by_large(2 << 20);
        for index in 0..9 {
            let mut read = 0;
            let mut batches = stream.batches(partition(index), Offset(0));
            while let Some(some) = batches.next(&objects).await.unwrap() {
                read += some.len();
                let held = batches.stream.held.len() as u64;
                assert!(held <= if index == 0 { 2 << 20 } else { WINDOW });
            }
            assert_eq!(read, if index == 0 { 100 } else { 6 });
            if index == 0 {
                assert!(stream.held.is_empty(), "{} bytes wait", stream.held.len());
            }
        }
        assert!(stream.held.is_empty());
    }
}
