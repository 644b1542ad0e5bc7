//! Deleting a topic: first its names, in one transaction, then its rows.

use futures_util::FutureExt;
use parking_lot::Mutex;
use tidemark_meta::keys::change::{ChangeKey, touch};
use tidemark_meta::keys::topic::{TopicKey, TopicNameKey, TopicState, TopicUuidKey};
use tidemark_meta::keys::{clear, get, put};
use tidemark_meta::{Committed, Mode, Transaction};
use tidemark_types::{TenantId, TopicId, TopicUuid};

use super::chunk::clear_rows;
use super::read::{id_of_name, id_of_uuid};
use super::{Refusal, Run, TopicStore};
use crate::{TopicError, TopicRef};

/// How the topic to delete was named.
#[derive(Clone, Debug)]
pub(crate) enum Deleting {
    Name(String),
    Uuid(TopicUuid),
}

impl From<TopicRef<'_>> for Deleting {
    fn from(topic: TopicRef<'_>) -> Self {
        match topic {
            TopicRef::Name(name) => Self::Name(name.to_owned()),
            TopicRef::Uuid(uuid) => Self::Uuid(uuid),
        }
    }
}

/// What was deleted.
#[derive(Clone, Debug)]
pub(crate) struct Deleted {
    pub(crate) id: TopicId,
    pub(crate) uuid: TopicUuid,
    pub(crate) name: String,
    /// Whether partition rows are left to clear.
    pub(crate) rows_left: bool,
    /// Whether the last run wrote it; otherwise an earlier run or someone else did.
    pub(crate) wrote: bool,
}

struct Attempt {
    tenant: TenantId,
    topic: Deleting,
    /// What the first run chose: later runs delete this topic or none, never a new one of the same name.
    chosen: Mutex<Option<Deleted>>,
}

impl TopicStore {
    /// Deletes a topic: afterwards no client sees it and its name is free.
    pub(crate) async fn delete(
        &self,
        tenant: TenantId,
        topic: Deleting,
    ) -> Result<(Deleted, Committed), Refusal> {
        let attempt = Attempt {
            tenant,
            topic,
            chosen: Mutex::default(),
        };
        self.change(|tx| attempt.run(tx).boxed()).await
    }
}

impl Attempt {
    async fn run(&self, tx: &mut dyn Transaction) -> Run<Deleted> {
        let tenant = self.tenant;
        let chosen = self.chosen.lock().clone();
        let found = match (&chosen, &self.topic) {
            (Some(deleted), _) => Some(deleted.id),
            (None, Deleting::Name(name)) => {
                id_of_name(tx, tenant, name, Mode::Serializable).await?
            }
            (None, Deleting::Uuid(uuid)) => {
                id_of_uuid(tx, tenant, *uuid, Mode::Serializable).await?
            }
        };
        let Some(topic) = found else {
            return Err(self.unknown().into());
        };
        let key = TopicKey { tenant, topic };
        let record = get(tx, &key, Mode::Serializable).await?;
        let mut record = match (record, chosen) {
            (Some(record), _) if is_visible(record.state) => record,
            // An earlier run deleted it; or someone else did since, which is the same to the caller.
            (record, Some(deleted)) => {
                return Ok(Deleted {
                    rows_left: record.is_some(),
                    wrote: false,
                    ..deleted
                });
            }
            (_, None) => return Err(self.unknown().into()),
        };
        clear(tx, &TopicNameKey::new(tenant, &record.name));
        let uuid = record.uuid;
        clear(tx, &TopicUuidKey { tenant, uuid });
        let rows_left = !clear_rows(tx, topic).await?;
        let deleted = Deleted {
            id: topic,
            uuid,
            name: record.name.clone(),
            rows_left,
            wrote: true,
        };
        if rows_left {
            record.state = TopicState::Deleting;
            record.revision += 1;
            put(tx, &key, &record);
        } else {
            clear(tx, &key);
        }
        touch(tx, ChangeKey::topics(tenant));
        *self.chosen.lock() = Some(deleted.clone());
        Ok(deleted)
    }

    fn unknown(&self) -> Refusal {
        Refusal::Topic(match &self.topic {
            Deleting::Name(name) => TopicError::UnknownName { name: name.clone() },
            Deleting::Uuid(uuid) => TopicError::UnknownUuid { uuid: *uuid },
        })
    }
}

/// Whether clients see a topic in this state.
pub(super) const fn is_visible(state: TopicState) -> bool {
    matches!(state, TopicState::Ready | TopicState::Growing { .. })
}
