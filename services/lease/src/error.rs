//! Why the lease operations fail. One enum per operation; the variant says what the caller does.

use tidemark_journal::{ExtentId, ReadError};
use tidemark_meta::{MetaError, TransactError};
use tidemark_types::{Coded, Epoch, ErrorCode, NodeId, OwnerId, ShardId};

/// The shard's row names another owner or epoch: stop owning it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("own shard {shard} at epoch {ours}: it is at epoch {epoch} now")]
pub struct NotOwner {
    /// The shard.
    pub shard: ShardId,
    /// The epoch the caller held.
    pub ours: Epoch,
    /// The stored epoch.
    pub epoch: Epoch,
    /// The stored owner.
    pub owner: Option<OwnerId>,
}

impl Coded for NotOwner {
    fn code(&self) -> ErrorCode {
        ErrorCode::NotLeader
    }
}

/// Why a shard could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Its owner is alive as far as this node can tell: try again when it is not, or refresh.
    #[error("take shard {shard}: owned by node {} and not known to be dead", owner.node)]
    Owned {
        /// The shard.
        shard: ShardId,
        /// The owner.
        owner: OwnerId,
    },
    /// Someone else took it meanwhile: give up (B2).
    #[error(transparent)]
    Lost(NotOwner),
    /// A newer start of this node exists: this process must stop.
    #[error("take shard {shard}: node {node} has a newer incarnation than this process")]
    Superseded {
        /// The shard.
        shard: ShardId,
        /// This node.
        node: NodeId,
    },
    /// Fewer replicas than the fence quorum can vouch for the open extent, and waiting will not change it (J5, J10).
    /// The shard stays RECOVERING until the replicas are mended or an operator runs `unclean-seal`.
    #[error("take shard: {extent} cannot be vouched for: {damage}")]
    Limbo {
        /// The open extent.
        extent: ExtentId,
        /// The damage per replica: node, first LSN, file and byte range.
        damage: String,
    },
    /// Too few replicas answer: try again.
    #[error("take shard: {extent} needs {needed} replicas, {answered} answered: {last}")]
    Replicas {
        /// The extent.
        extent: ExtentId,
        /// Answers needed.
        needed: usize,
        /// Answers received.
        answered: usize,
        /// The last failure.
        last: String,
    },
    /// A sealed extent could not be read while looking for the newest checkpoint.
    #[error("take shard: look for its newest checkpoint: {0}")]
    Read(#[from] ReadError),
    /// The metadata store failed, outcomes included: try again.
    #[error("take shard: {0}")]
    Store(#[from] MetaError),
}

impl Coded for TakeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Owned { .. } | Self::Lost(_) | Self::Superseded { .. } => ErrorCode::NotLeader,
            Self::Limbo { .. } => ErrorCode::StorageError,
            Self::Replicas { .. } | Self::Store(_) => ErrorCode::LeaderNotAvailable,
            Self::Read(e) => e.code(),
        }
    }
}

/// Why a roll did not give a new extent.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// A newer owner exists: stop. The writer is ended.
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    /// Nothing happened and the writer goes on (its freeze is lifted): try again later.
    #[error("roll: not done, the old extent goes on: {0}")]
    NotRolled(MetaError),
    /// It may have happened. The writer stays frozen (J2): call [`crate::Leases::roll`] again with the same end.
    #[error("roll: outcome unknown: {0}")]
    Unknown(MetaError),
    /// Too few log nodes answer to hold a new extent. Nothing happened and the writer goes on.
    #[error("roll: needs {needed} log nodes, {answered} answered: {last}")]
    TooFewNodes {
        /// Nodes needed.
        needed: usize,
        /// Nodes that answered.
        answered: usize,
        /// The last failure.
        last: String,
    },
    /// The old extent is sealed and too few replicas opened the new one: take the shard again.
    #[error(
        "roll: {extent} was created, but opening it needs {needed} replicas, {answered} did: {last}"
    )]
    NotOpened {
        /// The new extent.
        extent: ExtentId,
        /// Replicas needed.
        needed: usize,
        /// Replicas that opened it.
        answered: usize,
        /// The last failure.
        last: String,
    },
}

impl Coded for RollError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotOwner(e) => e.code(),
            Self::NotRolled(_) | Self::Unknown(_) => ErrorCode::RequestTimedOut,
            Self::TooFewNodes { .. } | Self::NotOpened { .. } => ErrorCode::StorageError,
        }
    }
}

/// Why an owner's own transaction failed.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// A newer owner exists: stop.
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    /// The store failed; the transaction is idempotent: try again.
    #[error("update shard: {0}")]
    Store(#[from] MetaError),
}

impl Coded for OwnerError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotOwner(e) => e.code(),
            Self::Store(e) => e.code(),
        }
    }
}

impl From<TransactError<NotOwner>> for TakeError {
    fn from(error: TransactError<NotOwner>) -> Self {
        match error {
            TransactError::Refused(why) => Self::Lost(why),
            TransactError::Store(error) => Self::Store(error),
        }
    }
}

impl From<TransactError<NotOwner>> for OwnerError {
    fn from(error: TransactError<NotOwner>) -> Self {
        match error {
            TransactError::Refused(e) => Self::NotOwner(e),
            TransactError::Store(e) => Self::Store(e),
        }
    }
}

/// Why ownership was not proven (K1).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProbeError {
    /// A replica is fenced above this epoch: stop.
    #[error("prove ownership: fenced at epoch {fence}")]
    Fenced {
        /// The fence.
        fence: Epoch,
    },
    /// Too few replicas answered: nothing is proven either way.
    #[error("prove ownership: {needed} replicas must answer, {answered} did")]
    Unproven {
        /// Answers needed.
        needed: usize,
        /// Answers received.
        answered: usize,
    },
}

impl Coded for ProbeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Fenced { .. } => ErrorCode::NotLeader,
            Self::Unproven { .. } => ErrorCode::OffsetNotAvailable,
        }
    }
}
