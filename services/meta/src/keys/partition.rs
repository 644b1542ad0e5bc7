//! `part/{topic}/{p}` and `sp/{shard}/{topic}/{p}`: where a partition lives, and what lives in a shard.

use serde::{Deserialize, Serialize};
use tidemark_types::{
    DecodeError, Offset, PartitionId, PartitionIndex, Reader, ShardId, TenantId, TopicId,
};

use super::{Key, KeyRange, Record, Tag, prefix_range};

/// `part/{topic}/{p}`
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PartitionKey(pub PartitionId);

impl PartitionKey {
    /// Every partition of a topic from index `first` on, in their order.
    #[must_use]
    pub fn of_topic(topic: TopicId, first: PartitionIndex) -> KeyRange {
        let mut prefix = vec![Self::TAG as u8];
        prefix.extend(topic.0.to_be_bytes());
        let mut range = prefix_range(&prefix);
        range.begin = Self(PartitionId {
            topic,
            index: first,
        })
        .encode();
        range
    }
}

impl Key for PartitionKey {
    const TAG: Tag = Tag::Partition;
    type Value = PartitionRecord;

    fn write_fields(&self, out: &mut Vec<u8>) {
        write_partition(self.0, out);
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_partition(from).map(Self)
    }
}

/// `sp/{shard}/{topic}/{p}`; no value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ShardPartitionKey {
    /// The shard.
    pub shard: ShardId,
    /// A partition that lives in it.
    pub partition: PartitionId,
}

impl ShardPartitionKey {
    /// Every partition of a shard.
    #[must_use]
    pub fn of_shard(shard: ShardId) -> KeyRange {
        let mut prefix = vec![Self::TAG as u8];
        prefix.extend(shard.0.to_be_bytes());
        prefix_range(&prefix)
    }
}

impl Key for ShardPartitionKey {
    const TAG: Tag = Tag::ShardPartition;
    type Value = ();

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend(self.shard.0.to_be_bytes());
        write_partition(self.partition, out);
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            shard: ShardId(from.u32("shard")?),
            partition: read_partition(from)?,
        })
    }
}

/// A partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// Whose partition: the way from an internal topic id to its tenant.
    pub tenant: TenantId,
    /// Where it lives; fixed at creation (K10).
    pub shard: ShardId,
    /// Its leader epoch is this plus the shard's epoch (K6).
    pub leader_epoch_base: i32,
    /// The first offset that may be read. Authoritative; the effective one is the maximum of all known (K3).
    pub log_start: Offset,
}

impl Record for PartitionRecord {
    const VERSION: u8 = 1;
    const NAME: &'static str = "partition";
}

fn write_partition(partition: PartitionId, out: &mut Vec<u8>) {
    debug_assert!(partition.index.0 >= 0, "a negative index would not sort");
    out.extend(partition.topic.0.to_be_bytes());
    out.extend(partition.index.0.to_be_bytes());
}

fn read_partition(from: &mut Reader<'_>) -> Result<PartitionId, DecodeError> {
    let topic = TopicId(from.u64("topic")?);
    let index = from.i32("partition index")?;
    if index < 0 {
        let why = format!("{index} is negative");
        return Err(DecodeError::invalid("partition index", why));
    }
    Ok(PartitionId {
        topic,
        index: PartitionIndex(index),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, golden_key, round_trip, same_order};

    fn partition() -> impl Strategy<Value = PartitionId> {
        (any::<u64>(), 0..=i32::MAX).prop_map(|(topic, index)| PartitionId {
            topic: TopicId(topic),
            index: PartitionIndex(index),
        })
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            a in partition(), b in partition(), tenant: u32, shard: u32, leader_epoch_base: i32, log_start: i64,
        ) {
            let record = PartitionRecord {
                tenant: TenantId(tenant), shard: ShardId(shard), leader_epoch_base, log_start: Offset(log_start),
            };
            round_trip(&PartitionKey(a), &record, false);
            same_order(&PartitionKey(a), &PartitionKey(b));
            let sp = |partition| ShardPartitionKey { shard: ShardId(shard), partition };
            round_trip(&sp(a), &(), false);
            same_order(&sp(a), &sp(b));
        }

        #[test]
        fn a_topics_range_starts_where_asked(a in partition(), first in 0..9i32) {
            let range = PartitionKey::of_topic(a.topic, PartitionIndex(first));
            let key = PartitionKey(a).encode();
            prop_assert_eq!(range.begin <= key && key < range.end, a.index.0 >= first);
        }
    }

    #[test]
    fn stored_bytes_do_not_change() {
        let partition = PartitionId {
            topic: TopicId(0x0102_0304_0506_0708),
            index: PartitionIndex(9),
        };
        let record = PartitionRecord {
            tenant: TenantId(7),
            shard: ShardId(3),
            leader_epoch_base: -2,
            log_start: Offset(1234),
        };
        golden("part", &PartitionKey(partition), &record);
        let shard = ShardId(3);
        golden_key("sp", &ShardPartitionKey { shard, partition });
    }
}
