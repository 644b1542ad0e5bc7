//! Why a topic operation failed.

use tidemark_meta::MetaError;
use tidemark_types::{Coded, ErrorCode, TopicUuid};

use crate::{ConfigError, NameError};

/// Why a topic operation failed; the message is fit for the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicError {
    /// The name breaks Kafka's rules or belongs to the service.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Two names that differ only in '.' and '_' would collide in metric names.
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collides {
        /// The name asked for.
        name: String,
        /// The topic that is there.
        existing: String,
    },
    /// There is a topic of that name.
    #[error("Topic '{name}' already exists.")]
    Exists {
        /// The name asked for.
        name: String,
    },
    /// There is no topic of that name.
    #[error("This server does not host topic '{name}'.")]
    UnknownName {
        /// The name asked for.
        name: String,
    },
    /// There is no topic of that id.
    #[error("This server does not host topic id {uuid}.")]
    UnknownUuid {
        /// The id asked for.
        uuid: TopicUuid,
    },
    /// The partition count is out of range, or would shrink.
    #[error("{0}")]
    Partitions(String),
    /// A config is unknown, its value is not allowed, or it cannot be honoured here.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Other changes of the topic came first, again and again.
    #[error("Topic '{name}' is being changed by others: retry.")]
    Busy {
        /// The name.
        name: String,
    },
    /// The metadata store failed; its code says whether to retry.
    #[error("change topics: {0}")]
    Store(#[from] MetaError),
}

impl Coded for TopicError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Name(e) => e.code(),
            Self::Collides { .. } => ErrorCode::InvalidTopicName,
            Self::Exists { .. } => ErrorCode::TopicAlreadyExists,
            Self::UnknownName { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownUuid { .. } => ErrorCode::UnknownTopicId,
            Self::Partitions(_) => ErrorCode::InvalidPartitions,
            Self::Config(_) => ErrorCode::InvalidConfig,
            Self::Busy { .. } => ErrorCode::NotController,
            Self::Store(e) => e.code(),
        }
    }
}
