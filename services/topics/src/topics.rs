//! The service: lookups through the cache, changes through the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_meta::MetaStore;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::limits::PARTITIONS_PER_TOPIC_MAX;
use tidemark_types::{Tenant, TopicId, TopicUuid};
use tokio::sync::broadcast;

use crate::cache::Cache;
use crate::config::{ConfigDefaults, ConfigEntry, describe_topic};
use crate::follow::Own;
use crate::inner::Inner;
use crate::name::{is_reserved, validate_name};
use crate::store::{Address, Altering, Creating, Growing, Refusal, TopicStore};
use crate::{
    ConfigOp, DeletedTopic, NameError, NewTopic, Topic, TopicConfig, TopicError, TopicRef,
};

/// Deletions a slow subscriber may lag behind before it must ask for each of its topics.
const DELETED_LAG_MAX: usize = 1024;
/// Times a change is tried again after finishing an earlier one that it met.
const FINISH_TRIES: u32 = 8;

/// What the service sets for topics.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Partitions of a topic created without a count (`num.partitions`).
    pub partitions_default: i32,
    /// Whether a topic that a client names in Metadata or Produce is created (`auto.create.topics.enable`).
    pub auto_create: bool,
    /// Values in place of Kafka's defaults.
    pub defaults: ConfigDefaults,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            partitions_default: 1,
            auto_create: true,
            defaults: ConfigDefaults::default(),
        }
    }
}

/// The door to topic metadata. Clones share one cache.
#[derive(Clone, Debug)]
pub struct Topics(Arc<Inner>);

impl Topics {
    /// Topics of `store` with the default settings; new partitions are spread over `shards` shards.
    #[must_use]
    pub fn new(store: Arc<dyn MetaStore>, clock: Clock, entropy: Entropy, shards: u32) -> Self {
        Self::with_settings(store, clock, entropy, shards, Settings::default())
    }

    /// Topics of `store`; new partitions are spread over `shards` shards (at least one).
    #[must_use]
    pub fn with_settings(
        store: Arc<dyn MetaStore>,
        clock: Clock,
        entropy: Entropy,
        shards: u32,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Inner {
            store: TopicStore {
                meta: store,
                clock,
                entropy,
                shards: shards.max(1),
            },
            cache: Cache::default(),
            own: Own::default(),
            settings,
            deleted: broadcast::channel(DELETED_LAG_MAX).0,
        }))
    }

    /// Starts following the changes that other processes make, and finishing what a crash left behind. Without
    /// it only changes made through this instance and its clones reach the cache.
    pub fn follow(&self, tasks: &Tasks) {
        let (inner, stop) = (self.0.clone(), tasks.clone());
        tasks.spawn("topics", async move { inner.follow(&stop).await });
    }

    /// What the service sets for topics.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The topic of that name if the cache has it: no await, no read of the store.
    #[must_use]
    pub fn cached(&self, tenant: &Tenant, name: &str) -> Option<Arc<Topic>> {
        self.0.cache.by_name(tenant.id(), name)
    }

    /// The topic of that public id if the cache has it: no await, no read of the store.
    #[must_use]
    pub fn cached_uuid(&self, tenant: &Tenant, uuid: TopicUuid) -> Option<Arc<Topic>> {
        self.0.cache.by_uuid(tenant.id(), uuid)
    }

    /// The topic of that name; `None` when there is none.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn lookup(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Option<Arc<Topic>>, TopicError> {
        if let Some(topic) = self.cached(tenant, name) {
            return Ok(Some(topic));
        }
        if validate_name(name).is_err() {
            return Ok(None);
        }
        let began = self.0.cache.generation();
        let found = self.0.store.by_name(tenant.id(), name).await?;
        Ok(found.map(|stored| self.0.keep(stored, began)))
    }

    /// The topic of that public id; `None` when there is none.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn lookup_uuid(
        &self,
        tenant: &Tenant,
        uuid: TopicUuid,
    ) -> Result<Option<Arc<Topic>>, TopicError> {
        if let Some(topic) = self.cached_uuid(tenant, uuid) {
            return Ok(Some(topic));
        }
        let began = self.0.cache.generation();
        let found = self.0.store.by_uuid(tenant.id(), uuid).await?;
        Ok(found.map(|stored| self.0.keep(stored, began)))
    }

    /// The topic of that internal id, whichever tenant's. For the service's own use: never with an id that a
    /// client chose.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn get(&self, id: TopicId) -> Result<Option<Arc<Topic>>, TopicError> {
        if let Some(topic) = self.0.cache.by_id(id) {
            return Ok(Some(topic));
        }
        let began = self.0.cache.generation();
        let found = self.0.store.by_id(id).await?;
        Ok(found.map(|stored| self.0.keep(stored, began)))
    }

    /// The tenant's topics, in the order of their names.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn list(&self, tenant: &Tenant) -> Result<Vec<Arc<Topic>>, TopicError> {
        if let Some(all) = self.0.cache.all(tenant.id()) {
            return Ok(all);
        }
        let began = self.0.cache.generation();
        let mut all = self.0.load_all(tenant.id(), began).await?;
        self.0.cache.mark_complete(tenant.id(), began);
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Creates a topic, or with `validate_only` answers what would be created (with zero ids).
    ///
    /// # Errors
    /// [`TopicError`]: name, collision, [`TopicError::Exists`], partition count, config, store.
    pub async fn create(&self, tenant: &Tenant, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        let (inner, tenant) = (&self.0, tenant.id());
        validate_name(&new.name)?;
        if is_reserved(&new.name) {
            return Err(NameError::Reserved(new.name).into());
        }
        let partitions = new.partitions.unwrap_or(inner.settings.partitions_default);
        let count = check_count(partitions)?;
        let config = TopicConfig::new(new.config, &inner.settings.defaults)?;
        if new.validate_only {
            let absent = inner.store.check_absent(tenant, &new.name).await;
            absent.map_err(|e| e.into_error(&new.name))?;
            return Ok(Arc::new(inner.imagined(tenant, new.name, count, config)));
        }
        for _ in 0..FINISH_TRIES {
            let creating = Creating {
                tenant,
                name: new.name.clone(),
                partitions: count,
                overrides: (*config.overrides).clone(),
                created_ms: inner.store.clock.wall_ms(),
            };
            match inner.store.create(creating).await {
                Ok((created, committed)) => return inner.changed(tenant, created, committed).await,
                Err(Refusal::Unfinished(topic)) => inner.finish(Address { tenant, topic }).await?,
                Err(refusal) => return Err(refusal.into_error(&new.name)),
            }
        }
        Err(TopicError::Busy { name: new.name })
    }

    /// The topic of that name, created with the service's defaults when there is none. The caller has checked
    /// [`Settings::auto_create`] and the client's own wish.
    ///
    /// # Errors
    /// As [`Topics::create`], without [`TopicError::Exists`].
    pub async fn lookup_or_create(
        &self,
        tenant: &Tenant,
        name: &str,
    ) -> Result<Arc<Topic>, TopicError> {
        let name = name.to_owned();
        for _ in 0..FINISH_TRIES {
            if let Some(topic) = self.lookup(tenant, &name).await? {
                return Ok(topic);
            }
            let new = NewTopic {
                name: name.clone(),
                ..NewTopic::default()
            };
            match self.create(tenant, new).await {
                Err(TopicError::Exists { .. }) => {}
                decided => return decided,
            }
        }
        Err(TopicError::Busy { name })
    }

    /// Deletes a topic and answers what it was. Its name is free at once; its data is collected later.
    ///
    /// # Errors
    /// [`TopicError::UnknownName`], [`TopicError::UnknownUuid`], [`TopicError::Store`].
    pub async fn delete(
        &self,
        tenant: &Tenant,
        topic: TopicRef<'_>,
    ) -> Result<DeletedTopic, TopicError> {
        let (inner, tenant) = (&self.0, tenant.id());
        let deleting = inner.store.delete(tenant, topic.into()).await;
        let (deleted, committed) = deleting.map_err(|e| e.into_error(""))?;
        inner.forget(deleted.id);
        if deleted.wrote {
            inner.own.committed(tenant, committed);
        }
        if deleted.rows_left {
            let topic = deleted.id;
            let at = Address { tenant, topic };
            if let Err(error) = inner.finish(at).await {
                // The topic is gone for every client; its rows are cleared later.
                tracing::debug!(%topic, "clear partitions of a deleted topic: {error}");
                inner.own.unfinished(at);
            }
        }
        Ok(DeletedTopic {
            id: deleted.id,
            uuid: deleted.uuid,
            name: deleted.name,
        })
    }

    /// Raises a topic's partition count to `total`.
    ///
    /// # Errors
    /// [`TopicError::UnknownName`], [`TopicError::Partitions`] when it would not grow, [`TopicError::Store`].
    pub async fn create_partitions(
        &self,
        tenant: &Tenant,
        name: &str,
        total: i32,
        validate_only: bool,
    ) -> Result<Arc<Topic>, TopicError> {
        let (inner, tenant) = (&self.0, tenant.id());
        let count = check_count(total)?;
        let name = name.to_owned();
        for _ in 0..FINISH_TRIES {
            let growing = Growing {
                tenant,
                name: name.clone(),
                total: count,
                mark: inner.store.entropy.next_u64() | 1,
                validate_only,
            };
            match inner.store.grow(growing).await {
                Ok((created, _)) if validate_only => {
                    return Ok(Arc::new(inner.planned(tenant, created)));
                }
                Ok((created, committed)) => return inner.changed(tenant, created, committed).await,
                Err(Refusal::Unfinished(topic)) => inner.finish(Address { tenant, topic }).await?,
                Err(refusal) => return Err(refusal.into_error(&name)),
            }
        }
        Err(TopicError::Busy { name })
    }

    /// Changes a topic's configuration: all of `ops` in their order, or none.
    ///
    /// # Errors
    /// [`TopicError::UnknownName`], [`TopicError::Config`], [`TopicError::Store`].
    pub async fn alter_config(
        &self,
        tenant: &Tenant,
        name: &str,
        ops: Vec<ConfigOp>,
        validate_only: bool,
    ) -> Result<Arc<Topic>, TopicError> {
        let (inner, tenant) = (&self.0, tenant.id());
        let altering = Altering {
            tenant,
            name: name.to_owned(),
            ops,
            validate_only,
        };
        let altered = inner.store.alter(altering, &inner.settings.defaults).await;
        let (created, committed) = altered.map_err(|e| e.into_error(name))?;
        if validate_only {
            return Ok(Arc::new(inner.planned(tenant, created)));
        }
        inner.changed(tenant, created, committed).await
    }

    /// Every config of a topic with its value, source and synonyms, in the order of the names.
    #[must_use]
    pub fn describe_config(&self, topic: &Topic) -> Vec<ConfigEntry> {
        describe_topic(&topic.config.overrides, &self.0.settings.defaults)
    }

    /// Every config with the value that a topic without overrides has.
    #[must_use]
    pub fn describe_defaults(&self) -> Vec<ConfigEntry> {
        describe_topic(&BTreeMap::new(), &self.0.settings.defaults)
    }

    /// Ids of topics as they are deleted. A subscriber that lagged asks [`Topics::get`] for each topic it holds.
    #[must_use]
    pub fn subscribe_deleted(&self) -> broadcast::Receiver<TopicId> {
        self.0.deleted.subscribe()
    }
}

fn check_count(partitions: i32) -> Result<u32, TopicError> {
    match u32::try_from(partitions) {
        Ok(count) if count > 0 && partitions <= PARTITIONS_PER_TOPIC_MAX => Ok(count),
        Ok(count) if count > 0 => Err(TopicError::Partitions(format!(
            "Number of partitions must not be larger than {PARTITIONS_PER_TOPIC_MAX}."
        ))),
        _ => Err(TopicError::Partitions(
            "Number of partitions must be larger than 0.".to_owned(),
        )),
    }
}
