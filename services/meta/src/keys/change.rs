//! `ver/{of}/{bucket}`: stamps that change when something that is cached elsewhere changed.
//!
//! A writer sets the stamp of its bucket in the transaction that makes the change
//! ([`touch`]); a cache watches the stamp, polls it as well, and re-reads what it holds of that bucket.

use tidemark_types::{DecodeError, Reader, TenantId};

use super::{Key, Tag, Value};
use crate::{Transaction, Versionstamp};

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

/// What a stamp speaks of. Ordinals are fixed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ChangeOf {
    /// Topics of the tenants of a bucket.
    Topics = 1,
}

impl ChangeKey {
    /// The stamp of a tenant's topics.
    #[must_use]
    pub const fn topics(tenant: TenantId) -> Self {
        Self {
            of: ChangeOf::Topics,
            bucket: tenant.0 % TOPIC_BUCKETS,
        }
    }
}

impl Key for ChangeKey {
    const TAG: Tag = Tag::Change;
    type Value = ChangeStamp;

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

/// The versionstamp of the last change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ChangeStamp(pub Versionstamp);

impl Value for ChangeStamp {
    fn encode(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw = bytes
            .try_into()
            .map_err(|_| DecodeError::invalid("change stamp", format!("{} bytes", bytes.len())))?;
        Ok(Self(raw))
    }
}

/// Changes the stamp with this transaction's commit, without a read conflict.
pub fn touch(tx: &mut dyn Transaction, key: ChangeKey) {
    tx.set_versionstamped_value(&key.encode(), &[]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::testing::{golden_key, round_trip, same_order};

    proptest! {
        #[test]
        fn rows_round_trip(a: u32, b: u32, stamp: [u8; 10]) {
            let key = |bucket| ChangeKey { of: ChangeOf::Topics, bucket };
            round_trip(&key(a), &ChangeStamp(stamp), false);
            same_order(&key(a), &key(b));
        }
    }

    #[test]
    fn stored_bytes_do_not_change() {
        golden_key("ver", &ChangeKey::topics(TenantId(65)));
    }
}
