//! `l1`: what of one partition lies in objects of its own.
//!
//! A partition's rows follow one another without a gap: each covers offsets, whether or not a record is left at each of
//! them, and below the end of the last one they hold instead of whatever `l0` rows still say of the partition.

use serde::{Deserialize, Serialize};
use tidemark_types::{
    DecodeError, ObjectId, Offset, PartitionId, PartitionIndex, Reader, ShardId, TopicId,
};

use super::{Key, KeyRange, Record, Tag, prefix_range};

/// `l1/{s}/{topic}/{p}/{end_offset}`. The shard comes first, so that an owner reads all of its rows as one range and finds
/// those of deleted topics too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Level1Key {
    /// The shard.
    pub shard: ShardId,
    /// The partition.
    pub partition: PartitionId,
    /// End of the offsets, exclusive.
    pub end: Offset,
}

impl Level1Key {
    /// Every row of a shard.
    #[must_use]
    pub fn of_shard(shard: ShardId) -> KeyRange {
        let mut prefix = vec![Tag::Level1 as u8];
        prefix.extend_from_slice(&shard.0.to_be_bytes());
        prefix_range(&prefix)
    }
}

impl Key for Level1Key {
    const TAG: Tag = Tag::Level1;
    type Value = Level1Row;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shard.0.to_be_bytes());
        out.extend_from_slice(&self.partition.topic.0.to_be_bytes());
        out.extend_from_slice(&self.partition.index.0.to_be_bytes());
        out.extend_from_slice(&self.end.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let shard = ShardId(from.u32("l1's shard")?);
        let partition = PartitionId {
            topic: TopicId(from.u64("l1's topic")?),
            index: PartitionIndex(from.i32("l1's partition index")?),
        };
        let end = Offset(from.i64("l1's end")?);
        if partition.index.0 < 0 || end.0 < 0 {
            let why = "a negative index or offset sorts out of order";
            return Err(DecodeError::invalid("l1 key", why));
        }
        Ok(Self {
            shard,
            partition,
            end,
        })
    }
}

/// Some of a partition's offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Level1Row {
    /// First offset it covers.
    pub base: Offset,
    /// Where the records are; absent when compaction left none.
    pub object: Option<Level1Object>,
    /// Below this offset every record is the latest of its key as of some moment after it was written; `base` when
    /// nothing was compacted.
    pub clean: Offset,
    /// The earliest time at which a tombstone in it may go, ms since the Unix epoch.
    pub horizon_ms: Option<i64>,
}

/// The object of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Level1Object {
    /// Its name.
    pub object: ObjectId,
    /// Its size, bytes.
    pub bytes: u64,
    /// Where its footer index begins.
    pub index_at: u64,
    /// Its records, as their batches state them.
    pub records: u64,
    /// The largest timestamp of any of its batches, ms since the Unix epoch.
    pub max_timestamp: i64,
}

impl Record for Level1Row {
    const VERSION: u8 = 1;
    const NAME: &'static str = "l1 row";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemark_types::Epoch;

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    fn key() -> impl Strategy<Value = Level1Key> {
        (any::<u32>(), any::<u64>(), 0..i32::MAX, 0..i64::MAX).prop_map(
            |(shard, topic, index, end)| Level1Key {
                shard: ShardId(shard),
                partition: PartitionId {
                    topic: TopicId(topic),
                    index: PartitionIndex(index),
                },
                end: Offset(end),
            },
        )
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            a in key(), b in key(), offsets: (i64, i64), sizes: (u64, u64, u64), ms: i64,
            horizon_ms: Option<i64>, epoch: u64, empty: bool,
        ) {
            let object = Level1Object {
                object: ObjectId { shard: a.shard, epoch: Epoch(epoch), number: 7 },
                bytes: sizes.0,
                index_at: sizes.1,
                records: sizes.2,
                max_timestamp: ms,
            };
            let row = Level1Row {
                base: Offset(offsets.0),
                object: (!empty).then_some(object),
                clean: Offset(offsets.1),
                horizon_ms,
            };
            round_trip(&a, &row, false);
            same_order(&a, &b);
            let range = Level1Key::of_shard(a.shard);
            prop_assert!(range.begin <= a.encode() && a.encode() < range.end);
        }
    }

    #[test]
    fn stored_form_is_kept() {
        let shard = ShardId(2);
        let key = Level1Key {
            shard,
            partition: PartitionId {
                topic: TopicId(9),
                index: PartitionIndex(3),
            },
            end: Offset(1_000_000),
        };
        let object = Level1Object {
            object: ObjectId {
                shard,
                epoch: Epoch(300),
                number: 18,
            },
            bytes: 64 << 20,
            index_at: 63 << 20,
            records: 900_000,
            max_timestamp: 1_700_000_000_123,
        };
        let row = Level1Row {
            base: Offset(50_000),
            object: Some(object),
            clean: Offset(700_000),
            horizon_ms: Some(1_700_000_086_400),
        };
        golden("l1", &key, &row);
    }
}
