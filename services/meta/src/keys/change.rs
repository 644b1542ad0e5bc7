//! `ver/{of}/{bucket}`: counts of changes to what is cached elsewhere.
//!
//! A writer counts its change in the transaction that makes it ([`touch`]); a cache watches the count,
//! polls it as well, and re-reads what it holds of that bucket. It is a count rather than a stamp so that a process
//! can tell whether all changes since it last looked were its own: then it need not re-read.

use tidemark_types::{DecodeError, Reader, TenantId};

use super::{Counter, Key, KeyRange, Tag, prefix_range};
use crate::Transaction;

/// Buckets of topics' tenants: few enough to watch all of them from one process.
const TOPIC_BUCKETS: u32 = 64;

/// `ver/{of}/{bucket}`
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChangeKey {
    /// What changed.
    pub of: ChangeOf,
    /// Which part of it.
    pub bucket: u32,
}

/// What changes are counted of. Ordinals are fixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ChangeOf {
    /// Topics of the tenants of a bucket.
    Topics = 1,
}

impl ChangeKey {
    /// Where changes of a tenant's topics are counted.
    #[must_use]
    pub const fn topics(tenant: TenantId) -> Self {
        Self {
            of: ChangeOf::Topics,
            bucket: tenant.0 % TOPIC_BUCKETS,
        }
    }

    /// Every bucket of topics.
    #[must_use]
    pub fn all_topics() -> KeyRange {
        prefix_range(&[Self::TAG as u8, ChangeOf::Topics as u8])
    }
}

impl Key for ChangeKey {
    const TAG: Tag = Tag::Change;
    type Value = Counter;

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.push(self.of as u8);
        out.extend(self.bucket.to_be_bytes());
    }

    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let of = match from.u8("change")? {
            1 => ChangeOf::Topics,
            other => {
                return Err(DecodeError::invalid(
                    "change",
                    format!("{other} is unknown"),
                ));
            }
        };
        let bucket = from.u32("bucket")?;
        Ok(Self { of, bucket })
    }
}

/// Counts a change with this transaction's commit, without a read conflict.
pub fn touch(tx: &mut dyn Transaction, key: ChangeKey) {
    tx.atomic_add(&key.encode(), 1);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden_key, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(a: u32, b: u32, count: u64) {
            let key = |bucket| ChangeKey { of: ChangeOf::Topics, bucket };
            round_trip(&key(a), &Counter(count), false);
            same_order(&key(a), &key(b));
        }
    }

    #[test]
    fn stored_bytes_do_not_change() {
        golden_key("ver", &ChangeKey::topics(TenantId(65)));
    }
}
