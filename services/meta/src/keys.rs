//! The keyspace: every key type, its fixed ordinal, and one codec file each.
//!
//! A key is a one-byte tag ([`Tag`]), then fixed-width big-endian ids, then (last) at most one user string.
//! Keys of a tenant's data are built from a [`tidemark_types::Tenant`] or from ids that were looked up with one.
//! A value is a version byte, then the fields; every version ever written stays decodable and has a golden
//! fixture under `migrations/fixtures/`. Counters that atomic operations change are the one exception
//! ([`Counter`]).
//!
//! To add a key type: a line in the table, a [`Tag`], and a file `keys/<name>.rs` with the key (`impl` [`Key`]),
//! its value (`impl` [`Record`]) and a property test that calls `testing::round_trip`,
//! and a test that calls `testing::golden` (its fixtures are written by `TIDEMARK_WRITE=1 cargo test`). [`get`], [`put`], [`clear`]
//! and [`scan`] then read and write it inside a transaction; `schema.rs` is the smallest example.
//!
//! | tag | key | value | file |
//! |---|---|---|---|
//! | 0x01 | `meta/…` | schema version, migration cursor, cluster id | `schema.rs` |
//! | 0x10 | `tenant/{tid}` | tenant record | |
//! | 0x11 | `tname/{name}` | tenant id | |
//! | 0x20 | `topic/{tid}/{topic}` | name, uuid, state, configuration ([`topic`]) | `topic.rs` |
//! | 0x21 | `topicname/{tid}/{name}` | topic id | `topic.rs` |
//! | 0x22 | `topicuuid/{tid}/{uuid}` | topic id | `topic.rs` |
//! | 0x23 | `part/{topic}/{p}` | tenant, shard, leader-epoch base, log start | `partition.rs` |
//! | 0x24 | `sp/{shard}/{topic}/{p}` | reverse index, empty | `partition.rs` |
//! | 0x30 | `shard/{s}` | epoch, owner, state | `shard.rs` |
//! | 0x31 | `tier/{s}` | tiered_lsn (K8) | `cold.rs` |
//! | 0x32 | `ext/{s}/{idx}` | extent, checkpoint mark | `extent.rs` |
//! | 0x33 | `state/{s}` | the shard's newest state object | `state.rs` |
//! | 0x38 | `l0/{s}/{end_lsn}` | a cold segment of a shard's LSN range | `cold.rs` |
//! | 0x39 | `l1/{s}/{topic}/{p}/{end_offset}` | a cold segment of one partition | `cold1.rs` |
//! | 0x3a | `pend/{object}` | the intent to write an object | `cold.rs` |
//! | 0x3b | `gc/{versionstamp}/{n}` | an object to be deleted | `cold.rs` |
//! | 0x3d | `recon/{s}` | when a shard's objects are listed next | `reconcile.rs` |
//! | 0x40 | `grp/{tid}/{group}` | generation, protocol, leader | `group.rs` |
//! | 0x41 | `off/{tid}/{group}/{topic}/{p}` | committed offset | `group.rs` |
//! | 0x42 | `grpm/{tid}/{group}/{chunk}` | members | `group.rs` |
//! | 0x43 | `grpn/{tid}` | number of groups | `group.rs` |
//! | 0x50 | `txn/…`, 0x51 `txto/…`, 0x52 `txoff/…` | transactions | |
//! | 0x53 | `pidblk` | next producer-id block | `producer_id.rs` |
//! | 0x60–0x63 | `cred` `acl` `quota` `use` | credentials, ACLs, limits, usage | |
//! | 0x70 | `node/{id}` | registry | `node.rs` |
//! | 0x71 | `hb/{id}` | heartbeat counter | `node.rs` |
//! | 0x72 | `ver/{of}/{bucket}` | counts of changes, for watches | `change.rs` |

pub mod change;
mod codec;
pub mod cold;
pub mod cold1;
pub mod extent;
pub mod group;
pub mod node;
pub mod partition;
pub mod producer_id;
pub mod reconcile;
pub mod schema;
pub mod shard;
pub mod state;
#[cfg(test)]
pub(crate) mod testing;
pub mod topic;

pub use codec::{
    Counter, Key, KeyRange, Record, Value, behind, clear, get, prefix_range, push_text, put,
    read_text, scan,
};

/// A key's first byte. Never reused, never renumbered: stored keys depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Tag {
    /// `meta/…`
    Meta = 0x01,
    /// `topic/{tid}/{topic}`
    Topic = 0x20,
    /// `topicname/{tid}/{name}`
    TopicName = 0x21,
    /// `topicuuid/{tid}/{uuid}`
    TopicUuid = 0x22,
    /// `part/{topic}/{p}`
    Partition = 0x23,
    /// `sp/{shard}/{topic}/{p}`
    ShardPartition = 0x24,
    /// `shard/{s}`
    Shard = 0x30,
    /// `ext/{s}/{idx}`
    Extent = 0x32,
    /// `tier/{s}`
    Tier = 0x31,
    /// `state/{s}`
    State = 0x33,
    /// `l0/{s}/{end_lsn}`
    Level0 = 0x38,
    /// `l1/{s}/{topic}/{p}/{end_offset}`
    Level1 = 0x39,
    /// `pend/{object}`
    Pending = 0x3a,
    /// `gc/{versionstamp}/{n}`
    Garbage = 0x3b,
    /// `recon/{s}`
    Reconcile = 0x3d,
    /// `grp/{tid}/{group}`
    Group = 0x40,
    /// `off/{tid}/{group}/{topic}/{p}`
    GroupOffset = 0x41,
    /// `grpm/{tid}/{group}/{chunk}`
    GroupMembers = 0x42,
    /// `grpn/{tid}`
    GroupCount = 0x43,
    /// `pidblk`
    ProducerIdBlock = 0x53,
    /// `node/{id}`
    Node = 0x70,
    /// `hb/{id}`
    Heartbeat = 0x71,
    /// `ver/{of}/{bucket}`
    Change = 0x72,
}
