//! Consumer groups and their committed offsets.
//!
//! A group's row is small and every transaction of the group reads and writes it, which puts them in one order
//! (K7). Its members are one encoded list, cut into chunks because it may be larger than a value may be. An
//! offset names its topic by id, so a topic made again under the same name starts without any.

use serde::{Deserialize, Serialize};
use tidemark_types::limits::{GROUP_STATE_BYTES_MAX, META_VALUE_BYTES_MAX};
use tidemark_types::{DecodeError, PartitionIndex, Reader, TenantId, TopicId};

use super::codec::{KeyRange, prefix_range, push_text, read_text};
use super::{Counter, Key, Record, Tag};

/// Bytes of a group's members in one chunk; below the largest value a store takes.
pub const GROUP_CHUNK_BYTES: usize = 90_000;
/// Chunks of a group at the most.
pub const GROUP_CHUNKS_MAX: usize = GROUP_STATE_BYTES_MAX.div_ceil(GROUP_CHUNK_BYTES);

const _: () = assert!(GROUP_CHUNK_BYTES < META_VALUE_BYTES_MAX);

/// `grp/{tid}/{group}`
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The group's id.
    pub group: String,
}

impl GroupKey {
    /// Every group of a tenant, in name order.
    #[must_use]
    pub fn of_tenant(tenant: TenantId) -> KeyRange {
        let mut prefix = vec![Tag::Group as u8];
        prefix.extend_from_slice(&tenant.0.to_be_bytes());
        prefix_range(&prefix)
    }

    /// Every group of a tenant and of those with larger ids.
    #[must_use]
    pub fn from_tenant(tenant: TenantId) -> KeyRange {
        KeyRange {
            begin: Self::of_tenant(tenant).begin,
            end: prefix_range(&[Tag::Group as u8]).end,
        }
    }
}

impl Key for GroupKey {
    const TAG: Tag = Tag::Group;
    type Value = GroupRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tenant.0.to_be_bytes());
        out.extend_from_slice(self.group.as_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tenant = TenantId(from.u32("tenant")?);
        let name = from.take(from.remaining(), "group")?;
        let group = std::str::from_utf8(name)
            .map_err(|_| DecodeError::invalid("group", "not UTF-8"))?
            .to_owned();
        Ok(Self { tenant, group })
    }
}

/// What is stored of a group besides its members and offsets.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct GroupRow {
    /// +1 with every transaction of the group: its owner recognises its own commit by it (J9).
    pub revision: u64,
    /// The generation of the stored members.
    pub generation: i32,
    /// The highest generation any member was ever told; ≥ `generation`. The next one is above it.
    pub announced: i32,
    /// `consumer`, …; none for a group that only commits offsets.
    pub protocol_type: Option<String>,
    /// The selected protocol; none without members.
    pub protocol: Option<String>,
    /// The leader's member id; none without members.
    pub leader: Option<String>,
    /// When the group reached the stored state, wall ms: offsets of an empty group age from it.
    pub since_ms: i64,
    /// Members stored.
    pub members: u32,
    /// Chunks they are stored in.
    pub chunks: u32,
}

impl Record for GroupRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "group";
}

/// `grpm/{tid}/{group}/{chunk}`
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupChunkKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The group's id.
    pub group: String,
    /// The chunk, from 0.
    pub chunk: u32,
}

impl GroupChunkKey {
    /// Every chunk of a group.
    #[must_use]
    pub fn of_group(tenant: TenantId, group: &str) -> KeyRange {
        prefix_range(&group_prefix(Tag::GroupMembers, tenant, group))
    }
}

impl Key for GroupChunkKey {
    const TAG: Tag = Tag::GroupMembers;
    type Value = GroupChunk;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tenant.0.to_be_bytes());
        push_text(out, &self.group);
        out.extend_from_slice(&self.chunk.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tenant: TenantId(from.u32("tenant")?),
            group: read_text(from, "group")?,
            chunk: from.u32("chunk")?,
        })
    }
}

/// A part of the encoded [`StoredMembers`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupChunk(pub Vec<u8>);

impl Record for GroupChunk {
    const VERSION: u8 = 1;
    const NAME: &'static str = "chunk of a group's members";
}

/// A group's members, by member id.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct StoredMembers(pub Vec<StoredMember>);

impl Record for StoredMembers {
    const VERSION: u8 = 1;
    const NAME: &'static str = "group members";
}

/// A member of the stored generation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StoredMember {
    /// The member's id.
    pub id: String,
    /// Its instance id, when static (KIP-345).
    pub instance: Option<String>,
    /// The client's id.
    pub client_id: String,
    /// Where the client connected from.
    pub client_host: String,
    /// How long it may stay silent, ms.
    pub session_timeout_ms: u32,
    /// How long it may take to rejoin, ms.
    pub rebalance_timeout_ms: u32,
    /// Its protocols with their metadata, preferred first.
    pub protocols: Vec<(String, Vec<u8>)>,
    /// Its assignment.
    pub assignment: Vec<u8>,
}

/// `off/{tid}/{group}/{topic}/{p}`
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupOffsetKey {
    /// The tenant.
    pub tenant: TenantId,
    /// The group's id.
    pub group: String,
    /// The topic.
    pub topic: TopicId,
    /// The partition; not negative.
    pub partition: PartitionIndex,
}

impl GroupOffsetKey {
    /// Every offset of a group, by topic and partition.
    #[must_use]
    pub fn of_group(tenant: TenantId, group: &str) -> KeyRange {
        prefix_range(&group_prefix(Tag::GroupOffset, tenant, group))
    }
}

impl Key for GroupOffsetKey {
    const TAG: Tag = Tag::GroupOffset;
    type Value = GroupOffset;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tenant.0.to_be_bytes());
        push_text(out, &self.group);
        out.extend_from_slice(&self.topic.0.to_be_bytes());
        out.extend_from_slice(&self.partition.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tenant: TenantId(from.u32("tenant")?),
            group: read_text(from, "group")?,
            topic: TopicId(from.u64("topic")?),
            partition: PartitionIndex(from.i32("partition")?),
        })
    }
}

/// A committed offset.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupOffset {
    /// The next offset to read.
    pub offset: i64,
    /// The epoch of the last record read; −1 when the client gave none.
    pub leader_epoch: i32,
    /// When it was committed, wall ms.
    pub committed_ms: i64,
    /// When it expires, wall ms, if the client said so (OffsetCommit v2–4).
    pub expires_ms: Option<i64>,
    /// The client's note.
    pub metadata: String,
}

impl Record for GroupOffset {
    const VERSION: u8 = 1;
    const NAME: &'static str = "committed offset";
}

/// `grpn/{tid}`: how many groups the tenant has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GroupCountKey {
    /// The tenant.
    pub tenant: TenantId,
}

impl Key for GroupCountKey {
    const TAG: Tag = Tag::GroupCount;
    type Value = Counter;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tenant.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tenant: TenantId(from.u32("tenant")?),
        })
    }
}

fn group_prefix(tag: Tag, tenant: TenantId, group: &str) -> Vec<u8> {
    let mut prefix = vec![tag as u8];
    prefix.extend_from_slice(&tenant.0.to_be_bytes());
    push_text(&mut prefix, group);
    prefix
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::Value;
    use crate::keys::testing::{golden, golden_key, round_trip, same_order};

    fn offset_key(group: String, topic: u64, partition: i32) -> GroupOffsetKey {
        GroupOffsetKey {
            tenant: TenantId(7),
            group,
            topic: TopicId(topic),
            partition: PartitionIndex(partition),
        }
    }

    proptest! {
        #[test]
        fn group_rows_round_trip(
            tenant: u32, group: String, other: String, revision: u64, generation: i32,
            protocol: Option<String>, since_ms: i64, members: u32,
        ) {
            let key = GroupKey { tenant: TenantId(tenant), group };
            let row = GroupRow {
                revision, generation, announced: generation, protocol_type: protocol.clone(),
                protocol: protocol.clone(), leader: protocol, since_ms, members, chunks: members,
            };
            round_trip(&key, &row, true);
            same_order(&key, &GroupKey { tenant: TenantId(tenant), group: other });
            round_trip(&GroupCountKey { tenant: TenantId(tenant) }, &Counter(revision), false);
        }

        #[test]
        fn offsets_round_trip_and_stay_in_their_group(
            group: String, other: String, topic: u64, partition in 0..i32::MAX, offset: i64,
            expires_ms: Option<i64>, metadata: String,
        ) {
            let key = offset_key(group.clone(), topic, partition);
            let value = GroupOffset {
                offset, leader_epoch: -1, committed_ms: offset, expires_ms, metadata,
            };
            round_trip(&key, &value, false);
            same_order(&key, &offset_key(other.clone(), topic, partition));
            let range = GroupOffsetKey::of_group(TenantId(7), &other);
            let encoded = key.encode();
            prop_assert_eq!(range.begin <= encoded && encoded < range.end, group == other);
        }

        #[test]
        fn chunks_round_trip(group: String, chunk: u32, bytes: Vec<u8>) {
            let key = GroupChunkKey { tenant: TenantId(1), group, chunk };
            round_trip(&key, &GroupChunk(bytes), false);
        }

        #[test]
        fn members_round_trip(
            id: String, instance: Option<String>, metadata: Vec<u8>, assignment: Vec<u8>, ms: u32,
        ) {
            let members = StoredMembers(vec![StoredMember {
                id: id.clone(), instance, client_id: id.clone(), client_host: id.clone(),
                session_timeout_ms: ms, rebalance_timeout_ms: ms,
                protocols: vec![(id, metadata)], assignment,
            }]);
            prop_assert_eq!(StoredMembers::decode(&members.encode()).unwrap(), members);
        }
    }

    #[test]
    fn stored_formats_are_what_they_were() {
        let tenant = TenantId(7);
        let key = GroupKey {
            tenant,
            group: "billing".to_owned(),
        };
        let row = GroupRow {
            revision: 3,
            generation: 2,
            announced: 4,
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
            leader: Some("m".to_owned()),
            since_ms: 1_700_000_000_000,
            members: 1,
            chunks: 1,
        };
        golden("grp", &key, &row);
        let members = StoredMembers(vec![StoredMember {
            id: "m".to_owned(),
            instance: Some("i".to_owned()),
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 300_000,
            protocols: vec![("range".to_owned(), vec![0, 1])],
            assignment: vec![2, 3],
        }]);
        let chunk = GroupChunkKey {
            tenant,
            group: "billing".to_owned(),
            chunk: 0,
        };
        golden("grpm", &chunk, &GroupChunk(members.encode()));
        let offset = GroupOffset {
            offset: 5,
            leader_epoch: -1,
            committed_ms: 1_700_000_000_000,
            expires_ms: None,
            metadata: "x".to_owned(),
        };
        golden("off", &offset_key("billing".to_owned(), 9, 2), &offset);
        golden_key("grpn", &GroupCountKey { tenant });
    }
}
