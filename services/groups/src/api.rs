//! Requests and answers, neutral to the protocol that carries them.

use std::time::Duration;

use bytes::Bytes;
use tidemark_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

use crate::GroupError;

/// How one assignor's metadata is called: Kafka's "protocol" of a member, in order of preference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    /// The assignor, as `range` or `cooperative-sticky`.
    pub name: String,
    /// The member's subscription for it, opaque here.
    pub metadata: Bytes,
}

/// A member asks to take part in the next generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinRequest {
    /// The group.
    pub group: String,
    /// The member, or empty for a new one.
    pub member_id: String,
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// The client's id, for new member ids and descriptions.
    pub client_id: String,
    /// Where the client connects from, as descriptions show it.
    pub client_host: String,
    /// How long the member may stay silent.
    pub session_timeout: Duration,
    /// How long the member may take to rejoin.
    pub rebalance_timeout: Duration,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// Assignors, preferred first.
    pub protocols: Vec<Protocol>,
    /// A new dynamic member must come back with the id it was given (JoinGroup v4, KIP-394).
    pub requires_known_member_id: bool,
    /// The client understands [`Joined::skip_assignment`] (JoinGroup v9, KIP-814).
    pub can_skip_assignment: bool,
    /// Why it joins (JoinGroup v8, KIP-800), for the log.
    pub reason: Option<String>,
}

/// A member as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedMember {
    /// The member.
    pub member_id: String,
    /// Its instance id, when static.
    pub instance_id: Option<String>,
    /// Its metadata for the selected protocol.
    pub metadata: Bytes,
}

/// A member is in a generation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The generation.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: String,
    /// The selected protocol.
    pub protocol: String,
    /// The member that computes the assignment.
    pub leader: String,
    /// The leader keeps the stored assignment and does not compute one (KIP-814).
    pub skip_assignment: bool,
    /// The member's id.
    pub member_id: String,
    /// All members for the leader, none for the others.
    pub members: Vec<JoinedMember>,
}

/// A member asks for its assignment; the leader brings all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncRequest {
    /// The group.
    pub group: String,
    /// The member.
    pub member_id: String,
    /// Its instance id, when static.
    pub instance_id: Option<String>,
    /// The generation it joined.
    pub generation: i32,
    /// Checked against the group's when given (SyncGroup v5, KIP-559).
    pub protocol_type: Option<String>,
    /// Checked against the group's when given (SyncGroup v5, KIP-559).
    pub protocol: Option<String>,
    /// From the leader: (member id, assignment).
    pub assignments: Vec<(String, Bytes)>,
}

/// A member's assignment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: String,
    /// The selected protocol.
    pub protocol: String,
    /// The assignment, opaque here.
    pub assignment: Bytes,
}

/// A member says that it lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeartbeatRequest {
    /// The group.
    pub group: String,
    /// The member.
    pub member_id: String,
    /// Its instance id, when static.
    pub instance_id: Option<String>,
    /// The generation it is in.
    pub generation: i32,
}

/// A member that leaves, or (with an empty member id) a static member that an administrator removes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaving {
    /// The member, or empty.
    pub member_id: String,
    /// Its instance id, when static.
    pub instance_id: Option<String>,
    /// Why it leaves (LeaveGroup v5, KIP-800), for the log.
    pub reason: Option<String>,
}

/// What became of one [`Leaving`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Left {
    /// As asked.
    pub member_id: String,
    /// As asked.
    pub instance_id: Option<String>,
    /// None: it has left.
    pub error: Option<ErrorCode>,
}

/// A position in a partition that a group has consumed to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the last record read; −1 when the client gave none.
    pub leader_epoch: LeaderEpoch,
    /// The client's note, at most `OFFSET_METADATA_BYTES_MAX` bytes.
    pub metadata: String,
}

/// A partition with the position to commit for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetToCommit {
    /// The topic by its internal id: a topic made again under its name does not inherit offsets.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The position.
    pub committed: CommittedOffset,
}

/// Positions to commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitRequest {
    /// The group.
    pub group: String,
    /// The member; empty for a consumer outside the group protocol.
    pub member_id: String,
    /// Its instance id, when static.
    pub instance_id: Option<String>,
    /// The member's generation; −1 for a consumer outside the group protocol.
    pub generation: i32,
    /// How long the client wants the offsets kept (OffsetCommit v2–4); none: the service's retention.
    pub retention: Option<Duration>,
    /// Positions, each partition once.
    pub offsets: Vec<OffsetToCommit>,
}

/// A partition with what became of it.
pub type PartitionOutcome = (TopicId, PartitionIndex, Result<(), GroupError>);

/// Which offsets are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OffsetSelection {
    /// Every partition the group has an offset of. Deleted topics are among them: resolve the ids and skip those.
    All,
    /// These partitions.
    Partitions(Vec<(TopicId, PartitionIndex)>),
}

/// A partition's committed offset; `None`: none is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FetchedOffset {
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The position.
    pub committed: Option<CommittedOffset>,
}

/// An offset to delete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OffsetToDelete {
    /// The topic.
    pub topic: TopicId,
    /// Its name, as subscriptions call it.
    pub topic_name: String,
    /// The partition.
    pub partition: PartitionIndex,
}

/// Where a group is in its life, with Kafka's names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum GroupState {
    /// No members.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// Joined; the leader's assignment is awaited.
    CompletingRebalance,
    /// Assigned.
    Stable,
    /// Deleted.
    Dead,
}

impl GroupState {
    /// Kafka's name of the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A member as an administrator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberDescription {
    /// The member.
    pub member_id: String,
    /// Its instance id, when static.
    pub instance_id: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// Its metadata for the selected protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub assignment: Bytes,
}

/// A group as an administrator sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// Where it is in its life.
    pub state: GroupState,
    /// `consumer`, …; empty for a group that only commits offsets.
    pub protocol_type: String,
    /// The selected protocol; empty unless the group is stable.
    pub protocol: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A group in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupListing {
    /// The group.
    pub group: String,
    /// Where it is in its life.
    pub state: GroupState,
    /// `consumer`, …; empty for a group that only commits offsets.
    pub protocol_type: String,
}
