//! A bounds-checked reader for the formats the log owns (frames, checkpoints, WAL blocks, keys).

use bytes::Bytes;

/// Why bytes could not be decoded. Carries what was being read, for the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the field needs.
    #[error("read {what}: needs {needed} bytes, {left} left")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A value outside its range, or bytes after the end.
    #[error("read {what}: {why}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl DecodeError {
    /// An out-of-range value of `what`.
    pub fn invalid(what: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid {
            what,
            why: why.into(),
        }
    }
}

macro_rules! big_endian {
    ($($(#[$doc:meta])* $name:ident -> $t:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`DecodeError::Truncated`] when too few bytes are left.
        pub fn $name(&mut self, what: &'static str) -> Result<$t, DecodeError> {
            let raw = self.take(size_of::<$t>(), what)?;
            Ok(<$t>::from_be_bytes(raw.try_into().expect("take returned the asked length")))
        }
    )*};
}

/// Reads big-endian fields off a byte slice and never past its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    buf: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `buf`.
    #[must_use]
    pub const fn new(buf: &'a [u8]) -> Self {
        Self { buf, pos: 0 }
    }

    /// Bytes consumed so far.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.pos
    }

    /// Bytes not yet consumed.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let left = self.remaining();
        if n > left {
            return Err(DecodeError::Truncated {
                what,
                needed: n,
                left,
            });
        }
        let slice = &self.buf[self.pos..self.pos + n];
        self.pos += n;
        Ok(slice)
    }

    /// The next `n` bytes as a copy that owns itself.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when fewer are left.
    pub fn take_bytes(&mut self, n: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        self.take(n, what).map(Bytes::copy_from_slice)
    }

    /// Succeeds only when every byte was consumed.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when bytes are left.
    pub fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            n => Err(DecodeError::invalid(
                what,
                format!("{n} bytes after the end"),
            )),
        }
    }

    big_endian! {
        /// The next byte.
        u8 -> u8;
        /// The next two bytes.
        u16 -> u16;
        /// The next four bytes.
        u32 -> u32;
        /// The next eight bytes.
        u64 -> u64;
        /// The next byte, signed.
        i8 -> i8;
        /// The next two bytes, signed.
        i16 -> i16;
        /// The next four bytes, signed.
        i32 -> i32;
        /// The next eight bytes, signed.
        i64 -> i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_fields_and_names_what_is_missing() {
        let mut r = Reader::new(&[0, 0, 0, 7, 0xff, 1]);
        assert_eq!(r.u32("count").unwrap(), 7);
        assert_eq!(r.i8("delta").unwrap(), -1);
        assert_eq!(r.remaining(), 1);
        let err = r.u64("lsn").unwrap_err();
        assert_eq!(
            err,
            DecodeError::Truncated {
                what: "lsn",
                needed: 8,
                left: 1
            }
        );
        assert!(r.finish("header").is_err());
    }
}
