//! `ext/{s}/{idx}`: one extent of a shard's journal.

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Epoch, ExtentIdx, Lsn, NodeId, Reader, ShardId};

use super::{Key, KeyRange, Record, Tag, prefix_range};

/// `ext/{s}/{idx}`; a shard's extents sort by index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ExtentKey {
    /// The shard.
    pub shard: ShardId,
    /// The extent's index, dense from 0.
    pub index: ExtentIdx,
}

impl ExtentKey {
    /// Every extent of a shard.
    #[must_use]
    pub fn of_shard(shard: ShardId) -> KeyRange {
        let mut prefix = vec![Tag::Extent as u8];
        prefix.extend_from_slice(&shard.0.to_be_bytes());
        prefix_range(&prefix)
    }
}

impl Key for ExtentKey {
    const TAG: Tag = Tag::Extent;
    type Value = ExtentRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.shard.0.to_be_bytes());
        out.extend_from_slice(&self.index.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            shard: ShardId(from.u32("extent's shard")?),
            index: ExtentIdx(from.u64("extent's index")?),
        })
    }
}

/// Whether an extent is written to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ExtentState {
    /// By the owner of its writer epoch.
    Open,
    /// Never again. The end, exclusive, is fixed for ever.
    Sealed(Lsn),
}

/// LSNs of an extent that an operator gave up (J10, `unclean-seal`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LostRange {
    /// First LSN that was given up.
    pub from: Lsn,
    /// End of what is known to have been there, exclusive; `None` when no replica can tell.
    pub to: Option<Lsn>,
    /// What was damaged, for the message.
    pub why: String,
}

/// An extent: one writer epoch, a fixed replica set, never reopened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExtentRow {
    /// LSN of its first frame; the end of the extent before it.
    pub first: Lsn,
    /// Open or sealed.
    pub state: ExtentState,
    /// Its replicas.
    pub replicas: Vec<NodeId>,
    /// Replicas that make an ack.
    pub ack_quorum: u8,
    /// The only epoch that writes new frames to it.
    pub writer_epoch: Epoch,
    /// Its checkpoint is known to be committed (J12). Written after the fact: `false` proves nothing.
    pub ckpt: bool,
    /// What an operator gave up of it.
    pub lost: Option<LostRange>,
}

impl Record for ExtentRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "extent row";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(
            shard: u32, index: u64, other: (u32, u64), first: u64, sealed: Option<u64>,
            replicas: Vec<u64>, ack_quorum: u8, epoch: u64, ckpt: bool,
            lost: Option<(u64, Option<u64>, String)>,
        ) {
            let key = ExtentKey { shard: ShardId(shard), index: ExtentIdx(index) };
            let row = ExtentRow {
                first: Lsn(first),
                state: sealed.map_or(ExtentState::Open, |end| ExtentState::Sealed(Lsn(end))),
                replicas: replicas.into_iter().map(NodeId).collect(),
                ack_quorum,
                writer_epoch: Epoch(epoch),
                ckpt,
                lost: lost.map(|(from, to, why)| LostRange { from: Lsn(from), to: to.map(Lsn), why }),
            };
            round_trip(&key, &row, false);
            let other = ExtentKey { shard: ShardId(other.0), index: ExtentIdx(other.1) };
            same_order(&key, &other);
            let range = ExtentKey::of_shard(key.shard);
            let encoded = key.encode();
            prop_assert!(range.begin <= encoded && encoded < range.end);
        }
    }

    #[test]
    fn stored_form_is_kept() {
        let key = ExtentKey {
            shard: ShardId(2),
            index: ExtentIdx(12),
        };
        let row = ExtentRow {
            first: Lsn(900),
            state: ExtentState::Sealed(Lsn(1_000)),
            replicas: vec![NodeId(7), NodeId(8)],
            ack_quorum: 2,
            writer_epoch: Epoch(300),
            ckpt: true,
            lost: Some(LostRange {
                from: Lsn(990),
                to: Some(Lsn(1_000)),
                why: "bad block".to_owned(),
            }),
        };
        golden("ext", &key, &row);
    }
}
