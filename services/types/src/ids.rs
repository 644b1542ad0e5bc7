//! Ids and positions. A newtype each, so that no two of them can be swapped by accident.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id!(
    /// A tenant; `TenantId(0)` is the default tenant of a service without configured auth.
    TenantId(u32)
);
id!(
    /// A topic's internal id. Never reused, so a topic made again under an old name is another topic.
    TopicId(u64)
);
id!(
    /// A partition's index in its topic, as in Kafka: 0 ≤ index < partition count.
    PartitionIndex(i32)
);
id!(
    /// A shard: the unit of lease, sequencing and replication.
    ShardId(u32)
);
id!(
    /// A shard's epoch, +1 at every change of owner: the fencing token of everything.
    Epoch(u64)
);
id!(
    /// An extent's index in its shard, dense from 0.
    ExtentIdx(u64)
);
id!(
    /// A frame's sequence number, dense per shard across extents.
    Lsn(u64)
);
id!(
    /// A process or a log node's disk. A disk that lost its cookie is a new node.
    NodeId(u64)
);
id!(
    /// One start of a process: a node that restarts is another incarnation (J9).
    Incarnation(u64)
);
id!(
    /// A record's offset in its partition.
    Offset(i64)
);
id!(
    /// Kafka's per-partition leader epoch: partition base + shard epoch (K6).
    LeaderEpoch(i32)
);
id!(
    /// An idempotent producer's id; −1 means none.
    ProducerId(i64)
);
id!(
    /// An idempotent producer's epoch; −1 means none.
    ProducerEpoch(i16)
);

impl Lsn {
    /// The LSN after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    /// The epoch of the next owner.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ExtentIdx {
    /// The extent after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ProducerId {
    /// The id of batches of producers without idempotence.
    pub const NONE: Self = Self(-1);

    /// Whether a batch carries a producer id at all.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 >= 0
    }
}

/// A partition's identity in the log: the topic's internal id and the index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PartitionId {
    /// Topic's internal id.
    pub topic: TopicId,
    /// Index in the topic.
    pub index: PartitionIndex,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// An object of the cold store. An epoch has one owner and the owner never reuses a number, so neither is an id (T3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ObjectId {
    /// The shard whose owner wrote it.
    pub shard: ShardId,
    /// The epoch of that owner.
    pub epoch: Epoch,
    /// Counts the owner's objects.
    pub number: u32,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, epoch) = (self.shard.0, self.epoch.0);
        write!(f, "{shard:08x}-{epoch:016x}-{:08x}", self.number)
    }
}

/// A topic's public id, Kafka's 16-byte uuid (KIP-516). Random (version 4), never all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicUuid(pub [u8; 16]);

impl TopicUuid {
    /// Kafka's "no id": sixteen zero bytes.
    pub const ZERO: Self = Self([0; 16]);
}

impl fmt::Display for TopicUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for TopicUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicUuid({self})")
    }
}

/// Who owns a shard: a node, one start of it, and a nonce of that taking (J9).
///
/// Equality of all three is what "still the owner" means: a node that restarted, or that took the
/// same shard twice, is not the owner it was.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct OwnerId {
    /// The process that holds the lease.
    pub node: NodeId,
    /// The start of that process.
    pub incarnation: Incarnation,
    /// Random per taking.
    pub nonce: u64,
}

/// Proof of where a shard's ownership stood: carried by every owner-side transaction and append.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ownership {
    /// The shard owned.
    pub shard: ShardId,
    /// The epoch it is owned under.
    pub epoch: Epoch,
    /// The owner.
    pub owner: OwnerId,
}
