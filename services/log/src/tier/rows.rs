//! The rows of a shard's cold segments, in memory while it is owned.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_meta::keys::cold::{Level0Key, Level0Row, TierKey, TierRow};
use tidemark_meta::keys::cold1::{Level1Key, Level1Row};
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_meta::keys::{Key, KeyRange};
use tidemark_meta::{MetaError, MetaStore, Mode, Transaction, keys};
use tidemark_segment::Covers;
use tidemark_types::{Lsn, ObjectId, Offset, PartitionId, ShardId};

/// Rows read in one transaction.
const PAGE: usize = 1_000;

/// One cold segment of all partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Level0 {
    /// End of its LSN range, exclusive.
    pub(crate) end: Lsn,
    pub(crate) row: Level0Row,
}

/// Some offsets of one partition, in an object of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Level1 {
    /// End of its offsets, exclusive.
    pub(crate) end: Offset,
    pub(crate) row: Level1Row,
}

impl Level1 {
    /// Bytes of its object.
    pub(crate) fn bytes(&self) -> u64 {
        self.row.object.map_or(0, |object| object.bytes)
    }

    /// Where its object is, when there is one.
    pub(crate) fn located(&self) -> Option<Located> {
        let object = self.row.object?;
        Some(Located {
            object: object.object,
            bytes: object.bytes,
            index_at: object.index_at,
            covers: Covers::Offsets {
                first: self.row.base,
                end: self.end,
            },
        })
    }
}

/// An object, where its footer index is, and what that must say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    pub(crate) object: ObjectId,
    pub(crate) bytes: u64,
    pub(crate) index_at: u64,
    pub(crate) covers: Covers,
}

impl From<&Level0> for Located {
    fn from(segment: &Level0) -> Self {
        Self {
            object: segment.row.object,
            bytes: segment.row.bytes,
            index_at: segment.row.index_at,
            covers: Covers::Frames {
                first: segment.row.first,
                end: segment.end,
            },
        }
    }
}

/// The rows of level 1, by partition, each partition's in offset order.
type ByPartition = BTreeMap<PartitionId, Arc<[Level1]>>;

/// A shard's cold segments. Immutable; a change makes another one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Rows {
    /// Every frame below it lies in a cold segment, or held nothing that is kept.
    pub(crate) tiered: Lsn,
    /// In log order.
    pub(crate) segments: Vec<Level0>,
    /// What of single partitions was rewritten. Below a partition's end here, these hold instead of `segments`.
    pub(crate) level1: Arc<ByPartition>,
    /// Where the shard's committed state is.
    pub(crate) state: Option<StateRow>,
    /// Where the newest object with batches ended that this process knows of.
    pub(crate) data_end: Lsn,
}

impl Rows {
    /// Whether batches were tiered that the state object does not know of.
    pub(crate) fn state_is_old(&self) -> bool {
        self.state.is_none_or(|state| state.lsn < self.data_end)
    }

    /// Whether anything of the shard lies in the object store.
    pub(crate) fn is_empty(&self) -> bool {
        let none = self.segments.is_empty() && self.level1.is_empty();
        none && self.tiered == Lsn(0) && self.state.is_none()
    }

    /// A partition's own segments, in offset order, without a gap.
    pub(crate) fn of(&self, partition: PartitionId) -> &[Level1] {
        self.level1.get(&partition).map_or(&[], |rows| rows)
    }

    /// Every object that they name.
    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectId> {
        let own = self.level1.values().flat_map(|own| own.iter());
        let own = own.filter_map(|row| Some(row.row.object?.object));
        let state = self.state.map(|state| state.object);
        self.segments
            .iter()
            .map(|s| s.row.object)
            .chain(own)
            .chain(state)
    }

    /// Where a partition's own segments end; 0 without any.
    pub(crate) fn own_end(&self, partition: PartitionId) -> Offset {
        self.of(partition).last().map_or(Offset(0), |row| row.end)
    }

    /// Below it a partition was compacted; 0 when nothing was. From there on records may be superseded ones.
    pub(crate) fn clean_end(&self, partition: PartitionId) -> Offset {
        let mut end = Offset(0);
        for row in self.of(partition) {
            if row.row.clean > row.row.base {
                end = row.row.clean;
            }
            if row.row.clean < row.end {
                break;
            }
        }
        end
    }

    /// With some of a partition's own segments replaced. Idempotent.
    pub(crate) fn swapped(
        &self,
        partition: PartitionId,
        gone: &[Level1],
        new: Option<Level1>,
    ) -> Self {
        let mut level1 = ByPartition::clone(&self.level1);
        let stays = |r: &&Level1| !gone.contains(r) && new.is_none_or(|new| new.end != r.end);
        let mut own: Vec<Level1> = self.of(partition).iter().filter(stays).copied().collect();
        own.extend(new);
        own.sort_unstable_by_key(|row| row.end);
        if own.is_empty() {
            level1.remove(&partition);
        } else {
            level1.insert(partition, own.into());
        }
        Self {
            segments: self.segments.clone(),
            level1: Arc::new(level1),
            ..*self
        }
    }

    /// With one more segment at the end (none when its frames held no batches).
    pub(crate) fn with(&self, segment: Option<Level0>, tiered: Lsn) -> Self {
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend_from_slice(&self.segments);
        segments.extend(segment);
        Self {
            tiered,
            data_end: segment.map_or(self.data_end, |segment| segment.end),
            segments,
            level1: Arc::clone(&self.level1),
            ..*self
        }
    }

    /// With neighbours replaced by one that ends where they did. Idempotent.
    pub(crate) fn squeezed(&self, gone: &[Level0], new: Option<Level0>) -> Self {
        let mut rows = self.without(gone);
        let known = |new: &Level0| rows.segments.contains(new);
        rows.segments.extend(new.filter(|new| !known(new)));
        rows.segments.sort_unstable_by_key(|segment| segment.end);
        rows
    }

    /// Without some segments.
    pub(crate) fn without(&self, gone: &[Level0]) -> Self {
        let kept = self.segments.iter().filter(|s| !gone.contains(s));
        Self {
            segments: kept.copied().collect(),
            level1: Arc::clone(&self.level1),
            ..*self
        }
    }
}

/// Reads a shard's rows. Only its owner changes them, so the pages need not be one transaction; a new owner reads them
/// after T1, which no commit of an earlier epoch survives.
///
/// Level 0 is read first: what leaves it meanwhile is in level 1 by then.
pub(crate) async fn load(store: &dyn MetaStore, shard: ShardId) -> Result<Rows, MetaError> {
    let mut tx = store.begin();
    let tier = keys::get(tx.as_mut(), &TierKey(shard), Mode::Snapshot).await?;
    let state = keys::get(tx.as_mut(), &StateKey(shard), Mode::Snapshot).await?;
    drop(tx);
    let segments = pages(store, Level0Key::of_shard(shard)).await?;
    let own = pages(store, Level1Key::of_shard(shard)).await?;
    Ok(gathered((tier, state), segments, own))
}

/// As [`load`], all of it as of one moment, whoever changes it meanwhile. Fails as too old when there is more than can be read
/// within a transaction's time.
pub(crate) async fn load_in(tx: &mut dyn Transaction, shard: ShardId) -> Result<Rows, MetaError> {
    let tier = keys::get(tx, &TierKey(shard), Mode::Snapshot).await?;
    let state = keys::get(tx, &StateKey(shard), Mode::Snapshot).await?;
    let segments = every(tx, Level0Key::of_shard(shard)).await?;
    let own = every(tx, Level1Key::of_shard(shard)).await?;
    Ok(gathered((tier, state), segments, own))
}

fn gathered(
    (tier, state): (Option<TierRow>, Option<StateRow>),
    segments: Vec<(Level0Key, Level0Row)>,
    own: Vec<(Level1Key, Level1Row)>,
) -> Rows {
    let mut level1: BTreeMap<PartitionId, Vec<Level1>> = BTreeMap::new();
    for (Level1Key { partition, end, .. }, row) in own {
        level1
            .entry(partition)
            .or_default()
            .push(Level1 { end, row });
    }
    Rows {
        tiered: tier.unwrap_or_default().tiered_lsn,
        state,
        data_end: segments.last().map_or(Lsn(0), |(key, _)| key.end),
        segments: segments
            .into_iter()
            .map(|(key, row)| Level0 { end: key.end, row })
            .collect(),
        level1: Arc::new(
            level1
                .into_iter()
                .map(|(id, own)| (id, own.into()))
                .collect(),
        ),
    }
}

/// All rows of a range in one transaction, read by pages.
pub(crate) async fn every<K: Key>(
    tx: &mut dyn Transaction,
    mut range: KeyRange,
) -> Result<Vec<(K, K::Value)>, MetaError> {
    let mut all: Vec<(K, K::Value)> = Vec::new();
    loop {
        let page = keys::scan::<K>(tx, range.clone(), PAGE, Mode::Snapshot).await?;
        let full = page.len() == PAGE;
        all.extend(page);
        let Some((last, _)) = all.last().filter(|_| full) else {
            return Ok(all);
        };
        range.begin = keys::behind(last);
    }
}

async fn pages<K: Key>(
    store: &dyn MetaStore,
    mut range: KeyRange,
) -> Result<Vec<(K, K::Value)>, MetaError> {
    let mut all = Vec::new();
    loop {
        let mut tx = store.begin();
        let page: Vec<(K, K::Value)> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        let full = page.len() == PAGE;
        if let Some((last, _)) = page.last() {
            range.begin = keys::behind(last);
        }
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}
