//! `state/{s}`: which object holds the shard's committed state, so that it outlives the log nodes' disks.

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Lsn, ObjectId, Reader, ShardId};

use super::{Key, Record, Tag};

/// `state/{s}`. A key of its own: it changes once per extent, `tier/{s}` with every object (K8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StateKey(pub ShardId);

impl Key for StateKey {
    const TAG: Tag = Tag::State;
    type Value = StateRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(ShardId(from.u32("state row's shard")?)))
    }
}

/// The newest state object of a shard. Absent: none was written yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateRow {
    /// The object; its epoch is that of the owner who wrote it.
    pub object: ObjectId,
    /// It holds the state after every frame below this LSN and none from it on. At most `tiered_lsn`; only goes up.
    pub lsn: Lsn,
    /// Size of the object, bytes.
    pub bytes: u64,
}

impl Record for StateRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "state row";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemark_types::Epoch;

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(shard: u32, other: u32, epoch: u64, number: u32, lsn: u64, bytes: u64) {
            let object = ObjectId { shard: ShardId(shard), epoch: Epoch(epoch), number };
            let row = StateRow { object, lsn: Lsn(lsn), bytes };
            round_trip(&StateKey(ShardId(shard)), &row, false);
            same_order(&StateKey(ShardId(shard)), &StateKey(ShardId(other)));
        }
    }

    #[test]
    fn stored_form_is_kept() {
        let shard = ShardId(2);
        let object = ObjectId {
            shard,
            epoch: Epoch(300),
            number: 19,
        };
        let row = StateRow {
            object,
            lsn: Lsn(4_000),
            bytes: 70_000,
        };
        golden("state", &StateKey(shard), &row);
    }
}
