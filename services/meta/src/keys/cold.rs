//! What lies in the object store: `tier/{s}`, `l0/{s}/{end_lsn}`, `pend/{object}`, `gc/{versionstamp}/{n}`.
//!
//! An object is named by exactly one of three rows: `pend` while it is being written, `l0` (`l1`, `state`) while it is part
//! of the log, `gc` from the moment it is not. One transaction moves it from one to the next, so nothing live is ever collected and
//! nothing is forgotten (invariant 13). Rows are per object, never per partition.

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Epoch, Lsn, ObjectId, Reader, ShardId};

use super::{Key, KeyRange, Record, Tag, prefix_range};
use crate::{Transaction, Versionstamp};

/// `tier/{s}`. Separate from `shard/{s}`, so tier commits do not conflict with other owner-side transactions (K8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TierKey(pub ShardId);

impl Key for TierKey {
    const TAG: Tag = Tag::Tier;
    type Value = TierRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(ShardId(from.u32("tier row's shard")?)))
    }
}

/// How much of a shard lies in the object store. Absent: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct TierRow {
    /// Every frame below it is in the object store; never goes down.
    pub tiered_lsn: Lsn,
}

impl Record for TierRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "tier row";
}

/// `l0/{s}/{end_lsn}`; a shard's objects sort as their frames do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Level0Key {
    /// The shard.
    pub shard: ShardId,
    /// End of the LSN range, exclusive.
    pub end: Lsn,
}

impl Level0Key {
    /// Every object of a shard.
    #[must_use]
    pub fn of_shard(shard: ShardId) -> KeyRange {
        let mut prefix = vec![Tag::Level0 as u8];
        prefix.extend_from_slice(&shard.0.to_be_bytes());
        prefix_range(&prefix)
    }
}

impl Key for Level0Key {
    const TAG: Tag = Tag::Level0;
    type Value = Level0Row;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shard.0.to_be_bytes());
        out.extend_from_slice(&self.end.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            shard: ShardId(from.u32("l0's shard")?),
            end: Lsn(from.u64("l0's end")?),
        })
    }
}

/// A cold segment of a shard's LSN range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Level0Row {
    /// The object.
    pub object: ObjectId,
    /// First LSN of the range.
    pub first: Lsn,
    /// Size of the object, bytes.
    pub bytes: u64,
    /// Where its footer index begins; it ends at the object's trailer.
    pub index_at: u64,
    /// The largest timestamp of any of its batches, ms since the Unix epoch.
    pub max_timestamp: i64,
}

impl Record for Level0Row {
    const VERSION: u8 = 1;
    const NAME: &'static str = "l0 row";
}

/// `pend/{object}`; a shard's intents sort by the epoch that made them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PendingKey(pub ObjectId);

impl PendingKey {
    /// Every intent of a shard.
    #[must_use]
    pub fn of_shard(shard: ShardId) -> KeyRange {
        let mut prefix = vec![Tag::Pending as u8];
        prefix.extend_from_slice(&shard.0.to_be_bytes());
        prefix_range(&prefix)
    }
}

impl Key for PendingKey {
    const TAG: Tag = Tag::Pending;
    type Value = PendingRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.shard.0.to_be_bytes());
        out.extend_from_slice(&self.0.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.0.number.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(ObjectId {
            shard: ShardId(from.u32("intent's shard")?),
            epoch: Epoch(from.u64("intent's epoch")?),
            number: from.u32("intent's number")?,
        }))
    }
}

/// An intent. It is an orphan when its epoch is past, never by age (T1); the time is for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingRow {
    /// When it was made, ms since the Unix epoch.
    pub made_ms: i64,
}

impl Record for PendingRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "pending object";
}

/// `gc/{versionstamp}/{n}`; sorts by when it was written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct GarbageKey {
    /// Of the transaction that condemned the object.
    pub stamp: Versionstamp,
    /// Tells apart what one transaction condemned.
    pub order: u16,
}

impl Key for GarbageKey {
    const TAG: Tag = Tag::Garbage;
    type Value = GarbageRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.stamp);
        out.extend_from_slice(&self.order.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let stamp = from.take(size_of::<Versionstamp>(), "versionstamp")?;
        Ok(Self {
            stamp: stamp.try_into().expect("take returned the asked length"),
            order: from.u16("order")?,
        })
    }
}

/// An object that is no part of the log any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GarbageRow {
    /// The object.
    pub object: ObjectId,
    /// Not deleted before this time, ms since the Unix epoch: readers may still hold its name.
    pub not_before_ms: i64,
    /// It was deleted once; a put may have landed since, so it is deleted once more (T3).
    pub again: bool,
}

impl GarbageRow {
    /// An object to be deleted at that time at the earliest, and then once more.
    #[must_use]
    pub const fn new(object: ObjectId, not_before_ms: i64) -> Self {
        Self {
            object,
            not_before_ms,
            again: false,
        }
    }
}

impl Record for GarbageRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "garbage row";
}

/// Condemns an object in this transaction, under a key of the commit's stamp; `order` differs within the transaction.
pub fn condemn(tx: &mut dyn Transaction, order: u16, row: &GarbageRow) {
    let value = super::Value::encode(row);
    tx.set_versionstamped_key(&[Tag::Garbage as u8], &order.to_be_bytes(), &value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    fn object() -> impl Strategy<Value = ObjectId> {
        (any::<u32>(), any::<u64>(), any::<u32>()).prop_map(|(shard, epoch, number)| ObjectId {
            shard: ShardId(shard),
            epoch: Epoch(epoch),
            number,
        })
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            a in object(), b in object(), lsns: (u64, u64), bytes: (u64, u64), ms: i64, again: bool,
            stamps: ([u8; 10], [u8; 10]), orders: (u16, u16),
        ) {
            let (first, end) = (Lsn(lsns.0), Lsn(lsns.1));
            round_trip(&TierKey(a.shard), &TierRow { tiered_lsn: first }, false);
            same_order(&TierKey(a.shard), &TierKey(b.shard));

            let (ka, kb) = (Level0Key { shard: a.shard, end }, Level0Key { shard: b.shard, end: first });
            let (bytes, index_at) = bytes;
            let row = Level0Row { object: a, first, bytes, index_at, max_timestamp: ms };
            round_trip(&ka, &row, false);
            same_order(&ka, &kb);
            let range = Level0Key::of_shard(a.shard);
            prop_assert!(range.begin <= ka.encode() && ka.encode() < range.end);

            round_trip(&PendingKey(a), &PendingRow { made_ms: ms }, false);
            same_order(&PendingKey(a), &PendingKey(b));
            let range = PendingKey::of_shard(a.shard);
            prop_assert!(range.begin <= PendingKey(a).encode() && PendingKey(a).encode() < range.end);

            let (ka, kb) = (
                GarbageKey { stamp: stamps.0, order: orders.0 },
                GarbageKey { stamp: stamps.1, order: orders.1 },
            );
            round_trip(&ka, &GarbageRow { object: b, not_before_ms: ms, again }, false);
            same_order(&ka, &kb);
        }
    }

    #[test]
    fn stored_form_is_kept() {
        let shard = ShardId(2);
        let object = ObjectId {
            shard,
            epoch: Epoch(300),
            number: 17,
        };
        let tier = TierRow {
            tiered_lsn: Lsn(4_000),
        };
        golden("tier", &TierKey(shard), &tier);
        let key = Level0Key {
            shard,
            end: Lsn(4_000),
        };
        let row = Level0Row {
            object,
            first: Lsn(3_000),
            bytes: 64 << 20,
            index_at: 63 << 20,
            max_timestamp: 1_700_000_000_123,
        };
        golden("l0", &key, &row);
        let made_ms = 1_700_000_000_000;
        golden("pend", &PendingKey(object), &PendingRow { made_ms });
        let key = GarbageKey {
            stamp: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            order: 3,
        };
        let row = GarbageRow {
            object,
            not_before_ms: made_ms,
            again: true,
        };
        golden("gc", &key, &row);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_condemned_is_found_under_the_commits_stamp() {
        use crate::{MetaStore, Mode, keys};
        let clock = tidemark_runtime::Clock::system();
        let store = crate::sim::Sim::new(&clock);
        let row = |number| {
            let object = ObjectId {
                shard: ShardId(1),
                epoch: Epoch(1),
                number,
            };
            GarbageRow::new(object, 5)
        };
        let mut tx = store.begin();
        condemn(tx.as_mut(), 0, &row(7));
        condemn(tx.as_mut(), 1, &row(8));
        let stamp = tx.commit().await.unwrap().versionstamp;
        let mut tx = store.begin();
        let all = keys::scan::<GarbageKey>(tx.as_mut(), GarbageKey::all(), 9, Mode::Snapshot);
        let expected =
            [(0, row(7)), (1, row(8))].map(|(order, r)| (GarbageKey { stamp, order }, r));
        assert_eq!(all.await.unwrap(), expected);
    }
}
