//! Topics: names, placement, configuration, and a cache of them that stays coherent.
//!
//! # Overview
//! [`Topics`] is the one door to topic metadata for both gateways and the log. A [`Topic`] is an immutable
//! snapshot behind an `Arc`; a change makes a new one. What a topic's configuration may say, and what it does
//! here, is one table ([`config_table`]).
//!
//! # Consistency
//! Every change is an idempotent transaction: run again after an unknown outcome it recognises its own earlier
//! success by the id it chose (J9). A topic with more partitions than fit a transaction goes through a
//! state CREATING with a cursor; whoever meets one left behind by a crash carries it on. Deletion likewise.
//!
//! # Caching
//! A lookup that hits the cache takes a read lock and clones an `Arc`. Changes made through this process
//! apply to the cache at once; those of others arrive through a count of changes per bucket of tenants, which is
//! watched and also polled. Absence is never cached: a missing topic costs one read. With the metadata store
//! down, cached topics go on being served.

mod cache;
mod config;
mod error;
mod follow;
mod inner;
mod name;
mod store;
mod topic;
mod topics;

#[cfg(test)]
mod tests;

pub use config::{
    CleanupPolicy, CompressionType, ConfigDefaults, ConfigEntry, ConfigError, ConfigSource,
    ConfigSpec, ConfigSynonym, ConfigType, Durability, Effect, TimestampType, TopicConfig,
    config_spec, config_table,
};
pub use error::TopicError;
pub use name::{NameError, is_reserved, validate_name};
pub use topic::{ConfigOp, DeletedTopic, NewTopic, Placement, Topic, TopicRef};
pub use topics::{Settings, Topics};
