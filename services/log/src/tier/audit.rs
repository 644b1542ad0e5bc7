//! Holds the object store against the metadata: every object that a row names is there and whole, what is readable is
//! covered once, and nothing lies around. Changes nothing.
//!
//! # Consistency
//! The rows are read in pages, so nobody may change them meanwhile: it is for a stopped service.

use std::collections::{BTreeMap, BTreeSet};

use tidemark_blob::{BadKey, BlobError, BlobErrorKind, BlobKey, BlobStore, List};
use tidemark_meta::keys::cold::{GarbageKey, GarbageRow, PendingKey, PendingRow};
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::partition::PartitionKey;
use tidemark_meta::keys::shard::{ShardKey, ShardRow};
use tidemark_meta::keys::{self, Key, KeyRange};
use tidemark_meta::{MetaError, MetaStore, Mode};
use tidemark_segment::{Covers, HEADER_BYTES, Header, Index};
use tidemark_types::{DecodeError, Lsn, ObjectId, Offset, PartitionId, ShardId};

use super::objects::{decode_chunk, object_key};
use super::rows::{self, Located, Rows};
use super::state;

/// Rows read in one transaction.
const PAGE: usize = 500;
/// Bytes of one read of an object, unless a single block is larger.
const READ_BYTES: u32 = 4 << 20;
/// What the names of cold segments begin with.
const PREFIX: &str = "cold/";

/// What [`audit`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Objects that rows name, each read to its last byte.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that are being written, or wait to be deleted.
    pub passing: u64,
    /// Objects that rows name and that are not there, or not whole.
    pub bad: Vec<BadObject>,
    /// What ought to be readable and is covered by nothing, or twice.
    pub uncovered: Vec<Uncovered>,
    /// Objects that no row names, older than the age that was asked for.
    pub orphans: Vec<Orphan>,
}

impl Audit {
    /// Whether everything that ought to be readable is. Orphans only cost room.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.bad.is_empty() && self.uncovered.is_empty()
    }
}

/// An object that cannot be read as its row says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadObject {
    /// Its name in the store.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

/// A gap, or an overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uncovered {
    /// The shard.
    pub shard: ShardId,
    /// What of it.
    pub why: String,
}

/// An object that no row names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Orphan {
    /// Its name in the store.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The rows cannot be read.
    #[error("read the rows of cold segments: {0}")]
    Meta(#[from] MetaError),
    /// The object store does not answer.
    #[error("{0}")]
    Blob(#[from] BlobError),
    /// A name that the store does not take.
    #[error("{0}")]
    Key(#[from] BadKey),
}

/// Checks every shard's cold segments. `orphans_before_ms`: younger objects without a row are left out, ms since the Unix
/// epoch; they may be of a put whose outcome was unknown.
///
/// # Errors
/// [`AuditError`]: a store did not answer. What is wrong with the data is in the [`Audit`].
pub async fn audit(
    meta: &dyn MetaStore,
    blob: &dyn BlobStore,
    orphans_before_ms: i64,
) -> Result<Audit, AuditError> {
    let mut found = Audit::default();
    let mut known = passing(meta).await?;
    found.passing = known.len() as u64;
    let shards: Vec<(ShardKey, ShardRow)> = all(meta, ShardKey::all()).await?;
    for (ShardKey(shard), _) in shards {
        let rows = rows::load(meta, shard).await?;
        extents(meta, &mut found, shard, rows.tiered).await?;
        let mut check = Check {
            meta,
            blob,
            shard,
            found: &mut found,
            known: &mut known,
            ends: BTreeMap::new(),
        };
        check.level1(&rows).await?;
        check.level0(&rows).await?;
        check.state(&rows).await?;
    }
    orphans(blob, &known, orphans_before_ms, &mut found).await?;
    Ok(found)
}

/// The names of objects that are being written or wait to be deleted.
async fn passing(meta: &dyn MetaStore) -> Result<BTreeSet<BlobKey>, AuditError> {
    let mut known = BTreeSet::new();
    let pending: Vec<(PendingKey, PendingRow)> = all(meta, PendingKey::all()).await?;
    for (PendingKey(object), _) in pending {
        known.insert(object_key(object)?);
    }
    let garbage: Vec<(GarbageKey, GarbageRow)> = all(meta, GarbageKey::all()).await?;
    for (_, row) in garbage {
        known.insert(object_key(row.object)?);
    }
    Ok(known)
}

async fn all<K: Key>(
    meta: &dyn MetaStore,
    mut range: KeyRange,
) -> Result<Vec<(K, K::Value)>, MetaError> {
    let mut found = Vec::new();
    loop {
        let mut tx = meta.begin();
        let page = keys::scan::<K>(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        let full = page.len() == PAGE;
        if let Some((last, _)) = page.last() {
            // The smallest key behind the last one.
            let mut begin = last.encode().to_vec();
            begin.push(0);
            range.begin = begin.into();
        }
        found.extend(page);
        if !full {
            return Ok(found);
        }
    }
}

/// The retained extents follow one another, from what is tiered on.
async fn extents(
    meta: &dyn MetaStore,
    found: &mut Audit,
    shard: ShardId,
    tiered: Lsn,
) -> Result<(), AuditError> {
    let rows: Vec<(ExtentKey, ExtentRow)> = all(meta, ExtentKey::of_shard(shard)).await?;
    let mut next = tiered;
    for (i, (key, row)) in rows.iter().enumerate() {
        let gap = if i == 0 {
            row.first > next
        } else {
            row.first != next
        };
        if gap {
            let why = format!(
                "extent {} begins at lsn {}, not {next}",
                key.index, row.first
            );
            found.uncovered.push(Uncovered { shard, why });
        }
        if let ExtentState::Sealed(end) = row.state {
            next = end;
        }
    }
    Ok(())
}

/// One shard's objects.
struct Check<'a> {
    meta: &'a dyn MetaStore,
    blob: &'a dyn BlobStore,
    shard: ShardId,
    found: &'a mut Audit,
    known: &'a mut BTreeSet<BlobKey>,
    /// Where what was seen of each partition ends.
    ends: BTreeMap<PartitionId, Offset>,
}

impl Check<'_> {
    async fn level1(&mut self, rows: &Rows) -> Result<(), AuditError> {
        for (partition, own) in rows.level1.iter() {
            for segment in own.iter() {
                self.covers(*partition, segment.row.base, segment.end)
                    .await?;
                if let Some(located) = segment.located() {
                    self.object(located).await?;
                }
            }
        }
        Ok(())
    }

    async fn level0(&mut self, rows: &Rows) -> Result<(), AuditError> {
        let mut end = Lsn(0);
        for segment in &rows.segments {
            if segment.row.first < end || segment.end > rows.tiered {
                let (first, last) = (segment.row.first, segment.end);
                let why = format!(
                    "object {} has lsn {first} to {last}, but {end} is where the one before it ends and {} what is tiered",
                    segment.row.object, rows.tiered
                );
                self.uncovered(why);
            }
            end = segment.end;
            let Some(index) = self.object(segment.into()).await? else {
                continue;
            };
            for part in index.partitions() {
                // What compaction already took over lies in the partition's own objects.
                let own = rows.own_end(part.id());
                if part.end() > own {
                    let base = part.base().max(own);
                    self.covers(part.id(), base, part.end()).await?;
                }
            }
        }
        Ok(())
    }

    async fn state(&mut self, rows: &Rows) -> Result<(), AuditError> {
        let Some(row) = &rows.state else {
            return Ok(());
        };
        if row.lsn > rows.tiered {
            let (lsn, tiered) = (row.lsn, rows.tiered);
            self.uncovered(format!(
                "the state object is of lsn {lsn}, tiered is {tiered}"
            ));
        }
        let key = object_key(row.object)?;
        self.found.objects += 1;
        self.found.bytes += row.bytes;
        self.known.insert(key.clone());
        if let Some(why) = state::verify(self.blob, &key, row).await? {
            let key = key.to_string();
            self.found.bad.push(BadObject { key, why });
        }
        Ok(())
    }

    /// Notes a piece of a partition. What lies below where the partition begins may be gone.
    async fn covers(
        &mut self,
        partition: PartitionId,
        base: Offset,
        end: Offset,
    ) -> Result<(), AuditError> {
        let before = self.ends.insert(partition, end);
        if before == Some(base) {
            return Ok(());
        }
        let mut tx = self.meta.begin();
        let row = keys::get(tx.as_mut(), &PartitionKey(partition), Mode::Snapshot).await?;
        // A deleted topic's objects are on their way out.
        let Some(log_start) = row.map(|row| row.log_start) else {
            return Ok(());
        };
        let due = before.unwrap_or(log_start).max(log_start);
        if base > due {
            self.uncovered(format!(
                "partition {partition}: offsets {due} to {base} are in no object"
            ));
        } else if before.is_some_and(|before| base < before) {
            self.uncovered(format!(
                "partition {partition}: offsets {base} to {due} are in two objects"
            ));
        }
        Ok(())
    }

    fn uncovered(&mut self, why: String) {
        let shard = self.shard;
        self.found.uncovered.push(Uncovered { shard, why });
    }

    /// Reads an object whole. Gives its index, when that much of it can be read.
    async fn object(&mut self, located: Located) -> Result<Option<Index>, AuditError> {
        let key = object_key(located.object)?;
        self.found.objects += 1;
        self.found.bytes += located.bytes;
        let mut index = None;
        let read = read(self.blob, &key, located, &mut index).await;
        self.known.insert(key.clone());
        let why = match read {
            Ok(()) => return Ok(index),
            Err(ReadError::Damaged(why)) => why.to_string(),
            Err(ReadError::Blob(error)) => match error.kind() {
                BlobErrorKind::NotFound => "it is not there".to_owned(),
                // A range beyond the object's end: it is shorter than its row says.
                BlobErrorKind::Invalid => error.to_string(),
                _ => return Err(error.into()),
            },
        };
        let key = key.to_string();
        self.found.bad.push(BadObject { key, why });
        Ok(index)
    }
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Blob(#[from] BlobError),
    #[error("{0}")]
    Damaged(#[from] DecodeError),
}

/// Checks index, header and every block.
async fn read(
    blob: &dyn BlobStore,
    key: &BlobKey,
    located: Located,
    kept: &mut Option<Index>,
) -> Result<(), ReadError> {
    let tail = blob.get(key, located.index_at..located.bytes).await?;
    let index = Index::decode(&tail, located.index_at)?;
    let named: (ObjectId, Covers) = (located.object, located.covers);
    let head = Header::decode(&blob.get(key, 0..HEADER_BYTES as u64).await?)?;
    if (head.object, head.covers) != named || (index.header.object, index.header.covers) != named {
        let why = "is of another object than its row says";
        return Err(DecodeError::invalid("segment header", why).into());
    }
    let index = kept.insert(index);
    for part in index.partitions() {
        let mut block = 0;
        while block < part.blocks().len() {
            let blocks = part.window(block, READ_BYTES);
            block = blocks.end;
            let bytes = blob.get(key, part.range(blocks.clone())).await?;
            decode_chunk(&part, blocks, &bytes)?;
        }
    }
    Ok(())
}

async fn orphans(
    blob: &dyn BlobStore,
    known: &BTreeSet<BlobKey>,
    before_ms: i64,
    found: &mut Audit,
) -> Result<(), AuditError> {
    let mut list = List::prefix(PREFIX);
    loop {
        let page = blob.list(list.clone()).await?;
        for listed in page.objects {
            if listed.info.modified_ms < before_ms && !known.contains(&listed.key) {
                let (key, bytes) = (listed.key.to_string(), listed.info.bytes);
                found.orphans.push(Orphan { key, bytes });
            }
        }
        list.after = page.next;
        if list.after.is_none() {
            return Ok(());
        }
    }
}
