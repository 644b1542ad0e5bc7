//! The service: lookups through the cache, changes through the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_meta::{MetaError, MetaStore};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Tenant, TopicId, TopicUuid};
use tokio::sync::broadcast;

use crate::config::{ConfigDefaults, ConfigEntry, describe_topic};
use crate::{ConfigOp, NewTopic, Topic, TopicError, TopicRef};

/// Deletions a slow subscriber may lag behind before it must ask for each of its topics.
const DELETED_LAG_MAX: usize = 1024;

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

#[derive(Debug)]
struct Inner {
    settings: Settings,
    deleted: broadcast::Sender<TopicId>,
}

impl Topics {
    /// Topics of `store` with the default settings; new partitions are spread over `shards` shards.
    #[must_use]
    pub fn new(store: Arc<dyn MetaStore>, clock: Clock, entropy: Entropy, shards: u32) -> Self {
        Self::with_settings(store, clock, entropy, shards, Settings::default())
    }

    /// Topics of `store`; new partitions are spread over `shards` shards (at least one).
    #[must_use]
    pub fn with_settings(
        _store: Arc<dyn MetaStore>,
        _clock: Clock,
        _entropy: Entropy,
        _shards: u32,
        settings: Settings,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            deleted: broadcast::channel(DELETED_LAG_MAX).0,
        }))
    }

    /// Starts following changes that other processes make. Without it only changes made through this
    /// instance and its clones reach the cache.
    pub fn follow(&self, _tasks: &Tasks) {}

    /// What the service sets for topics.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The topic of that name if the cache has it: no await, no read of the store.
    #[must_use]
    pub fn cached(&self, _tenant: &Tenant, _name: &str) -> Option<Arc<Topic>> {
        None
    }

    /// The topic of that name; `None` when there is none.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn lookup(
        &self,
        _tenant: &Tenant,
        _name: &str,
    ) -> Result<Option<Arc<Topic>>, TopicError> {
        unavailable()
    }

    /// The topic of that public id; `None` when there is none.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn lookup_uuid(
        &self,
        _tenant: &Tenant,
        _uuid: TopicUuid,
    ) -> Result<Option<Arc<Topic>>, TopicError> {
        unavailable()
    }

    /// The topic of that internal id, whichever tenant's. For the service's own use: never with an id that a
    /// client chose.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn get(&self, _id: TopicId) -> Result<Option<Arc<Topic>>, TopicError> {
        unavailable()
    }

    /// The tenant's topics, in the order of their names.
    ///
    /// # Errors
    /// [`TopicError::Store`].
    pub async fn list(&self, _tenant: &Tenant) -> Result<Vec<Arc<Topic>>, TopicError> {
        unavailable()
    }

    /// Creates a topic, or with `validate_only` answers what would be created.
    ///
    /// # Errors
    /// [`TopicError`]: name, collision, [`TopicError::Exists`], partition count, config, store.
    pub async fn create(&self, _tenant: &Tenant, _new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        unavailable()
    }

    /// The topic of that name, created with the service's defaults when there is none. The caller has checked
    /// [`Settings::auto_create`] and the client's own wish.
    ///
    /// # Errors
    /// As [`Topics::create`], without [`TopicError::Exists`].
    pub async fn lookup_or_create(
        &self,
        _tenant: &Tenant,
        _name: &str,
    ) -> Result<Arc<Topic>, TopicError> {
        unavailable()
    }

    /// Deletes a topic and answers what it was. Its name is free at once; its data is collected later.
    ///
    /// # Errors
    /// [`TopicError::UnknownName`], [`TopicError::UnknownUuid`], [`TopicError::Store`].
    pub async fn delete(
        &self,
        _tenant: &Tenant,
        _topic: TopicRef<'_>,
    ) -> Result<Arc<Topic>, TopicError> {
        unavailable()
    }

    /// Raises a topic's partition count to `total`.
    ///
    /// # Errors
    /// [`TopicError::UnknownName`], [`TopicError::Partitions`] when it would not grow, [`TopicError::Store`].
    pub async fn create_partitions(
        &self,
        _tenant: &Tenant,
        _name: &str,
        _total: i32,
        _validate_only: bool,
    ) -> Result<Arc<Topic>, TopicError> {
        unavailable()
    }

    /// Changes a topic's configuration: all of `ops` in their order, or none.
    ///
    /// # Errors
    /// [`TopicError::UnknownName`], [`TopicError::Config`], [`TopicError::Store`].
    pub async fn alter_config(
        &self,
        _tenant: &Tenant,
        _name: &str,
        _ops: Vec<ConfigOp>,
        _validate_only: bool,
    ) -> Result<Arc<Topic>, TopicError> {
        unavailable()
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

fn unavailable<T>() -> Result<T, TopicError> {
    Err(TopicError::Store(MetaError::Unavailable(
        "the topic store is not built yet".to_owned(),
    )))
}
