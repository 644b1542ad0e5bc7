//! What a topic is to the rest of the service.

use std::collections::BTreeMap;

use tidemark_types::{PartitionId, PartitionIndex, ShardId, TenantId, TopicId, TopicUuid};

use crate::TopicConfig;

/// Where a partition lives. Fixed at creation (K10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// The shard that sequences and holds the partition.
    pub shard: ShardId,
    /// Kafka's leader epoch is this plus the shard's epoch (K6).
    pub leader_epoch_base: i32,
}

/// A topic as it was at one moment: immutable, shared as `Arc<Topic>`.
#[derive(Clone, PartialEq, Debug)]
pub struct Topic {
    /// Whose it is.
    pub tenant: TenantId,
    /// Its internal id: never reused, so a topic made again under the name is another one.
    pub id: TopicId,
    /// Its public id (KIP-516).
    pub uuid: TopicUuid,
    /// Its name.
    pub name: String,
    /// Its partitions; the position is the partition's index.
    pub partitions: Vec<Placement>,
    /// Its effective configuration.
    pub config: TopicConfig,
    /// When it was created, wall clock, ms since the Unix epoch.
    pub created_ms: i64,
    /// Grows with every change of the topic; the larger one of two snapshots is the newer one.
    pub revision: u64,
}

impl Topic {
    /// Where partition `index` lives; `None` when the topic has no such partition.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Placement> {
        usize::try_from(index.0)
            .ok()
            .and_then(|i| self.partitions.get(i))
    }

    /// The number of partitions, as Kafka counts them.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// The identity of partition `index` in the log, whether or not it exists.
    #[must_use]
    pub const fn partition_id(&self, index: PartitionIndex) -> PartitionId {
        PartitionId {
            topic: self.id,
            index,
        }
    }

    /// Every partition with its index, in order.
    pub fn indexed(&self) -> impl Iterator<Item = (PartitionIndex, &Placement)> {
        (0i32..)
            .zip(&self.partitions)
            .map(|(i, p)| (PartitionIndex(i), p))
    }
}

/// A topic to create.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewTopic {
    /// Its name; checked as Kafka checks it.
    pub name: String,
    /// Its partition count; `None` takes the service's default.
    pub partitions: Option<i32>,
    /// Configuration that differs from the service's defaults, by Kafka's config names.
    pub config: BTreeMap<String, String>,
    /// Check everything, create nothing.
    pub validate_only: bool,
}

/// How a caller names an existing topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By public id.
    Uuid(TopicUuid),
}

/// A topic that was deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletedTopic {
    /// Its internal id.
    pub id: TopicId,
    /// Its public id.
    pub uuid: TopicUuid,
    /// Its name.
    pub name: String,
}

/// One step of a configuration change (KIP-339).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigOp {
    /// Sets a config.
    Set {
        /// The config's name.
        name: String,
        /// The new value.
        value: String,
    },
    /// Drops a config's override: the default holds again.
    Delete {
        /// The config's name.
        name: String,
    },
    /// Adds comma-separated elements to a config of type list; those already there stay once.
    Append {
        /// The config's name.
        name: String,
        /// Elements to add.
        value: String,
    },
    /// Removes comma-separated elements from a config of type list.
    Subtract {
        /// The config's name.
        name: String,
        /// Elements to remove.
        value: String,
    },
    /// Drops every override whose name is not listed: AlterConfigs (before KIP-339) replaces the whole set.
    RetainOnly {
        /// The names to keep.
        names: Vec<String>,
    },
}
