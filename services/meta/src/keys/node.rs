//! `node/{id}` and `hb/{id}`: which processes there are and which of them are alive.

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Incarnation, NodeId, Reader};

use super::{Counter, Key, Record, Tag};

macro_rules! per_node {
    ($(#[$doc:meta])* $name:ident, $tag:ident => $value:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name(pub NodeId);

        impl Key for $name {
            const TAG: Tag = Tag::$tag;
            type Value = $value;

            fn write_fields(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0.0.to_be_bytes());
            }

            fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self(NodeId(from.u64("node")?)))
            }
        }
    };
}

per_node! {
    /// `node/{id}`: the registry.
    NodeKey, Node => NodeRow
}
per_node! {
    /// `hb/{id}`: a counter that a living node increments once a second.
    HeartbeatKey, Heartbeat => Counter
}

/// A node's registration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeRow {
    /// Its newest start; an older one is not the node any more (J9).
    pub incarnation: Incarnation,
    /// It hands its shards over: they may be taken without waiting for its heartbeat to stop.
    pub draining: bool,
}

impl Record for NodeRow {
    const VERSION: u8 = 1;
    const NAME: &'static str = "node row";
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, golden_key, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(node: u64, other: u64, incarnation: u64, draining: bool, beats: u64) {
            let row = NodeRow { incarnation: Incarnation(incarnation), draining };
            round_trip(&NodeKey(NodeId(node)), &row, false);
            round_trip(&HeartbeatKey(NodeId(node)), &Counter(beats), false);
            same_order(&NodeKey(NodeId(node)), &NodeKey(NodeId(other)));
        }
    }

    #[test]
    fn stored_form_is_kept() {
        let row = NodeRow {
            incarnation: Incarnation(9),
            draining: true,
        };
        golden("node", &NodeKey(NodeId(7)), &row);
        golden_key("hb", &HeartbeatKey(NodeId(7)));
    }
}
