//! `topic/{tid}/{topic}`, `topicname/{tid}/{name}`, `topicuuid/{tid}/{uuid}`: a topic and the ways to find it.
//!
//! A topic's name row is keyed by the name with '.' written as '_', because two names that differ only there
//! may not exist side by side (Kafka's rule: metric names would collide). So one row tells both whether the name
//! is taken and whether another one collides with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Reader, TenantId, TopicId, TopicUuid};

use super::{Key, KeyRange, Record, Tag, prefix_range};

/// `topic/{tid}/{topic}`
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TopicKey {
    /// Whose topic.
    pub tenant: TenantId,
    /// Its internal id.
    pub topic: TopicId,
}

impl Key for TopicKey {
    const TAG: Tag = Tag::Topic;
    type Value = TopicRecord;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend(self.tenant.0.to_be_bytes());
        out.extend(self.topic.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tenant: TenantId(from.u32("tenant")?),
            topic: TopicId(from.u64("topic")?),
        })
    }
}

impl TopicKey {
    /// Every topic of a tenant.
    #[must_use]
    pub fn of_tenant(tenant: TenantId) -> KeyRange {
        tenant_range(Self::TAG, tenant)
    }
}

/// `topicname/{tid}/{name}`, the name with '.' written as '_'. Build it with [`TopicNameKey::new`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TopicNameKey {
    /// Whose topic.
    pub tenant: TenantId,
    /// The name's collision form.
    pub form: String,
}

impl TopicNameKey {
    /// The row that a topic of this name has or would have.
    #[must_use]
    pub fn new(tenant: TenantId, name: &str) -> Self {
        Self {
            tenant,
            form: name.replace('.', "_"),
        }
    }

    /// Every name of a tenant.
    #[must_use]
    pub fn of_tenant(tenant: TenantId) -> KeyRange {
        tenant_range(Self::TAG, tenant)
    }
}

impl Key for TopicNameKey {
    const TAG: Tag = Tag::TopicName;
    type Value = TopicName;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend(self.tenant.0.to_be_bytes());
        out.extend(self.form.as_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tenant = TenantId(from.u32("tenant")?);
        let raw = from.take(from.remaining(), "topic name")?;
        let form = String::from_utf8(raw.to_vec())
            .map_err(|_| DecodeError::invalid("topic name", "not UTF-8"))?;
        Ok(Self { tenant, form })
    }
}

/// `topicuuid/{tid}/{uuid}`
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TopicUuidKey {
    /// Whose topic.
    pub tenant: TenantId,
    /// Its public id.
    pub uuid: TopicUuid,
}

impl Key for TopicUuidKey {
    const TAG: Tag = Tag::TopicUuid;
    type Value = TopicPointer;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend(self.tenant.0.to_be_bytes());
        out.extend(self.uuid.0);
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tenant = TenantId(from.u32("tenant")?);
        let raw = from.take(16, "topic uuid")?;
        Ok(Self {
            tenant,
            uuid: TopicUuid(raw.try_into().expect("take returned 16 bytes")),
        })
    }
}

/// A topic.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TopicRecord {
    /// Its public id.
    pub uuid: TopicUuid,
    /// Its name as given.
    pub name: String,
    /// What is under way.
    pub state: TopicState,
    /// Partitions that clients see; 0 while it is being created.
    pub partitions: u32,
    /// Grows with every change of this row that clients can see.
    pub revision: u64,
    /// Random mark of the last growth: by it a growth with an unknown outcome recognises itself.
    pub growth: u64,
    /// When it was created, wall clock, ms since the Unix epoch.
    pub created_ms: i64,
    /// Configuration the topic overrides.
    pub overrides: BTreeMap<String, String>,
}

impl Record for TopicRecord {
    const VERSION: u8 = 1;
    const NAME: &'static str = "topic";
}

/// What is under way with a topic. All but `Ready` are carried on by whoever meets them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TopicState {
    /// Nothing.
    Ready,
    /// It is being created: partition rows below `written` exist, `target` of them are wanted.
    Creating {
        /// Partitions wanted.
        target: u32,
        /// Partition rows written.
        written: u32,
    },
    /// It gets more partitions: rows below `written` exist.
    Growing {
        /// Partitions wanted.
        target: u32,
        /// Partition rows written.
        written: u32,
    },
    /// It is deleted: no client sees it and its name is free; partition rows are being removed in their order.
    Deleting,
}

/// The value of a name row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TopicName {
    /// The topic.
    pub topic: TopicId,
    /// Its name as given; the key holds only the collision form.
    pub name: String,
}

impl Record for TopicName {
    const VERSION: u8 = 1;
    const NAME: &'static str = "topic name";
}

/// The value of a uuid row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TopicPointer {
    /// The topic.
    pub topic: TopicId,
}

impl Record for TopicPointer {
    const VERSION: u8 = 1;
    const NAME: &'static str = "topic uuid";
}

fn tenant_range(tag: Tag, tenant: TenantId) -> KeyRange {
    let mut prefix = vec![tag as u8];
    prefix.extend(tenant.0.to_be_bytes());
    prefix_range(&prefix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    fn state() -> impl Strategy<Value = TopicState> {
        prop_oneof![
            Just(TopicState::Ready),
            (0..9u32, 0..9u32)
                .prop_map(|(target, written)| TopicState::Creating { target, written }),
            (0..9u32, 0..9u32)
                .prop_map(|(target, written)| TopicState::Growing { target, written }),
            Just(TopicState::Deleting),
        ]
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            tenant: u32, topic: u64, other: u64, uuid: [u8; 16], name in "[a-z._-]{1,9}", state in state(),
            partitions: u32, revision: u64, growth: u64, created_ms: i64,
            overrides in prop::collection::btree_map(".{0,5}", ".{0,5}", 0..3),
        ) {
            let (tenant, topic, uuid) = (TenantId(tenant), TopicId(topic), TopicUuid(uuid));
            let key = TopicKey { tenant, topic };
            let record = TopicRecord {
                uuid, name: name.clone(), state, partitions, revision, growth, created_ms, overrides,
            };
            round_trip(&key, &record, false);
            same_order(&key, &TopicKey { tenant, topic: TopicId(other) });
            let range = TopicKey::of_tenant(tenant);
            prop_assert!(range.begin <= key.encode() && key.encode() < range.end);
            round_trip(&TopicNameKey::new(tenant, &name), &TopicName { topic, name }, true);
            round_trip(&TopicUuidKey { tenant, uuid }, &TopicPointer { topic }, false);
        }

        #[test]
        fn name_rows_of_one_tenant_sort_by_form(a in "[a-z._]{1,5}", b in "[a-z._]{1,5}") {
            let (a, b) = (TopicNameKey::new(TenantId(7), &a), TopicNameKey::new(TenantId(7), &b));
            same_order(&a, &b);
        }
    }

    #[test]
    fn stored_bytes_do_not_change() {
        let tenant = TenantId(7);
        let topic = TopicId(0x0102_0304_0506_0708);
        let uuid = TopicUuid(*b"0123456789abcdef");
        let record = TopicRecord {
            uuid,
            name: "orders.eu".into(),
            state: TopicState::Growing {
                target: 300,
                written: 200,
            },
            partitions: 100,
            revision: 3,
            growth: 0xdead_beef,
            created_ms: 1_700_000_000_000,
            overrides: [("retention.ms".to_owned(), "5".to_owned())].into(),
        };
        golden("topic", &TopicKey { tenant, topic }, &record);
        let name = TopicName {
            topic,
            name: "orders.eu".into(),
        };
        golden("topicname", &TopicNameKey::new(tenant, "orders.eu"), &name);
        golden(
            "topicuuid",
            &TopicUuidKey { tenant, uuid },
            &TopicPointer { topic },
        );
    }
}
