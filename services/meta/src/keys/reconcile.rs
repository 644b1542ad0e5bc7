//! `recon/{s}`: when a shard's objects are listed next, and how far that has come.

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Reader, ShardId};

use super::{Key, Record, Tag};

/// `recon/{s}`. Written by the shard's owner only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ReconcileKey(pub ShardId);

impl Key for ReconcileKey {
    const TAG: Tag = Tag::Reconcile;
    type Value = ReconcileRow;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.0.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(ShardId(from.u32("reconciled shard")?)))
    }
}

/// Where reconciliation stands (T3). Nothing's safety rests on it: at worst objects are listed too often, or too seldom.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReconcileRow {
    /// When the listing begins, or was to begin, ms since the Unix epoch.
    pub due_ms: i64,
    /// The next of the 256 prefixes to be listed.
    pub prefix: u16,
}

impl Record for ReconcileRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "reconcile row";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(shards: (u32, u32), due_ms: i64, prefix: u16) {
            let (a, b) = (ReconcileKey(ShardId(shards.0)), ReconcileKey(ShardId(shards.1)));
            round_trip(&a, &ReconcileRow { due_ms, prefix }, false);
            same_order(&a, &b);
        }
    }

    #[test]
    fn stored_form_is_kept() {
        let due_ms = 1_700_000_000_000;
        let row = ReconcileRow { due_ms, prefix: 77 };
        golden("recon", &ReconcileKey(ShardId(2)), &row);
    }
}
