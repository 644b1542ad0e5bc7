//! Helpers for the key files' property tests.

use std::fmt::Debug;

use super::{Key, Record, Value};

/// Asserts that a key and a value decode to what was encoded, that the key is short enough, and that neither
/// decodes with a byte cut off or added. `bare_text_last`: the key ends in a bare user string, so a cut or
/// added byte makes another valid key.
#[track_caller]
pub(crate) fn round_trip<K>(key: &K, value: &K::Value, bare_text_last: bool)
where
    K: Key + PartialEq + Debug,
    K::Value: PartialEq + Debug,
{
    let encoded = key.encode();
    assert_eq!(encoded[0], K::TAG as u8);
    assert_eq!(K::decode(&encoded).expect("the key decodes"), *key);
    assert!(K::all().begin <= encoded && encoded < K::all().end);
    if !bare_text_last {
        assert!(K::decode(&encoded[..encoded.len() - 1]).is_err());
        assert!(K::decode(&[&encoded[..], &[0]].concat()).is_err());
    }
    let stored = value.encode();
    let decoded = K::Value::decode(&stored).expect("the value decodes");
    assert_eq!(decoded, *value);
    assert!(K::Value::decode(&[&stored[..], &[0]].concat()).is_err());
    if let Some(cut) = stored.len().checked_sub(1) {
        assert!(K::Value::decode(&stored[..cut]).is_err());
    }
}

/// Asserts that encoded keys sort as the keys themselves do.
#[track_caller]
pub(crate) fn same_order<K: Key + Ord + Debug>(a: &K, b: &K) {
    assert_eq!(a.cmp(b), a.encode().cmp(&b.encode()), "{a:?} against {b:?}");
}

/// Asserts that a key and a record still have the bytes of their fixtures, `migrations/fixtures/meta/{what}…`.
#[track_caller]
pub(crate) fn golden<K>(what: &str, key: &K, value: &K::Value)
where
    K: Key + PartialEq + Debug,
    K::Value: Record + PartialEq + Debug,
{
    golden_key(what, key);
    let name = format!("meta/{what}-v{}", <K::Value as Record>::VERSION);
    tidemark_golden::newest(&name, value, K::Value::encode, K::Value::decode);
}

/// Asserts that a key still has the bytes of its fixture.
#[track_caller]
pub(crate) fn golden_key<K: Key + PartialEq + Debug>(what: &str, key: &K) {
    let name = format!("meta/{what}.key");
    tidemark_golden::newest(&name, key, |k| k.encode().to_vec(), K::decode);
}
