//! `pidblk`: which producer ids were given out, in blocks.

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Reader};

use super::{Key, Record, Tag};

/// The one row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProducerIdKey;

impl Key for ProducerIdKey {
    const TAG: Tag = Tag::ProducerIdBlock;
    type Value = ProducerIdBlocks;

    fn write_fields(&self, _out: &mut Vec<u8>) {}

    fn read_fields(_from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// Blocks are taken off one counter: an id below it belongs to someone or was lost with its taker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProducerIdBlocks {
    /// First id of the next block.
    pub next: i64,
}

impl Record for ProducerIdBlocks {
    const VERSION: u8 = 1;
    const NAME: &'static str = "producer-id blocks";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, round_trip};

    proptest! {
        #[test]
        fn rows_round_trip(next: i64) {
            round_trip(&ProducerIdKey, &ProducerIdBlocks { next }, false);
        }
    }

    #[test]
    fn stored_bytes_do_not_change() {
        golden(
            "producer-id",
            &ProducerIdKey,
            &ProducerIdBlocks { next: 7_000 },
        );
    }
}
