//! Reading cold segments: footer indexes and chunks of batches in caches that are bounded in bytes.
//!
//! A chunk is the unit of a GET: neighbouring blocks coalesced into one range. Whoever asks for the same index or chunk
//! at the same time shares one GET.

use std::hash::BuildHasherDefault;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use tidemark_blob::{BadKey, BlobError, BlobErrorKind, BlobKey, BlobStore, Remedy};
use tidemark_records::{BatchHeader, PREFIX_BYTES};
use tidemark_runtime::{Backoff, Clock, Entropy, IdHasher, Tasks};
use tidemark_segment::{Index, Partition, verify};
use tidemark_types::{DecodeError, Epoch, ObjectId, PartitionId, ShardId};
use tokio::sync::Semaphore;

use super::config::TierConfig;
use super::counters::{Counters, add, count};
use super::rows::Located;
use crate::view::StoredBatch;

/// Bookkeeping of a batch in a chunk beside its bytes.
const BATCH_OVERHEAD_BYTES: usize = 120;
/// Tries of one read: about four seconds in all.
const TRIES: u32 = 6;

/// Why a cold segment could not be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ObjectError {
    /// It is not there: the rows may know better (O3).
    #[error("read cold segment {0}: it is gone")]
    Gone(ObjectId),
    /// The store does not give it just now.
    #[error("{0}")]
    Store(#[from] BlobError),
    /// The store did not give it while someone waited for it.
    #[error("read cold segments: no answer within {0:?}")]
    Slow(Duration),
    /// It is not what was written.
    #[error("read cold segment {object}: {why}")]
    Damaged {
        /// The object.
        object: ObjectId,
        /// What is wrong with it.
        why: DecodeError,
    },
}

/// An object's name in the store.
pub(crate) fn object_key(object: ObjectId) -> Result<BlobKey, BadKey> {
    let sum = u64::from(object.shard.0)
        .wrapping_add(object.epoch.0)
        .wrapping_add(u64::from(object.number));
    BlobKey::new(format!("cold/{:02x}/{object}", sum % 256))
}

/// The object of that name; `None` for a name that no object of the log has.
pub(crate) fn object_of(key: &BlobKey) -> Option<ObjectId> {
    let (_, name) = key.as_str().rsplit_once('/')?;
    let mut fields = name.split('-').map(|hex| u64::from_str_radix(hex, 16));
    let mut field = || fields.next()?.ok();
    let (shard, epoch, number) = (field()?, field()?, field()?);
    let object = ObjectId {
        shard: ShardId(u32::try_from(shard).ok()?),
        epoch: Epoch(epoch),
        number: u32::try_from(number).ok()?,
    };
    // The one way to write it: no sign, no capital, no zero more or less, and in its own folder.
    let same = object_key(object).is_ok_and(|same| same == *key);
    same.then_some(object)
}

/// What the names of a shard's objects begin with, in each of the folders they are spread over.
pub(crate) fn prefix_of(shard: ShardId, folder: u8) -> String {
    format!("cold/{folder:02x}/{:08x}-", shard.0)
}

/// Batches of one partition, as they are answered.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) batches: Vec<StoredBatch>,
    weight: u64,
}

/// Whose GETs are counted.
#[derive(Clone, Copy)]
enum Use {
    Reader,
    Compaction,
}

/// Which chunk: the object, the partition, and its first block.
type ChunkKey = (ObjectId, PartitionId, usize);

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<ObjectId, Arc<Index>> for ByBytes {
    fn weight(&self, _: &ObjectId, index: &Arc<Index>) -> u64 {
        index.memory_bytes() as u64
    }
}

impl Weighter<ChunkKey, Arc<Chunk>> for ByBytes {
    fn weight(&self, _: &ChunkKey, chunk: &Arc<Chunk>) -> u64 {
        chunk.weight
    }
}

type Hasher = BuildHasherDefault<IdHasher>;
type Bounded<K, V> = Cache<K, V, ByBytes, Hasher>;

/// The object store as readers use it.
#[derive(Debug)]
pub(crate) struct Objects {
    store: Arc<dyn BlobStore>,
    indexes: Bounded<ObjectId, Arc<Index>>,
    chunks: Bounded<ChunkKey, Arc<Chunk>>,
    chunk_bytes: u32,
    ahead_chunks: usize,
    ahead: Arc<Semaphore>,
    counters: Arc<Counters>,
    clock: Clock,
    entropy: Entropy,
    tasks: Tasks,
}

fn bounded<K, V>(bytes: u64, item_bytes: u64) -> Bounded<K, V>
where
    K: Eq + std::hash::Hash,
    V: Clone,
    ByBytes: Weighter<K, V>,
{
    let items = usize::try_from(bytes / item_bytes).unwrap_or(usize::MAX);
    let options = OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(items.clamp(16, 1 << 20))
        .weight_capacity(bytes)
        .build()
        .expect("both capacities are given");
    Cache::with_options(
        options,
        ByBytes,
        Hasher::default(),
        DefaultLifecycle::default(),
    )
}

impl Objects {
    pub(crate) fn new(
        store: Arc<dyn BlobStore>,
        config: &TierConfig,
        counters: Arc<Counters>,
        clock: Clock,
        entropy: Entropy,
        tasks: Tasks,
    ) -> Self {
        Self {
            store,
            indexes: bounded(config.index_cache_bytes, 16 << 10),
            chunks: bounded(config.chunk_cache_bytes, u64::from(config.chunk_bytes)),
            chunk_bytes: config.chunk_bytes,
            ahead_chunks: config.ahead_chunks,
            ahead: Arc::new(Semaphore::new(config.ahead_max)),
            counters,
            clock,
            entropy,
            tasks,
        }
    }

    pub(crate) fn store(&self) -> &dyn BlobStore {
        self.store.as_ref()
    }

    /// Keeps an index that was just written.
    pub(crate) fn keep_index(&self, object: ObjectId, index: Index) {
        self.indexes.insert(object, Arc::new(index));
    }

    /// A segment's footer index.
    pub(crate) async fn index(
        &self,
        segment: impl Into<Located>,
    ) -> Result<Arc<Index>, ObjectError> {
        let segment = segment.into();
        let object = segment.object;
        let load = async {
            let check = |tail: Bytes| {
                let index = Index::decode(&tail, segment.index_at)?;
                let header = &index.header;
                if (header.object, header.covers) == (object, segment.covers) {
                    return Ok(Arc::new(index));
                }
                let why = "the object is another one than its row says";
                Err(DecodeError::invalid("segment index", why))
            };
            let range = segment.index_at..segment.bytes;
            self.read(Use::Reader, object, range, check).await
        };
        self.indexes.get_or_insert_async(&object, load).await
    }

    /// Some of an object's bytes for compaction, as they are, past the caches.
    pub(crate) async fn raw(
        &self,
        object: ObjectId,
        range: Range<u64>,
    ) -> Result<Bytes, ObjectError> {
        self.read(Use::Compaction, object, range, Ok).await
    }

    /// One block's batches for compaction, past the caches.
    pub(crate) async fn block(
        &self,
        object: ObjectId,
        part: &Partition<'_>,
        block: usize,
    ) -> Result<Chunk, ObjectError> {
        let blocks = block..block + 1;
        let decode = |bytes: Bytes| decode_chunk(part, blocks.clone(), &bytes);
        let range = part.range(blocks.clone());
        self.read(Use::Compaction, object, range, decode).await
    }

    /// The blocks that are read together with block `block`.
    pub(crate) fn chunk_of(&self, part: &Partition<'_>, block: usize) -> Range<usize> {
        part.window(block, self.chunk_bytes)
    }

    /// The batches of blocks `blocks`, which [`Objects::chunk_of`] answered.
    pub(crate) async fn chunk(
        &self,
        object: ObjectId,
        part: &Partition<'_>,
        blocks: Range<usize>,
    ) -> Result<Arc<Chunk>, ObjectError> {
        let key = (object, part.id(), blocks.start);
        let load = async {
            let range = part.range(blocks.clone());
            let decode = |bytes: Bytes| decode_chunk(part, blocks.clone(), &bytes).map(Arc::new);
            self.read(Use::Reader, object, range, decode).await
        };
        self.chunks.get_or_insert_async(&key, load).await
    }

    /// Has the chunks behind `after` read in the background, as far as there is room for it.
    pub(crate) fn read_ahead(
        self: &Arc<Self>,
        index: &Arc<Index>,
        partition: PartitionId,
        after: usize,
    ) {
        let Some(part) = index.find(partition) else {
            return;
        };
        let object = index.header.object;
        let mut block = after;
        for _ in 0..self.ahead_chunks {
            if block >= part.blocks().len() {
                return;
            }
            let blocks = self.chunk_of(&part, block);
            block = blocks.end;
            if self.chunks.contains_key(&(object, partition, blocks.start)) {
                continue;
            }
            let Ok(permit) = Arc::clone(&self.ahead).try_acquire_owned() else {
                return;
            };
            let (objects, index) = (Arc::clone(self), Arc::clone(index));
            self.tasks.spawn_isolated("read ahead", async move {
                let _permit = permit;
                if let Some(part) = index.find(partition) {
                    let read = objects.chunk(object, &part, blocks);
                    tokio::select! {
                        biased;
                        () = objects.tasks.stopping() => {}
                        // Whoever needs it meets the error again.
                        _ = read => {}
                    }
                }
            });
        }
    }

    /// One ranged GET, checked, and again while that may help: bytes that fail their checksum are worth another GET.
    async fn read<T>(
        &self,
        whose: Use,
        object: ObjectId,
        range: Range<u64>,
        check: impl Fn(Bytes) -> Result<T, DecodeError>,
    ) -> Result<T, ObjectError> {
        let key = object_key(object).map_err(BlobError::from)?;
        let (base, cap) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(base, cap, TRIES);
        loop {
            let (gets, get_bytes) = match whose {
                Use::Reader => (&self.counters.gets, &self.counters.get_bytes),
                Use::Compaction => (
                    &self.counters.compaction_gets,
                    &self.counters.compaction_get_bytes,
                ),
            };
            count(gets);
            let error = match self.store.get(&key, range.clone()).await {
                Ok(bytes) => {
                    add(get_bytes, bytes.len() as u64);
                    match check(bytes) {
                        Ok(value) => return Ok(value),
                        Err(why) => ObjectError::Damaged { object, why },
                    }
                }
                Err(error) if error.kind() == BlobErrorKind::NotFound => {
                    return Err(ObjectError::Gone(object));
                }
                Err(error) if error.remedy() == Remedy::Final => return Err(error.into()),
                Err(error) => error.into(),
            };
            count(&self.counters.get_failures);
            if !backoff.wait(&self.clock, &self.entropy).await {
                return Err(error);
            }
        }
    }
}

/// Checks the blocks and cuts them into batches, which share the memory of `bytes`.
pub(crate) fn decode_chunk(
    part: &Partition<'_>,
    blocks: Range<usize>,
    bytes: &Bytes,
) -> Result<Chunk, DecodeError> {
    let start = part.range(blocks.clone()).start;
    let mut batches = Vec::new();
    for i in blocks {
        let range = part.range(i..i + 1);
        let within = |at: u64| usize::try_from(at - start).ok();
        let (from, to) = (within(range.start), within(range.end));
        let block = from.zip(to).filter(|(_, to)| *to <= bytes.len());
        let block = block.map(|(from, to)| bytes.slice(from..to));
        let block = block.ok_or_else(|| DecodeError::invalid("segment block", "is cut off"))?;
        verify(&part.blocks()[i], &block)?;
        cut(block, &mut batches)?;
    }
    let weight = bytes.len() + batches.len() * BATCH_OVERHEAD_BYTES;
    Ok(Chunk {
        batches,
        weight: weight as u64,
    })
}

fn cut(mut rest: Bytes, batches: &mut Vec<StoredBatch>) -> Result<(), DecodeError> {
    let bad = |why: String| DecodeError::invalid("cold batch", why);
    while !rest.is_empty() {
        let header = BatchHeader::parse(&rest).map_err(|e| bad(e.to_string()))?;
        if header.size > rest.len() || header.size < PREFIX_BYTES {
            return Err(bad(format!("{} bytes in {}", header.size, rest.len())));
        }
        let mut batch = rest.split_to(header.size);
        let prefix = batch.split_to(PREFIX_BYTES);
        batches.push(StoredBatch {
            base: header.base_offset,
            end: header.next_offset(),
            max_timestamp: header.max_timestamp,
            prefix,
            rest: batch,
        });
    }
    Ok(())
}
