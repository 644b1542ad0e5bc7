//! `meta/…`: what describes the keyspace itself. The byte after the tag names the row.

use serde::{Deserialize, Serialize};
use tidemark_types::{DecodeError, Reader};

use super::{Key, Record, Tag};

macro_rules! row {
    ($(#[$doc:meta])* $name:ident = $ordinal:literal => $value:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub struct $name;

        impl Key for $name {
            const TAG: Tag = Tag::Meta;
            type Value = $value;

            fn write_fields(&self, out: &mut Vec<u8>) {
                out.push($ordinal);
            }

            fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match from.u8("meta row")? {
                    $ordinal => Ok(Self),
                    other => Err(DecodeError::invalid("meta row", format!("{other} is another row"))),
                }
            }
        }
    };
}

row! {
    /// `meta/schema`: which schema the keyspace has.
    SchemaKey = 0 => Schema
}
row! {
    /// `meta/cursor`: how far a migration has come; absent when none is under way.
    MigrationKey = 1 => MigrationCursor
}
row! {
    /// `meta/cluster`: who this keyspace belongs to; written once, by the first start.
    ClusterKey = 2 => ClusterId
}
row! {
    /// `meta/layout`: what placement depends on; written once, by the first start.
    LayoutKey = 3 => Layout
}

/// The keyspace's schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Schema {
    /// The last migration that is complete; 0 is an empty keyspace.
    pub version: u32,
}

impl Record for Schema {
    const VERSION: u8 = 1;
    const NAME: &'static str = "schema version";
}

/// A migration under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MigrationCursor {
    /// The migration's number: `Schema::version` + 1.
    pub migration: u32,
    /// Where it goes on, in the migration's own terms; empty at its start.
    pub resume_at: Vec<u8>,
}

impl Record for MigrationCursor {
    const VERSION: u8 = 1;
    const NAME: &'static str = "migration cursor";
}

/// The cluster's identity: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterId(pub [u8; 16]);

impl Record for ClusterId {
    const VERSION: u8 = 1;
    const NAME: &'static str = "cluster id";
}

/// What placement depends on, fixed for the life of the keyspace (K10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// Number of shards; partitions and groups are hashed modulo it.
    pub shards: u32,
}

impl Record for Layout {
    const VERSION: u8 = 1;
    const NAME: &'static str = "layout";
}

impl ClusterId {
    /// As Kafka writes a cluster id: 22 characters of URL-safe base64 without padding.
    #[must_use]
    pub fn to_text(self) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits = u128::from_be_bytes(self.0);
        // 21 digits of 6 bits from the top, then the last 2 bits padded by 4 zeros.
        let high = (0..21).map(|i| (bits >> (122 - 6 * i)) & 63);
        high.chain([(bits & 3) << 4])
            .map(|digit| char::from(DIGITS[usize::try_from(digit).expect("six bits")]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(
            version: u32, migration: u32, resume_at: Vec<u8>, cluster: [u8; 16], shards: u32,
        ) {
            round_trip(&SchemaKey, &Schema { version }, false);
            round_trip(&MigrationKey, &MigrationCursor { migration, resume_at }, false);
            round_trip(&ClusterKey, &ClusterId(cluster), false);
            round_trip(&LayoutKey, &Layout { shards }, false);
            same_order(&ClusterKey, &ClusterKey);
        }
    }

    #[test]
    fn stored_bytes_do_not_change() {
        golden("schema", &SchemaKey, &Schema { version: 300 });
        let cursor = MigrationCursor {
            migration: 2,
            resume_at: b"here".to_vec(),
        };
        golden("migration-cursor", &MigrationKey, &cursor);
        golden("cluster", &ClusterKey, &ClusterId(*b"0123456789abcdef"));
        golden("layout", &LayoutKey, &Layout { shards: 4 });
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let err = <Schema as crate::keys::Value>::decode(&[9, 1]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "read schema version: version 9 is not known to this program"
        );
    }

    #[test]
    fn a_cluster_id_reads_as_kafka_writes_it() {
        assert_eq!(ClusterId([0; 16]).to_text(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(ClusterId([0xff; 16]).to_text(), "_____________________w");
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(ClusterId(one).to_text(), "AAAAAAAAAAAAAAAAAAAAAQ");
    }
}
