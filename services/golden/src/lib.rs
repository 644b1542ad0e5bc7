//! Golden fixtures of persisted formats, for tests only.
//!
//! Every format that reaches a disk or a metadata store has one fixture per version under `migrations/fixtures/`,
//! `{family}/{what}-v{version}.hex`: the bytes as a hex dump. A format's test calls [`newest`] for the version
//! written now and [`older`] for each one that must stay readable. A fixture is never rewritten: a change
//! of bytes is a new version. With `TIDEMARK_WRITE=1` a fixture that is absent is written.
//!
//! ```no_run
//! # let (encode, decode) = (|v: &u8| vec![*v], |b: &[u8]| b.first().copied().ok_or("empty"));
//! tidemark_golden::newest("meta/topic-v2", &7, encode, decode);
//! tidemark_golden::older("meta/topic-v1", &7, decode);
//! ```

use std::fmt::{Debug, Write as _};
use std::path::PathBuf;

const BYTES_PER_LINE: usize = 32;

/// Asserts that the fixture decodes to `value` and that `value` encodes to the fixture, byte for byte.
///
/// # Panics
/// When either is not so, or the fixture is absent and `TIDEMARK_WRITE` is not set.
#[track_caller]
pub fn newest<T: PartialEq + Debug, E: Debug>(
    name: &str,
    value: &T,
    encode: impl FnOnce(&T) -> Vec<u8>,
    decode: impl FnOnce(&[u8]) -> Result<T, E>,
) {
    let encoded = encode(value);
    write_if_absent(name, &encoded);
    assert!(
        encoded == bytes(name),
        "{name} is now encoded as\n{}that is another format: give it a new version and keep the old one readable",
        to_hex(&encoded)
    );
    older(name, value, decode);
}

/// Asserts that the fixture of a version no longer written still decodes to `value`.
///
/// # Panics
/// When it does not, or the fixture is absent.
#[track_caller]
pub fn older<T: PartialEq + Debug, E: Debug>(
    name: &str,
    value: &T,
    decode: impl FnOnce(&[u8]) -> Result<T, E>,
) {
    match decode(&bytes(name)) {
        Ok(decoded) => assert_eq!(decoded, *value, "{name} decodes to another value"),
        Err(e) => panic!("{name} does not decode: {e:?}"),
    }
}

/// The fixture's bytes.
///
/// # Panics
/// When the fixture is absent or is no hex dump.
#[must_use]
#[track_caller]
pub fn bytes(name: &str) -> Vec<u8> {
    let path = path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| {
        panic!(
            "read {}: {e}; TIDEMARK_WRITE=1 writes a new fixture",
            path.display()
        )
    });
    from_hex(&text).unwrap_or_else(|| panic!("{} is no hex dump", path.display()))
}

fn path(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/fixtures");
    PathBuf::from(root).join(format!("{name}.hex"))
}

#[expect(clippy::disallowed_methods, reason = "fixtures are files of the tree")]
fn write_if_absent(name: &str, encoded: &[u8]) {
    let path = path(name);
    if std::env::var_os("TIDEMARK_WRITE").is_none() || path.exists() {
        return;
    }
    let folder = path.parent().expect("a fixture lies in a folder");
    std::fs::create_dir_all(folder).expect("the fixtures' folder is writable");
    std::fs::write(&path, to_hex(encoded)).expect("the fixture is writable");
}

fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2 + bytes.len() / BYTES_PER_LINE + 1);
    for line in bytes.chunks(BYTES_PER_LINE) {
        for byte in line {
            write!(out, "{byte:02x}").expect("a string takes what is written");
        }
        out.push('\n');
    }
    out
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("zz"), None);
    }
}
