//! What the service's calls share: from stored rows to cached topics, and the end of every change.

use tidemark_meta::Committed;
use tidemark_meta::keys::topic::TopicState;
use tidemark_types::{TenantId, TopicId, TopicUuid};
use tokio::sync::broadcast;

use std::sync::Arc;

use crate::cache::{Cache, Generation};
use crate::follow::Own;
use crate::store::{Address, Created, Progress, Refusal, Stored, TopicStore, place};
use crate::topics::Settings;
use crate::{Placement, Topic, TopicConfig, TopicError};

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: TopicStore,
    pub(crate) cache: Cache,
    pub(crate) own: Own,
    pub(crate) settings: Settings,
    pub(crate) deleted: broadcast::Sender<TopicId>,
}

impl Inner {
    /// A stored topic as others see it.
    pub(crate) fn topic(&self, stored: Stored) -> Topic {
        let record = stored.record;
        Topic {
            tenant: stored.at.tenant,
            id: stored.at.topic,
            uuid: record.uuid,
            name: record.name,
            partitions: stored.partitions,
            config: TopicConfig::from_stored(record.overrides, &self.settings.defaults),
            created_ms: record.created_ms,
            revision: record.revision,
        }
    }

    /// Keeps a load's result in the cache.
    pub(crate) fn keep(&self, stored: Stored, began: Generation) -> Arc<Topic> {
        let topic = Arc::new(self.topic(stored));
        self.cache.insert_loaded(&topic, began);
        topic
    }

    /// Loads every topic of a tenant; those that the cache has in their newest revision are not read again.
    pub(crate) async fn load_all(
        &self,
        tenant: TenantId,
        began: Generation,
    ) -> Result<Vec<Arc<Topic>>, TopicError> {
        let listed = self.store.list(tenant).await?;
        for (topic, _) in &listed.unfinished {
            let topic = *topic;
            self.own.unfinished(Address { tenant, topic });
        }
        let mut all = Vec::with_capacity(listed.visible.len());
        for (topic, record) in listed.visible {
            let held = self.cache.by_id(topic);
            if let Some(held) = held.filter(|t| t.revision >= record.revision) {
                all.push(held);
                continue;
            }
            // Gone since the listing: left out.
            if let Some(stored) = self.store.by_address(Address { tenant, topic }).await? {
                all.push(self.keep(stored, began));
            }
        }
        Ok(all)
    }

    /// This process deleted a topic.
    pub(crate) fn forget(&self, id: TopicId) {
        self.cache.remove(id);
        // No subscriber is no error.
        let _ = self.deleted.send(id);
    }

    /// A refresh found a topic gone, for certain.
    pub(crate) fn heard_deleted(&self, id: TopicId) {
        self.cache.remove_refreshed(id);
        let _ = self.deleted.send(id);
    }

    /// Finishes what another change of the topic left.
    pub(crate) async fn finish(&self, at: Address) -> Result<(), TopicError> {
        match self.store.finish(at).await {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.into_error("")),
        }
    }

    /// After a change of this process was committed: finishes it, keeps the result.
    pub(crate) async fn changed(
        &self,
        tenant: TenantId,
        created: Created,
        committed: Committed,
    ) -> Result<Arc<Topic>, TopicError> {
        let topic = created.id;
        let at = Address { tenant, topic };
        let mut last = created.record;
        let new = created.wrote && last.revision == 1;
        if last.state == TopicState::Ready {
            if created.wrote {
                self.own.committed(tenant, committed);
            }
        } else {
            match self.store.finish(at).await {
                Ok(Progress::Ready(record)) => last = record,
                // Deleted since: it was as asked for in between.
                Ok(_) => last.partitions = target(last.state, last.partitions),
                Err(refusal) => {
                    self.own.unfinished(at);
                    return Err(refusal.into_error(&last.name));
                }
            }
        }
        let partitions = if new {
            self.placed(topic, last.partitions)
        } else {
            self.placements(at, last.partitions).await?
        };
        let topic = Arc::new(self.topic(Stored {
            at,
            record: last,
            partitions,
        }));
        self.cache.insert_changed(&topic);
        Ok(topic)
    }

    /// Where a topic's partitions live: as the cache has it, or as stored.
    async fn placements(&self, at: Address, count: u32) -> Result<Vec<Placement>, TopicError> {
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        if let Some(held) = self.cache.by_id(at.topic)
            && held.partitions.len() == wanted
        {
            return Ok(held.partitions.clone());
        }
        Ok(match self.store.by_address(at).await? {
            Some(stored) if stored.partitions.len() >= wanted => {
                stored.partitions.into_iter().take(wanted).collect()
            }
            // Deleted since: it was where a new topic is placed.
            _ => self.placed(at.topic, count),
        })
    }

    fn placed(&self, topic: TopicId, count: u32) -> Vec<Placement> {
        (0..count)
            .map(|i| place(topic, i, self.store.shards))
            .collect()
    }

    /// What a change would make of a topic.
    pub(crate) fn planned(&self, tenant: TenantId, created: Created) -> Topic {
        let partitions = self.placed(created.id, created.record.partitions);
        let topic = created.id;
        self.topic(Stored {
            at: Address { tenant, topic },
            record: created.record,
            partitions,
        })
    }

    /// What a creation would make.
    pub(crate) fn imagined(
        &self,
        tenant: TenantId,
        name: String,
        count: u32,
        config: TopicConfig,
    ) -> Topic {
        Topic {
            tenant,
            id: TopicId(0),
            uuid: TopicUuid::ZERO,
            name,
            partitions: self.placed(TopicId(0), count),
            config,
            created_ms: self.store.clock.wall_ms(),
            revision: 0,
        }
    }
}

impl Refusal {
    /// The error for the caller that changed the topic `name`.
    pub(crate) fn into_error(self, name: &str) -> TopicError {
        match self {
            Self::Topic(error) => error,
            Self::Unfinished(_) => TopicError::Busy {
                name: name.to_owned(),
            },
        }
    }
}

fn target(state: TopicState, partitions: u32) -> u32 {
    match state {
        TopicState::Creating { target, .. } | TopicState::Growing { target, .. } => target,
        TopicState::Ready | TopicState::Deleting => partitions,
    }
}
