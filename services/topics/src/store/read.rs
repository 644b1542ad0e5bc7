//! Reading topics.

use futures_util::FutureExt;
use tidemark_meta::keys::partition::PartitionKey;
use tidemark_meta::keys::topic::{TopicKey, TopicNameKey, TopicRecord, TopicState, TopicUuidKey};
use tidemark_meta::keys::{behind, get, scan};
use tidemark_meta::{MetaError, Mode, Transaction};
use tidemark_types::{PartitionIndex, TenantId, TopicId, TopicUuid};

use super::delete::is_visible;
use super::{Address, Run, TopicStore};
use crate::{Placement, TopicError};

/// Rows read at once.
const ROWS_PER_READ: usize = 4_000;

/// A topic as stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) at: Address,
    pub(crate) record: TopicRecord,
    pub(crate) partitions: Vec<Placement>,
}

/// A tenant's topic rows at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    /// Those that clients see.
    pub(crate) visible: Vec<(TopicId, TopicRecord)>,
    /// Those with a change under way.
    pub(crate) unfinished: Vec<(TopicId, TopicRecord)>,
}

pub(super) async fn id_of_name(
    tx: &mut dyn Transaction,
    tenant: TenantId,
    name: &str,
    mode: Mode,
) -> Result<Option<TopicId>, MetaError> {
    let row = get(tx, &TopicNameKey::new(tenant, name), mode).await?;
    // A row of another name is that of a topic this one would collide with.
    Ok(row.filter(|row| row.name == name).map(|row| row.topic))
}

pub(super) async fn id_of_uuid(
    tx: &mut dyn Transaction,
    tenant: TenantId,
    uuid: TopicUuid,
    mode: Mode,
) -> Result<Option<TopicId>, MetaError> {
    let row = get(tx, &TopicUuidKey { tenant, uuid }, mode).await?;
    Ok(row.map(|row| row.topic))
}

/// The topic of that name that clients see.
pub(super) async fn visible_by_name(
    tx: &mut dyn Transaction,
    tenant: TenantId,
    name: &str,
    mode: Mode,
) -> Run<(TopicId, TopicRecord)> {
    let unknown = || TopicError::UnknownName {
        name: name.to_owned(),
    };
    let topic = id_of_name(tx, tenant, name, mode)
        .await?
        .ok_or_else(unknown)?;
    let record = get(tx, &TopicKey { tenant, topic }, mode).await?;
    let record = record.filter(|r| is_visible(r.state)).ok_or_else(unknown)?;
    Ok((topic, record))
}

impl TopicStore {
    /// The topic of that name.
    pub(crate) async fn by_name(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<Stored>, TopicError> {
        self.read(|tx| load_name(tx, tenant, name).boxed()).await
    }

    /// The topic of that public id.
    pub(crate) async fn by_uuid(
        &self,
        tenant: TenantId,
        uuid: TopicUuid,
    ) -> Result<Option<Stored>, TopicError> {
        self.read(|tx| load_uuid(tx, tenant, uuid).boxed()).await
    }

    /// The topic of that internal id.
    pub(crate) async fn by_address(&self, at: Address) -> Result<Option<Stored>, TopicError> {
        self.read(|tx| load(tx, at).boxed()).await
    }

    /// The topic of that internal id, whichever tenant's.
    pub(crate) async fn by_id(&self, topic: TopicId) -> Result<Option<Stored>, TopicError> {
        self.read(|tx| load_id(tx, topic).boxed()).await
    }

    /// A topic's row, in whatever state.
    pub(crate) async fn record(&self, at: Address) -> Result<Option<TopicRecord>, TopicError> {
        let key = TopicKey {
            tenant: at.tenant,
            topic: at.topic,
        };
        self.read(|tx| get(tx, &key, Mode::Snapshot).boxed()).await
    }

    /// A tenant's topic rows.
    pub(crate) async fn list(&self, tenant: TenantId) -> Result<Listed, TopicError> {
        self.read(|tx| list(tx, tenant).boxed()).await
    }
}

async fn list(tx: &mut dyn Transaction, tenant: TenantId) -> Result<Listed, MetaError> {
    let mut out = Listed::default();
    let mut range = TopicKey::of_tenant(tenant);
    loop {
        let rows = scan::<TopicKey>(tx, range.clone(), ROWS_PER_READ, Mode::Snapshot).await?;
        let full = rows.len() == ROWS_PER_READ;
        if let Some((last, _)) = rows.last() {
            range.begin = behind(last);
        }
        for (key, record) in rows {
            if record.state != TopicState::Ready {
                out.unfinished.push((key.topic, record.clone()));
            }
            if is_visible(record.state) {
                out.visible.push((key.topic, record));
            }
        }
        if !full {
            return Ok(out);
        }
    }
}

async fn load_name(
    tx: &mut dyn Transaction,
    tenant: TenantId,
    name: &str,
) -> Result<Option<Stored>, MetaError> {
    match id_of_name(tx, tenant, name, Mode::Snapshot).await? {
        Some(topic) => load(tx, Address { tenant, topic }).await,
        None => Ok(None),
    }
}

async fn load_uuid(
    tx: &mut dyn Transaction,
    tenant: TenantId,
    uuid: TopicUuid,
) -> Result<Option<Stored>, MetaError> {
    match id_of_uuid(tx, tenant, uuid, Mode::Snapshot).await? {
        Some(topic) => load(tx, Address { tenant, topic }).await,
        None => Ok(None),
    }
}

async fn load_id(tx: &mut dyn Transaction, topic: TopicId) -> Result<Option<Stored>, MetaError> {
    let range = PartitionKey::of_topic(topic, PartitionIndex(0));
    let first = scan::<PartitionKey>(tx, range, 1, Mode::Snapshot).await?;
    match first.first() {
        Some((_, row)) => {
            let tenant = row.tenant;
            load(tx, Address { tenant, topic }).await
        }
        None => Ok(None),
    }
}

async fn load(tx: &mut dyn Transaction, at: Address) -> Result<Option<Stored>, MetaError> {
    let Address { tenant, topic } = at;
    let record = get(tx, &TopicKey { tenant, topic }, Mode::Snapshot).await?;
    let Some(record) = record.filter(|r| is_visible(r.state)) else {
        return Ok(None);
    };
    let wanted = usize::try_from(record.partitions).unwrap_or(usize::MAX);
    let mut partitions = Vec::new();
    while partitions.len() < wanted {
        let next = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let range = PartitionKey::of_topic(topic, PartitionIndex(next));
        let limit = (wanted - partitions.len()).min(ROWS_PER_READ);
        let rows = scan::<PartitionKey>(tx, range, limit, Mode::Snapshot).await?;
        let dense = (next..).zip(&rows).all(|(i, (key, _))| key.0.index.0 == i);
        if rows.is_empty() || !dense {
            return Err(MetaError::Corrupt(format!(
                "topic {topic} has {wanted} partitions, but a row from {next} on is missing"
            )));
        }
        partitions.extend(rows.iter().map(|(_, row)| Placement {
            shard: row.shard,
            leader_epoch_base: row.leader_epoch_base,
        }));
    }
    Ok(Some(Stored {
        at,
        record,
        partitions,
    }))
}
