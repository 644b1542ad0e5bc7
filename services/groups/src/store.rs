//! What a group keeps in the metadata store, and the transactions that change it.
//!
//! # Consistency
//! Every change starts with [`tidemark_lease::require`], a conflicting read of the shard's row (J9), then reads
//! the group's row under conflict and goes on only if that row is the one the caller knows (K7). It writes the
//! row with the next revision, so a group's transactions have one order and one that lands late conflicts.
//!
//! # Retries
//! After an unknown outcome the body runs again: it finds the row it meant to write, and is done, or the row it
//! started from, and writes. Any other row means someone else coordinates the group: the caller starts over.

use std::sync::Arc;

use tidemark_lease::{NotOwner, require};
use tidemark_meta::keys::group::{
    GROUP_CHUNK_BYTES, GROUP_CHUNKS_MAX, GroupChunk, GroupChunkKey, GroupCountKey, GroupKey,
    GroupOffset, GroupOffsetKey, GroupRow, StoredMembers,
};
use tidemark_meta::keys::{self, KeyRange, Value};
use tidemark_meta::{MetaError, MetaStore, Mode, TransactError, Transaction, transact};
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{Ownership, PartitionIndex, TenantId, TopicId};

use crate::GroupError;

/// Offsets read at a time.
const PAGE: usize = 1_000;

/// A group and the ownership it is coordinated under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Home {
    pub(crate) tenant: TenantId,
    pub(crate) group: String,
    pub(crate) ownership: Ownership,
}

impl Home {
    fn key(&self) -> GroupKey {
        GroupKey {
            tenant: self.tenant,
            group: self.group.clone(),
        }
    }

    pub(crate) fn offset_key(&self, topic: TopicId, partition: PartitionIndex) -> GroupOffsetKey {
        GroupOffsetKey {
            tenant: self.tenant,
            group: self.group.clone(),
            topic,
            partition,
        }
    }
}

/// A change of what is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// A generation is about to be told to its members.
    Announce(i32),
    /// The group as it now is.
    Members(GroupRow, StoredMembers),
    /// Committed offsets.
    SetOffsets(Vec<(GroupOffsetKey, GroupOffset)>),
    /// Offsets that are no more.
    ClearOffsets(Vec<GroupOffsetKey>),
    /// The group is no more, nor are its offsets.
    Delete,
}

/// Why a transaction refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    #[error("change the group: its stored row is not the expected one")]
    Stale,
    #[error("the tenant has its maximum of {0} groups")]
    TooManyGroups(u64),
}

type Transacted<T> = Result<T, TransactError<Refusal>>;

/// The store as the coordinator uses it.
#[derive(Clone, Debug)]
pub(crate) struct GroupStore {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) groups_per_tenant_max: u64,
}

impl GroupStore {
    /// The stored group, if there is one, and its members.
    pub(crate) async fn load(
        &self,
        home: &Arc<Home>,
    ) -> Result<(Option<GroupRow>, StoredMembers), GroupError> {
        let home = Arc::clone(home);
        let loaded = transact(&*self.store, &self.clock, &self.entropy, move |tx| {
            let home = Arc::clone(&home);
            Box::pin(async move { load(tx, &home).await })
        });
        loaded.await.map(|(group, _)| group).map_err(refused)
    }

    /// Changes a group from `base` and gives the row it has then. The caller must not go on from `base` after
    /// an error: it loads the group again.
    pub(crate) async fn change(
        &self,
        home: &Arc<Home>,
        base: Option<GroupRow>,
        change: Change,
    ) -> Result<Option<GroupRow>, GroupError> {
        let plan = Arc::new(Plan::new(
            Arc::clone(home),
            base,
            change,
            self.clock.wall_ms(),
            self.groups_per_tenant_max,
        )?);
        let target = plan.target.clone();
        let done = transact(&*self.store, &self.clock, &self.entropy, move |tx| {
            let plan = Arc::clone(&plan);
            Box::pin(async move { plan.apply(tx).await })
        });
        done.await.map_err(refused)?;
        Ok(target)
    }

    /// The committed offsets of these partitions, in their order.
    pub(crate) async fn offsets(
        &self,
        home: &Arc<Home>,
        partitions: Vec<(TopicId, PartitionIndex)>,
    ) -> Result<Vec<Option<GroupOffset>>, GroupError> {
        let home = Arc::clone(home);
        let partitions = Arc::new(partitions);
        let read = transact(&*self.store, &self.clock, &self.entropy, move |tx| {
            let (home, partitions) = (Arc::clone(&home), Arc::clone(&partitions));
            Box::pin(async move {
                require::<Refusal>(tx, &home.ownership).await?;
                let mut found = Vec::with_capacity(partitions.len());
                for (topic, partition) in &*partitions {
                    let key = home.offset_key(*topic, *partition);
                    found.push(keys::get(tx, &key, Mode::Snapshot).await?);
                }
                Ok(found)
            })
        });
        read.await.map(|(found, _)| found).map_err(refused)
    }

    /// Every committed offset of the group.
    pub(crate) async fn all_offsets(
        &self,
        home: &Arc<Home>,
    ) -> Result<Vec<(GroupOffsetKey, GroupOffset)>, GroupError> {
        let home = Arc::clone(home);
        let read = transact(&*self.store, &self.clock, &self.entropy, move |tx| {
            let home = Arc::clone(&home);
            Box::pin(async move {
                require::<Refusal>(tx, &home.ownership).await?;
                let range = GroupOffsetKey::of_group(home.tenant, &home.group);
                Ok(scan_all::<GroupOffsetKey>(tx, range).await?)
            })
        });
        read.await.map(|(found, _)| found).map_err(refused)
    }

    /// The first tenant that has a stored group, from `from` on.
    pub(crate) async fn next_tenant(&self, from: TenantId) -> Result<Option<TenantId>, GroupError> {
        let read = transact(&*self.store, &self.clock, &self.entropy, move |tx| {
            Box::pin(async move {
                let range = GroupKey::from_tenant(from);
                let first = keys::scan::<GroupKey>(tx, range, 1, Mode::Snapshot).await?;
                Ok(first.first().map(|(key, _)| key.tenant))
            })
        });
        read.await.map(|(found, _)| found).map_err(refused)
    }

    /// Every stored group of a tenant.
    pub(crate) async fn groups(
        &self,
        tenant: TenantId,
    ) -> Result<Vec<(GroupKey, GroupRow)>, GroupError> {
        let read = transact(&*self.store, &self.clock, &self.entropy, move |tx| {
            Box::pin(async move { Ok(scan_all(tx, GroupKey::of_tenant(tenant)).await?) })
        });
        read.await.map(|(found, _)| found).map_err(refused)
    }
}

async fn load(
    tx: &mut dyn Transaction,
    home: &Home,
) -> Transacted<(Option<GroupRow>, StoredMembers)> {
    require::<Refusal>(tx, &home.ownership).await?;
    let Some(row) = keys::get(tx, &home.key(), Mode::Serializable).await? else {
        return Ok((None, StoredMembers::default()));
    };
    if row.chunks == 0 {
        return Ok((Some(row), StoredMembers::default()));
    }
    let range = GroupChunkKey::of_group(home.tenant, &home.group);
    let chunks =
        keys::scan::<GroupChunkKey>(tx, range, GROUP_CHUNKS_MAX + 1, Mode::Serializable).await?;
    if chunks.len() != row.chunks as usize {
        let why = format!(
            "group {} has {} of {} chunks",
            home.group,
            chunks.len(),
            row.chunks
        );
        return Err(MetaError::Corrupt(why).into());
    }
    let bytes: Vec<u8> = chunks.into_iter().flat_map(|(_, c)| c.0).collect();
    let members = StoredMembers::decode(&bytes).map_err(MetaError::from)?;
    Ok((Some(row), members))
}

async fn scan_all<K: keys::Key>(
    tx: &mut dyn Transaction,
    mut range: KeyRange,
) -> Result<Vec<(K, K::Value)>, MetaError> {
    let mut found = Vec::new();
    loop {
        let page = keys::scan::<K>(tx, range.clone(), PAGE, Mode::Snapshot).await?;
        let full = page.len() == PAGE;
        found.extend(page);
        match found.last() {
            Some((last, _)) if full => {
                range.begin = keys::behind(last);
            }
            _ => return Ok(found),
        }
    }
}

/// A transaction: from `base` to `target` by `change`.
struct Plan {
    home: Arc<Home>,
    base: Option<GroupRow>,
    target: Option<GroupRow>,
    change: Change,
    chunks: Vec<GroupChunk>,
    groups_max: u64,
}

impl Plan {
    fn new(
        home: Arc<Home>,
        base: Option<GroupRow>,
        change: Change,
        wall_ms: i64,
        groups_max: u64,
    ) -> Result<Self, GroupError> {
        let mut chunks = Vec::new();
        let mut target = base.clone().unwrap_or_else(|| GroupRow {
            since_ms: wall_ms,
            ..GroupRow::default()
        });
        match &change {
            Change::Announce(generation) => target.announced = *generation,
            Change::Members(row, members) => {
                target = row.clone();
                if !members.0.is_empty() {
                    let bytes = members.encode();
                    let cut = bytes.chunks(GROUP_CHUNK_BYTES);
                    chunks = cut.map(|c| GroupChunk(c.to_vec())).collect();
                }
                if chunks.len() > GROUP_CHUNKS_MAX {
                    let why = "its members and assignments are too large to be stored";
                    return Err(GroupError::OverLimit(why.to_owned()));
                }
                target.chunks = u32::try_from(chunks.len()).expect("bounded above");
            }
            Change::SetOffsets(_) | Change::ClearOffsets(_) | Change::Delete => {}
        }
        target.revision = base.as_ref().map_or(0, |row| row.revision) + 1;
        Ok(Self {
            target: (change != Change::Delete).then_some(target),
            home,
            base,
            change,
            chunks,
            groups_max,
        })
    }

    async fn apply(&self, tx: &mut dyn Transaction) -> Transacted<()> {
        require::<Refusal>(tx, &self.home.ownership).await?;
        let key = self.home.key();
        let stored = keys::get(tx, &key, Mode::Serializable).await?;
        if stored == self.target {
            return Ok(()); // An earlier try whose outcome was not known.
        }
        if stored != self.base {
            return Err(TransactError::Refused(Refusal::Stale));
        }
        self.count(tx).await?;
        match &self.target {
            Some(row) => keys::put(tx, &key, row),
            None => keys::clear(tx, &key),
        }
        self.write(tx);
        Ok(())
    }

    /// Counts groups as they come and go. Adding is exact: only one try of this transaction can commit.
    async fn count(&self, tx: &mut dyn Transaction) -> Transacted<()> {
        let counter = GroupCountKey {
            tenant: self.home.tenant,
        };
        match (&self.base, &self.target) {
            (None, Some(_)) => {
                let count = keys::get(tx, &counter, Mode::Snapshot).await?;
                if count.unwrap_or_default().0 >= self.groups_max {
                    return Err(TransactError::Refused(Refusal::TooManyGroups(
                        self.groups_max,
                    )));
                }
                tx.atomic_add(&keys::Key::encode(&counter), 1);
            }
            (Some(_), None) => tx.atomic_add(&keys::Key::encode(&counter), u64::MAX),
            _ => {}
        }
        Ok(())
    }

    fn write(&self, tx: &mut dyn Transaction) {
        let (tenant, group) = (self.home.tenant, &self.home.group);
        let members = GroupChunkKey::of_group(tenant, group);
        match &self.change {
            Change::Announce(_) => {}
            Change::Members(..) => {
                tx.clear_range(&members.begin, &members.end);
                for (chunk, bytes) in (0..).zip(&self.chunks) {
                    let key = GroupChunkKey {
                        tenant,
                        group: group.clone(),
                        chunk,
                    };
                    keys::put(tx, &key, bytes);
                }
            }
            Change::SetOffsets(offsets) => {
                for (key, value) in offsets {
                    keys::put(tx, key, value);
                }
            }
            Change::ClearOffsets(offsets) => {
                for key in offsets {
                    keys::clear(tx, key);
                }
            }
            Change::Delete => {
                tx.clear_range(&members.begin, &members.end);
                let offsets = GroupOffsetKey::of_group(tenant, group);
                tx.clear_range(&offsets.begin, &offsets.end);
            }
        }
    }
}

fn refused(error: TransactError<Refusal>) -> GroupError {
    match error {
        TransactError::Refused(Refusal::NotOwner(_)) => GroupError::NotCoordinator,
        TransactError::Refused(why @ Refusal::TooManyGroups(_)) => {
            GroupError::OverLimit(why.to_string())
        }
        TransactError::Refused(why @ Refusal::Stale) => GroupError::NotAvailable(why.to_string()),
        TransactError::Store(MetaError::Corrupt(why)) => GroupError::Corrupt(why),
        TransactError::Store(MetaError::Invalid(why)) => GroupError::OverLimit(why),
        TransactError::Store(other) => GroupError::NotAvailable(other.to_string()),
    }
}
