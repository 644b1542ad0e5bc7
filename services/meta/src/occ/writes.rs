//! A transaction's own writes: what it will do to the store, and what its later reads see of that.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::{BufMut, Bytes, BytesMut};

use crate::keys::KeyRange;
use crate::limits::{Weight, check_key, check_range, check_value};
use crate::{MetaError, Versionstamp};

const STAMP_BYTES: usize = size_of::<Versionstamp>();

/// An arithmetic change of a little-endian `u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Atomic {
    /// Adds, wrapping.
    Add(u64),
    /// The larger of the two.
    Max(u64),
}

impl Atomic {
    /// The new value. A stored value of another length is cut or filled with zeros, as in FoundationDB.
    fn apply(self, stored: u64) -> u64 {
        match self {
            Self::Add(by) => stored.wrapping_add(by),
            Self::Max(than) => stored.max(than),
        }
    }
}

/// Applies atomic operations to a stored value.
pub(crate) fn apply_atomics(atomics: &[Atomic], stored: Option<&[u8]>) -> Bytes {
    let mut raw = [0; 8];
    if let Some(stored) = stored {
        let kept = stored.len().min(8);
        raw[..kept].copy_from_slice(&stored[..kept]);
    }
    let value = atomics
        .iter()
        .fold(u64::from_le_bytes(raw), |value, atomic| atomic.apply(value));
    Bytes::copy_from_slice(&value.to_le_bytes())
}

/// What happens to one key in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// It is set.
    Set(Bytes),
    /// It is cleared.
    Clear,
    /// It is set to these bytes and the versionstamp.
    Stamped(Bytes),
    /// Its stored value is changed.
    Atomic(Vec<Atomic>),
}

/// What a transaction knows about a key from its own writes.
pub(crate) enum Own<'a> {
    /// Nothing: the stored value holds.
    Untouched,
    /// Its value, whatever is stored.
    Known(Option<&'a Bytes>),
    /// The stored value, changed by these.
    Changed(&'a [Atomic]),
    /// Only the commit decides it.
    Unreadable,
}

#[derive(Clone, Debug)]
struct StampedKey {
    nth: usize,
    prefix: Bytes,
    suffix: Bytes,
    value: Bytes,
}

/// The writes, folded to one operation per key. Cleared ranges come first, then the operations on single keys:
/// clearing a range drops the operations it covers.
#[derive(Default, Debug)]
pub(crate) struct WriteSet {
    cleared: Vec<(usize, KeyRange)>,
    ops: BTreeMap<Bytes, Op>,
    stamped_keys: Vec<StampedKey>,
    conflicts: Vec<KeyRange>,
    calls: usize,
}

impl WriteSet {
    /// Nothing to commit: neither writes nor write conflicts.
    pub(crate) fn is_empty(&self) -> bool {
        self.calls == 0
    }

    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: &[u8],
        w: &mut Weight,
    ) -> Result<(), MetaError> {
        self.point(key, value.len(), w)?;
        let value = Bytes::copy_from_slice(value);
        self.ops.insert(Bytes::copy_from_slice(key), Op::Set(value));
        Ok(())
    }

    pub(crate) fn clear(&mut self, key: &[u8], w: &mut Weight) -> Result<(), MetaError> {
        self.point(key, 0, w)?;
        self.ops.insert(Bytes::copy_from_slice(key), Op::Clear);
        Ok(())
    }

    pub(crate) fn clear_range(
        &mut self,
        begin: &[u8],
        end: &[u8],
        w: &mut Weight,
    ) -> Result<(), MetaError> {
        check_range(begin, end)?;
        if begin == end {
            return Ok(());
        }
        w.add_clear_range(begin.len(), end.len());
        self.calls += 1;
        let covered = covered_keys(&self.ops, begin, end);
        for key in covered {
            self.ops.remove(&key);
        }
        self.cleared.push((self.calls, range_of(begin, end)));
        Ok(())
    }

    pub(crate) fn atomic(
        &mut self,
        key: &[u8],
        atomic: Atomic,
        w: &mut Weight,
    ) -> Result<(), MetaError> {
        self.point(key, size_of::<u64>(), w)?;
        let folded = match self.own(key) {
            Own::Untouched => Op::Atomic(vec![atomic]),
            Own::Known(value) => Op::Set(apply_atomics(&[atomic], value.map(|v| &v[..]))),
            Own::Changed(atomics) => Op::Atomic([atomics, &[atomic]].concat()),
            Own::Unreadable => return Err(unreadable()),
        };
        self.ops.insert(Bytes::copy_from_slice(key), folded);
        Ok(())
    }

    pub(crate) fn set_versionstamped_value(
        &mut self,
        key: &[u8],
        prefix: &[u8],
        w: &mut Weight,
    ) -> Result<(), MetaError> {
        self.point(key, prefix.len() + STAMP_BYTES, w)?;
        let op = Op::Stamped(Bytes::copy_from_slice(prefix));
        self.ops.insert(Bytes::copy_from_slice(key), op);
        Ok(())
    }

    pub(crate) fn set_versionstamped_key(
        &mut self,
        prefix: &[u8],
        suffix: &[u8],
        value: &[u8],
        w: &mut Weight,
    ) -> Result<(), MetaError> {
        self.point(&stamp_key(prefix, [0; STAMP_BYTES], suffix), value.len(), w)?;
        self.stamped_keys.push(StampedKey {
            nth: self.calls,
            prefix: Bytes::copy_from_slice(prefix),
            suffix: Bytes::copy_from_slice(suffix),
            value: Bytes::copy_from_slice(value),
        });
        Ok(())
    }

    pub(crate) fn add_conflict(
        &mut self,
        begin: &[u8],
        end: &[u8],
        w: &mut Weight,
    ) -> Result<(), MetaError> {
        check_range(begin, end)?;
        w.add_conflict(begin.len(), end.len());
        if begin < end {
            self.calls += 1;
            self.conflicts.push(range_of(begin, end));
        }
        Ok(())
    }

    fn point(&mut self, key: &[u8], value: usize, w: &mut Weight) -> Result<(), MetaError> {
        check_key(key)?;
        check_value(value)?;
        w.add_point(key.len(), value);
        self.calls += 1;
        Ok(())
    }

    /// What these writes say about a key.
    pub(crate) fn own(&self, key: &[u8]) -> Own<'_> {
        if self.unreadable_key(key) {
            return Own::Unreadable;
        }
        match self.ops.get(key) {
            Some(Op::Set(value)) => Own::Known(Some(value)),
            Some(Op::Clear) => Own::Known(None),
            Some(Op::Stamped(_)) => Own::Unreadable,
            Some(Op::Atomic(atomics)) => Own::Changed(atomics),
            None if self.is_cleared(key) => Own::Known(None),
            None => Own::Untouched,
        }
    }

    /// The prefix of a versionstamped value set on a key.
    pub(crate) fn stamped_value(&self, key: &[u8]) -> Option<&Bytes> {
        match self.ops.get(key) {
            Some(Op::Stamped(prefix)) => Some(prefix),
            _ => None,
        }
    }

    /// Whether a range was cleared over a key.
    pub(crate) fn is_cleared(&self, key: &[u8]) -> bool {
        self.cleared.iter().any(|(_, r)| contains(r, key))
    }

    /// Whether only the commit decides what `[begin, end)` holds.
    pub(crate) fn unreadable_in(&self, begin: &[u8], end: &[u8]) -> bool {
        let keys = self.stamped_keys.iter().any(|s| {
            *stamp_key(&s.prefix, [0; STAMP_BYTES], &s.suffix) < *end
                && *stamp_key(&s.prefix, [0xff; STAMP_BYTES], &s.suffix) >= *begin
        });
        keys || self
            .ops_in(begin, end)
            .any(|(_, op)| matches!(op, Op::Stamped(_)))
    }

    fn unreadable_key(&self, key: &[u8]) -> bool {
        self.stamped_keys.iter().any(|s| {
            *stamp_key(&s.prefix, [0; STAMP_BYTES], &s.suffix) <= *key
                && *key <= *stamp_key(&s.prefix, [0xff; STAMP_BYTES], &s.suffix)
        })
    }

    /// The operations on single keys of `[begin, end)`, `begin ≤ end`.
    pub(crate) fn ops_in(
        &self,
        begin: &[u8],
        end: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Op)> {
        let end = end.max(begin);
        self.ops
            .range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end)))
    }

    /// Every operation on a single key.
    pub(crate) fn ops(&self) -> impl Iterator<Item = (&Bytes, &Op)> {
        self.ops.iter()
    }

    /// The cleared ranges.
    pub(crate) fn cleared(&self) -> impl Iterator<Item = &KeyRange> {
        self.cleared.iter().map(|(_, range)| range)
    }

    /// The explicit write conflicts.
    pub(crate) fn conflicts(&self) -> &[KeyRange] {
        &self.conflicts
    }

    /// The versionstamped keys with their values, unless a range that holds them was cleared afterwards.
    pub(crate) fn stamped_keys(
        &self,
        stamp: Versionstamp,
    ) -> impl Iterator<Item = (Bytes, &Bytes)> {
        self.stamped_keys.iter().filter_map(move |s| {
            let key = stamp_key(&s.prefix, stamp, &s.suffix);
            let later_cleared = |(nth, r): &(usize, KeyRange)| *nth > s.nth && contains(r, &key);
            let cleared = self.cleared.iter().any(later_cleared);
            (!cleared).then_some((key, &s.value))
        })
    }
}

/// A read of something that only the commit decides.
pub(crate) fn unreadable() -> MetaError {
    MetaError::Invalid("a versionstamped write is readable only after its commit".into())
}

/// The range that holds one key.
pub(crate) fn point_range(key: &[u8]) -> KeyRange {
    let mut end = BytesMut::with_capacity(key.len() + 1);
    end.put_slice(key);
    end.put_u8(0);
    let end = end.freeze();
    KeyRange {
        begin: end.slice(..key.len()),
        end,
    }
}

pub(crate) fn range_of(begin: &[u8], end: &[u8]) -> KeyRange {
    KeyRange {
        begin: Bytes::copy_from_slice(begin),
        end: Bytes::copy_from_slice(end),
    }
}

/// `prefix ‖ stamp ‖ suffix`.
pub(crate) fn stamp_key(prefix: &[u8], stamp: Versionstamp, suffix: &[u8]) -> Bytes {
    [prefix, &stamp, suffix].concat().into()
}

fn contains(range: &KeyRange, key: &[u8]) -> bool {
    *range.begin <= *key && *key < *range.end
}

fn covered_keys(ops: &BTreeMap<Bytes, Op>, begin: &[u8], end: &[u8]) -> Vec<Bytes> {
    ops.range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end)))
        .map(|(key, _)| key.clone())
        .collect()
}
