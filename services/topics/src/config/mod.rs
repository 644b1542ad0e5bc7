//! Topic configuration: the table of known configs, their values, and the effective set of one topic.

mod describe;
mod effective;
mod spec;
mod table;
mod value;

#[cfg(test)]
mod tests;

pub(crate) use describe::describe as describe_topic;
pub use describe::{ConfigEntry, ConfigSource, ConfigSynonym};
pub use effective::{
    CleanupPolicy, CompressionType, ConfigDefaults, Durability, TimestampType, TopicConfig,
};
pub use spec::{ConfigError, ConfigSpec, ConfigType, Effect};
pub use table::{config_spec, config_table};
