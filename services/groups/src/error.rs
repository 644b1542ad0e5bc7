//! Why the coordinator refused.

use tidemark_types::{Coded, ErrorCode};

/// Why a group request was refused. One enum for all of them: a client handles the codes alike.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The group's shard is being taken over by this node.
    #[error("coordinate the group: its shard is still recovering")]
    Loading,
    /// Another node owns the group's shard, or this one lost it during the request.
    #[error("coordinate the group: another node owns its shard")]
    NotCoordinator,
    /// The outcome of the request is not known, or the coordinator cannot work now. Every request may be sent again.
    #[error("coordinate the group: {0}")]
    NotAvailable(String),
    /// The group id is empty or longer than `NAME_BYTES_MAX`.
    #[error("read the group id: it must be 1 to 1024 bytes")]
    InvalidGroupId,
    /// No such member; rejoin with an empty member id.
    #[error("find the member: the group does not know it")]
    UnknownMemberId,
    /// Join again with this member id (KIP-394).
    #[error("join the group: rejoin as {member_id}")]
    MemberIdRequired {
        /// The id the coordinator chose.
        member_id: String,
    },
    /// The generation is not the group's current one.
    #[error("check the generation: it is not the group's current one")]
    IllegalGeneration,
    /// The group rebalances: rejoin.
    #[error("wait for the group: it is rebalancing")]
    RebalanceInProgress,
    /// Another member took over this `group.instance.id` (KIP-345).
    #[error("check the instance id: another member took it over")]
    FencedInstanceId,
    /// The protocol type or the assignors do not fit the group's.
    #[error("join the group: no protocol in common with its members")]
    InconsistentProtocol,
    /// The session timeout is outside the configured range.
    #[error("join the group: session timeout outside {min_ms} to {max_ms} ms")]
    InvalidSessionTimeout {
        /// `group.min.session.timeout.ms`.
        min_ms: u64,
        /// `group.max.session.timeout.ms`.
        max_ms: u64,
    },
    /// The group has `group.max.size` members.
    #[error("join the group: it has its maximum of {max} members")]
    GroupMaxSizeReached {
        /// `group.max.size`.
        max: usize,
    },
    /// A bound was exceeded; the message names it. The request will never succeed as it is.
    #[error("keep the group: {0}")]
    OverLimit(String),
    /// The group has members.
    #[error("change the group: it has members")]
    NonEmpty,
    /// No such group.
    #[error("find the group: no such group")]
    NotFound,
    /// The group's members subscribe to the topic.
    #[error("delete the offset: the group subscribes to the topic")]
    SubscribedToTopic,
    /// The commit's metadata is over 4096 bytes.
    #[error("commit the offset: its metadata is over {max} bytes")]
    MetadataTooLarge {
        /// The bound, bytes.
        max: usize,
    },
    /// The stored state cannot be decoded: damage, or a newer version wrote it.
    #[error("load the group: {0}")]
    Corrupt(String),
}

impl Coded for GroupError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Loading => ErrorCode::CoordinatorLoading,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::NotAvailable(_) => ErrorCode::CoordinatorNotAvailable,
            Self::InvalidGroupId => ErrorCode::InvalidGroupId,
            Self::UnknownMemberId => ErrorCode::UnknownMemberId,
            Self::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            Self::IllegalGeneration => ErrorCode::IllegalGeneration,
            Self::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            Self::FencedInstanceId => ErrorCode::FencedInstanceId,
            Self::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
            Self::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            Self::GroupMaxSizeReached { .. } => ErrorCode::GroupMaxSizeReached,
            Self::OverLimit(_) => ErrorCode::PolicyViolation,
            Self::NonEmpty => ErrorCode::NonEmptyGroup,
            Self::NotFound => ErrorCode::GroupIdNotFound,
            Self::SubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            Self::MetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
            Self::Corrupt(_) => ErrorCode::Unknown,
        }
    }
}
