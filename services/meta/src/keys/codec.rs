//! The pattern every key file follows, and typed access inside a transaction.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidemark_types::{DecodeError, Reader};

use super::Tag;
use crate::{MetaError, Mode, RangeRead, Transaction};

/// A half-open range of encoded keys, `[begin, end)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRange {
    /// First key, inclusive.
    pub begin: Bytes,
    /// Last key, exclusive.
    pub end: Bytes,
}

/// A key type: a tag, then fields whose encoding sorts as the fields do.
///
/// Integers are big-endian. A user string goes last and bare where it can; in the middle of a key it is
/// written by [`push_text`].
pub trait Key: Sized {
    /// The key's first byte.
    const TAG: Tag;
    /// What is stored under it.
    type Value: Value;

    /// Appends the fields that follow the tag.
    fn write_fields(&self, out: &mut Vec<u8>);

    /// Reads the fields that follow the tag. Bytes left over are an error of the caller's.
    ///
    /// # Errors
    /// When the bytes are not such a key.
    fn read_fields(from: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The whole key.
    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32);
        out.push(Self::TAG as u8);
        self.write_fields(&mut out);
        out.into()
    }

    /// The key that `bytes` encode.
    ///
    /// # Errors
    /// When the tag is another, fields are missing, or bytes are left over.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let tag = from.u8("key tag")?;
        if tag != Self::TAG as u8 {
            let why = format!("{tag:#04x} is not {:?}", Self::TAG);
            return Err(DecodeError::invalid("key tag", why));
        }
        let key = Self::read_fields(&mut from)?;
        from.finish("key")?;
        Ok(key)
    }

    /// Every key of this tag.
    fn all() -> KeyRange {
        prefix_range(&[Self::TAG as u8])
    }
}

/// Bytes stored under a key.
pub trait Value: Sized {
    /// The stored bytes.
    fn encode(&self) -> Vec<u8>;

    /// The value that `bytes` encode.
    ///
    /// # Errors
    /// When they are damaged, or a newer program wrote them.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// A value made of a version byte and fields in postcard's encoding.
///
/// Postcard is positional: any change of the fields is a new [`Record::VERSION`], and the old shape stays
/// decodable in [`Record::decode_older`].
pub trait Record: Serialize + DeserializeOwned {
    /// The version written now.
    const VERSION: u8;
    /// What it is called in messages.
    const NAME: &'static str;

    /// The fields as an older version wrote them.
    ///
    /// # Errors
    /// When no such version was ever written (the default), or the bytes are damaged.
    fn decode_older(version: u8, fields: &[u8]) -> Result<Self, DecodeError> {
        let _ = fields;
        let why = format!("version {version} is not known to this program");
        Err(DecodeError::invalid(Self::NAME, why))
    }
}

impl<T: Record> Value for T {
    fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![T::VERSION])
            .expect("records hold only what postcard encodes, into memory")
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let version = from.u8(T::NAME)?;
        let fields = from.take(from.remaining(), T::NAME)?;
        if version != T::VERSION {
            return T::decode_older(version, fields);
        }
        match postcard::take_from_bytes(fields) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => {
                let why = format!("{} bytes after the end", rest.len());
                Err(DecodeError::invalid(T::NAME, why))
            }
            Err(e) => Err(DecodeError::invalid(T::NAME, e.to_string())),
        }
    }
}

/// A little-endian `u64` that [`Transaction::atomic_add`] and [`Transaction::atomic_max`] may change. It has no
/// version byte: those operations would count it in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Counter(pub u64);

impl Value for Counter {
    fn encode(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let raw = bytes
            .try_into()
            .map_err(|_| DecodeError::invalid("counter", format!("{} bytes", bytes.len())))?;
        Ok(Self(u64::from_le_bytes(raw)))
    }
}

/// No value: the key says it all.
impl Value for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Reader::new(bytes).finish("empty value")
    }
}

/// Reads a key's value.
///
/// # Errors
/// As [`Transaction::get`]; `Corrupt` when the bytes do not decode.
pub async fn get<K: Key>(
    tx: &mut dyn Transaction,
    key: &K,
    mode: Mode,
) -> Result<Option<K::Value>, MetaError> {
    let encoded = key.encode();
    let stored = tx.get(&encoded, mode).await?;
    Ok(stored.map(|bytes| K::Value::decode(&bytes)).transpose()?)
}

/// Sets a key's value.
pub fn put<K: Key>(tx: &mut dyn Transaction, key: &K, value: &K::Value) {
    tx.set(&key.encode(), &value.encode());
}

/// Clears a key.
pub fn clear<K: Key>(tx: &mut dyn Transaction, key: &K) {
    tx.clear(&key.encode());
}

/// Reads up to `limit` pairs of a range of one key type, in key order.
///
/// # Errors
/// As [`Transaction::range`]; `Corrupt` when a pair does not decode.
pub async fn scan<K: Key>(
    tx: &mut dyn Transaction,
    range: KeyRange,
    limit: usize,
    mode: Mode,
) -> Result<Vec<(K, K::Value)>, MetaError> {
    let read = RangeRead {
        begin: range.begin,
        end: range.end,
        limit,
        reverse: false,
        mode,
    };
    let pairs = tx.range(read).await?;
    pairs
        .iter()
        .map(|(key, value)| Ok((K::decode(key)?, K::Value::decode(value)?)))
        .collect()
}

/// The smallest encoded key behind `key`: where the next page of a range begins.
#[must_use]
pub fn behind(key: &impl Key) -> Bytes {
    [&key.encode()[..], &[0]].concat().into()
}

/// The keys that start with `prefix`, which must hold a byte below 0xff (every [`Tag`] is one).
#[must_use]
pub fn prefix_range(prefix: &[u8]) -> KeyRange {
    let kept = prefix.iter().rposition(|b| *b != 0xff);
    let mut end = prefix[..kept.map_or(0, |at| at + 1)].to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0xff),
    }
    KeyRange {
        begin: Bytes::copy_from_slice(prefix),
        end: end.into(),
    }
}

/// Writes a user string in the middle of a key: its bytes with 0 escaped as `0 ff`, then `0 0`. Keys keep the
/// order of the strings, and no string's encoding is the prefix of another's.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// Reads what [`push_text`] wrote.
///
/// # Errors
/// When the end is missing or the bytes are not UTF-8.
pub fn read_text(from: &mut Reader<'_>, what: &'static str) -> Result<String, DecodeError> {
    let mut text = Vec::new();
    loop {
        match from.u8(what)? {
            0 => match from.u8(what)? {
                0 => break,
                0xff => text.push(0),
                other => {
                    let why = format!("0 is followed by {other:#04x}");
                    return Err(DecodeError::invalid(what, why));
                }
            },
            byte => text.push(byte),
        }
    }
    String::from_utf8(text).map_err(|_| DecodeError::invalid(what, "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemark_types::TenantId;

    use super::*;
    use crate::keys::topic::TopicNameKey;

    proptest! {
        #[test]
        fn no_key_lies_between_a_key_and_what_is_behind_it(a: String, b: String) {
            let key = |form| TopicNameKey { tenant: TenantId(7), form };
            let (a, longer, b) = (key(a.clone()), key(a + "\0"), key(b));
            prop_assert_eq!(a.encode() < b.encode(), behind(&a) <= b.encode());
            prop_assert!(behind(&a) <= longer.encode());
        }

        #[test]
        fn text_in_a_key_round_trips_and_keeps_its_order(a: String, b: String, tail: u8) {
            let (mut ka, mut kb) = (Vec::new(), Vec::new());
            push_text(&mut ka, &a);
            push_text(&mut kb, &b);
            prop_assert_eq!(a.cmp(&b), ka.cmp(&kb));
            ka.push(tail);
            let mut from = Reader::new(&ka);
            prop_assert_eq!(read_text(&mut from, "text").unwrap(), a);
            prop_assert_eq!(from.u8("tail").unwrap(), tail);
        }

        #[test]
        fn a_prefix_range_holds_exactly_what_starts_with_it(
            mut prefix: Vec<u8>, key: Vec<u8>, tail: Vec<u8>,
        ) {
            prefix.insert(0, 0x30);
            let range = prefix_range(&prefix);
            let holds = |k: &[u8]| *range.begin <= *k && *k < *range.end;
            prop_assert_eq!(holds(&key), key.starts_with(&prefix));
            prop_assert!(holds(&[&prefix[..], &tail[..]].concat()));
        }
    }
}
