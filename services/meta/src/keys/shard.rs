//! `shard/{s}`: who owns a shard. Read with conflict by every owner-side transaction (J9), so nothing that
//! changes often may live here (K8).

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Epoch, ExtentIdx, OwnerId, Reader, ShardId};

use super::{Key, Record, Tag};

/// `shard/{s}`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ShardKey(pub ShardId);

impl Key for ShardKey {
    const TAG: Tag = Tag::Shard;
    type Value = ShardRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(ShardId(from.u32("shard")?)))
    }
}

/// What a shard's owner is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ShardState {
    /// Taken; the owner recovers and does not serve yet.
    Recovering,
    /// The owner's checkpoint is committed: it serves.
    Serving,
    /// Nobody owns it; anyone may take it at once.
    Released,
}

/// A shard's lease. An absent row is a shard nobody ever took: epoch 0, no extent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShardRow {
    /// +1 at every taking; never goes down.
    pub epoch: Epoch,
    /// The owner, `None` when released.
    pub owner: Option<OwnerId>,
    /// What the owner is doing.
    pub state: ShardState,
    /// The newest extent: the open one, or the last sealed. `None` before the first.
    pub newest: Option<ExtentIdx>,
}

impl Record for ShardRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "shard row";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemark_types::{Incarnation, NodeId};

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(
            shard: u32, other: u32, epoch: u64,
            owner: Option<(u64, u64, u64)>, newest: Option<u64>, state in 0u8..3,
        ) {
            let state = match state {
                0 => ShardState::Recovering,
                1 => ShardState::Serving,
                _ => ShardState::Released,
            };
            let owner = owner.map(|(node, incarnation, nonce)| OwnerId {
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                nonce,
            });
            let newest = newest.map(ExtentIdx);
            let row = ShardRow { epoch: Epoch(epoch), owner, state, newest };
            round_trip(&ShardKey(ShardId(shard)), &row, false);
            same_order(&ShardKey(ShardId(shard)), &ShardKey(ShardId(other)));
        }
    }

    #[test]
    fn stored_form_is_kept() {
        let owner = OwnerId {
            node: NodeId(7),
            incarnation: Incarnation(3),
            nonce: 0xfeed,
        };
        let row = ShardRow {
            epoch: Epoch(300),
            owner: Some(owner),
            state: ShardState::Serving,
            newest: Some(ExtentIdx(12)),
        };
        golden("shard", &ShardKey(ShardId(2)), &row);
    }
}
