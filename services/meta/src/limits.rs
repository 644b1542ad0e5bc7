//! FoundationDB's limits, with its way of counting rounded up: what passes here passes there.

use tidemark_types::limits::{META_KEY_BYTES_MAX, META_TXN_BYTES_MAX, META_VALUE_BYTES_MAX};

use crate::MetaError;

/// Keys from here on belong to the store itself.
pub(crate) const USER_KEYS_END: &[u8] = &[0xff];
/// What one mutation or conflict range weighs besides its bytes: FoundationDB's own structs around them.
const ITEM_BYTES: usize = 40;

fn invalid<T>(why: String) -> Result<T, MetaError> {
    Err(MetaError::Invalid(why))
}

/// A key that may be read or written.
pub(crate) fn check_key(key: &[u8]) -> Result<(), MetaError> {
    if key.is_empty() {
        return invalid("a key is empty".into());
    }
    if key.len() > META_KEY_BYTES_MAX {
        return invalid(format!(
            "a key of {} bytes is over the limit of {META_KEY_BYTES_MAX}",
            key.len()
        ));
    }
    if key >= USER_KEYS_END {
        return invalid("a key that starts with 0xff is the store's own".into());
    }
    Ok(())
}

/// A value that may be written.
pub(crate) fn check_value(len: usize) -> Result<(), MetaError> {
    if len > META_VALUE_BYTES_MAX {
        return invalid(format!(
            "a value of {len} bytes is over the limit of {META_VALUE_BYTES_MAX}"
        ));
    }
    Ok(())
}

/// A range that may be read or cleared: ordered, and at most up to the end of the user's keys.
pub(crate) fn check_range(begin: &[u8], end: &[u8]) -> Result<(), MetaError> {
    if begin > end {
        return invalid("a range ends before it begins".into());
    }
    if end > USER_KEYS_END {
        return invalid("a range reaches into the store's own keys".into());
    }
    if begin.len().max(end.len()) > META_KEY_BYTES_MAX + 1 {
        return invalid(format!(
            "a range's end is over the limit of {META_KEY_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}

/// A transaction's weight so far, bytes.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Weight(usize);

impl Weight {
    /// Adds a read or write conflict range.
    pub(crate) fn add_conflict(&mut self, begin: usize, end: usize) {
        self.0 = self.0.saturating_add(ITEM_BYTES + begin + end);
    }

    /// Adds a mutation of one key, with the write conflict that comes with it.
    pub(crate) fn add_point(&mut self, key: usize, value: usize) {
        self.0 = self.0.saturating_add(ITEM_BYTES + key + value);
        self.add_conflict(key, key + 1);
    }

    /// Adds the clearing of a range, with its write conflict.
    pub(crate) fn add_clear_range(&mut self, begin: usize, end: usize) {
        self.add_conflict(begin, end);
        self.add_conflict(begin, end);
    }

    /// Bytes so far.
    pub(crate) const fn bytes(self) -> usize {
        self.0
    }

    /// Whether it may commit.
    pub(crate) fn check(self) -> Result<(), MetaError> {
        if self.0 > META_TXN_BYTES_MAX {
            return invalid(format!(
                "a transaction of {} bytes is over the limit of {META_TXN_BYTES_MAX}",
                self.0
            ));
        }
        Ok(())
    }
}
