//! Names of objects.

use std::fmt;
use std::sync::Arc;

use tidemark_types::limits::{BLOB_KEY_BYTES_MAX, BLOB_KEY_SEGMENT_BYTES_MAX};

/// An object's name: segments of `a-z A-Z 0-9 . _ - =` joined by `/`, none empty or beginning with `.`, at most
/// [`BLOB_KEY_BYTES_MAX`] bytes. So every key is a relative path that cannot escape a folder, and needs no escaping in
/// a URL. Keys order by their bytes. No key may be a folder of another (`a` and `a/b`): a local directory and several
/// S3 servers cannot hold both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(Arc<str>);

/// Why a name is no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("name an object {key:?}: {why}")]
pub struct BadKey {
    /// The name, shortened.
    pub key: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl BlobKey {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is not made as the type says.
    pub fn new(key: impl AsRef<str>) -> Result<Self, BadKey> {
        let key = key.as_ref();
        match complaint(key) {
            None => Ok(Self(key.into())),
            Some(why) => Err(BadKey {
                key: key.chars().take(64).collect(),
                why,
            }),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn complaint(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some("it is empty");
    }
    if key.len() > BLOB_KEY_BYTES_MAX {
        return Some("it is too long");
    }
    key.split('/').find_map(|segment| {
        if segment.is_empty() {
            Some("a segment is empty")
        } else if segment.starts_with('.') {
            Some("a segment begins with a dot")
        } else if segment.len() > BLOB_KEY_SEGMENT_BYTES_MAX {
            Some("a segment is too long")
        } else if segment.bytes().all(is_plain) {
            None
        } else {
            Some("use the characters a-z A-Z 0-9 . _ - = and /")
        }
    })
}

/// Whether a key may contain the byte, apart from `/`.
pub(crate) const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'=')
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl TryFrom<String> for BlobKey {
    type Error = BadKey;

    fn try_from(key: String) -> Result<Self, BadKey> {
        Self::new(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_a_relative_path_that_stays_inside() {
        for good in ["a", "l0/00ff/0000000001", "x.y_z-A=1", "a.b/c"] {
            assert_eq!(BlobKey::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(BLOB_KEY_SEGMENT_BYTES_MAX + 1);
        let deep = "a/".repeat(BLOB_KEY_BYTES_MAX / 2) + "ab";
        for bad in [
            "", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".tmp/a", "a b", "a\0", "a\\b",
            "ä", "a~", &long, &deep,
        ] {
            assert!(BlobKey::new(bad).is_err(), "{bad:?} passed");
        }
    }

    proptest! {
        #[test]
        fn no_key_leaves_its_folder(name in ".{0,40}") {
            if let Ok(key) = BlobKey::new(&name) {
                let parts = std::path::Path::new(key.as_str()).components();
                prop_assert!(parts.clone().count() > 0);
                for part in parts {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)));
                }
            }
        }
    }
}
