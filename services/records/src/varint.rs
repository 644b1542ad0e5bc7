//! Zigzag varints, the integers inside records.

use bytes::BufMut;

/// Takes bytes off the front of a record's or a batch's decompressed bytes, never past its end.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// An unsigned varint of at most ten bytes; `None` when it is cut short or does not fit 64 bits.
    fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn varlong(&mut self) -> Option<i64> {
        let raw = self.unsigned()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A varint of 32 bits; `None` when the value does not fit.
    pub(crate) fn varint(&mut self) -> Option<i32> {
        i32::try_from(self.varlong()?).ok()
    }
}

pub(crate) fn put_varlong(out: &mut impl BufMut, value: i64) {
    let mut raw = zigzag(value);
    loop {
        let low = raw.to_le_bytes()[0];
        raw >>= 7;
        if raw == 0 {
            return out.put_u8(low);
        }
        out.put_u8(low | 0x80);
    }
}

/// Bytes that [`put_varlong`] writes.
pub(crate) const fn varlong_len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trips(value: i64) {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            prop_assert_eq!(out.len(), varlong_len(value));
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.varlong(), Some(value));
            prop_assert_eq!(cursor.remaining(), 0);
        }
    }

    #[test]
    fn refuses_what_is_cut_short_or_too_wide() {
        assert_eq!(Cursor::new(&[0x80]).varlong(), None);
        assert_eq!(Cursor::new(&[0xff; 11]).varlong(), None);
        let mut wide = Vec::new();
        put_varlong(&mut wide, i64::from(i32::MAX) + 1);
        assert_eq!(Cursor::new(&wide).varint(), None);
    }
}
