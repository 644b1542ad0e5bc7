//! The seam itself.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_runtime::Entropy;
use tidemark_types::limits::{BLOB_BYTES_MAX, BLOB_GET_BYTES_MAX, BLOB_LIST_MAX};

use crate::{BlobError, BlobErrorKind, BlobKey, Body};

/// Names one logical put, so that a repetition after an unknown outcome knows its own work.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PutId(pub u128);

impl PutId {
    /// A new one.
    #[must_use]
    pub fn random(entropy: &Entropy) -> Self {
        Self(u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64()))
    }
}

impl fmt::Display for PutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for PutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a put does when the object exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutMode {
    /// Refuses, unless the object is of this very put (guarantee 3). What all data uses: names are never reused.
    IfAbsent,
    /// Replaces it.
    Replace,
}

/// A put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// The object.
    pub key: BlobKey,
    /// Its bytes, at most [`BLOB_BYTES_MAX`].
    pub body: Body,
    /// When it exists.
    pub mode: PutMode,
    /// The same in every repetition of this put, and in no other put.
    pub id: PutId,
}

impl Put {
    /// A put of a new object.
    #[must_use]
    pub fn new(key: BlobKey, body: impl Into<Body>, entropy: &Entropy) -> Self {
        Self {
            key,
            body: body.into(),
            mode: PutMode::IfAbsent,
            id: PutId::random(entropy),
        }
    }

    /// The same, replacing what is there.
    #[must_use]
    pub fn replacing(mut self) -> Self {
        self.mode = PutMode::Replace;
        self
    }

    /// Refuses a body over the bound. Every engine calls it first.
    pub(crate) fn check(&self) -> Result<(), BlobError> {
        if self.body.len() <= BLOB_BYTES_MAX {
            return Ok(());
        }
        Err(BlobError::new(
            BlobErrorKind::Invalid,
            format_args!("put {}", self.key),
            format_args!(
                "{} bytes are over the bound of {BLOB_BYTES_MAX}",
                self.body.len()
            ),
        ))
    }
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobInfo {
    /// Its size, bytes.
    pub bytes: u64,
    /// When it was written, ms since the Unix epoch by the store's wall clock, in steps of up to a second.
    pub modified_ms: i64,
}

/// A listing: keys that begin with `prefix`, above `after`, in byte order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct List {
    /// What keys begin with; need not end at a `/`. Empty: all.
    pub prefix: String,
    /// Only keys greater than this.
    pub after: Option<BlobKey>,
    /// Objects in the answer at the most; 0 means [`BLOB_LIST_MAX`], which is also the bound.
    pub limit: usize,
}

impl List {
    /// Everything that begins with `prefix`, by the largest pages.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }

    /// The page's size.
    #[must_use]
    pub fn page(&self) -> usize {
        match self.limit {
            0 => BLOB_LIST_MAX,
            limit => limit.min(BLOB_LIST_MAX),
        }
    }

    /// Refuses a prefix no key can have. Every engine calls it first.
    pub(crate) fn check(&self) -> Result<(), BlobError> {
        let plain = |byte: u8| byte == b'/' || crate::key::is_plain(byte);
        if self.prefix.bytes().all(plain) && !self.prefix.split('/').any(|s| s.starts_with('.')) {
            return Ok(());
        }
        Err(BlobError::new(
            BlobErrorKind::Invalid,
            format_args!("list {:?}", self.prefix),
            "no key begins like this",
        ))
    }
}

/// An object in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its name.
    pub key: BlobKey,
    /// Its size and age.
    pub info: BlobInfo,
}

/// One page of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// In byte order of their keys. Objects under the prefix whose names are no [`BlobKey`] are left out.
    pub objects: Vec<Listed>,
    /// There may be more: ask again with `after` set to this. A page may be short, even empty, and not be the last.
    pub next: Option<BlobKey>,
}

/// Checks a get's range before anything is allocated: not empty, not over [`BLOB_GET_BYTES_MAX`]. Gives its length.
///
/// # Errors
/// `Invalid`.
pub fn checked_range(key: &BlobKey, range: &Range<u64>) -> Result<usize, BlobError> {
    let len = range.end.saturating_sub(range.start);
    match usize::try_from(len) {
        Ok(len) if len > 0 && len <= BLOB_GET_BYTES_MAX => Ok(len),
        _ => Err(BlobError::new(
            BlobErrorKind::Invalid,
            format_args!("get {key}"),
            format_args!(
                "bytes {}..{} are not a range of 1 to {BLOB_GET_BYTES_MAX}",
                range.start, range.end
            ),
        )),
    }
}

/// A store of immutable objects.
///
/// Guarantees, each with a test in the conformance suite:
/// 1. **Whole or not at all.** An object is seen only with all its bytes. A put that failed without
///    [`BlobError::outcome_unknown`] did nothing and never will; with it, the object may be there, or appear later.
/// 2. **Durable and seen.** An answered put is durable, and every get, head and list that begins afterwards sees it.
/// 3. **One winner.** Of conditional puts on one key exactly one succeeds; the others get `AlreadyExists`. A
///    conditional put that finds an object with its own [`PutId`] answers success: repeating is safe.
/// 4. **Exact ranges.** A get answers exactly the bytes `range` of one version of the object, or an error: never fewer.
///    A range that passes the object's end is `Invalid`. Bytes are as the store gave them: callers keep checksums.
/// 5. **Deleting is idempotent.** Deleting what is not there succeeds. An answered delete is durable. A put in doubt may
///    still land after a delete (T3).
/// 6. **Listing is ordered.** Pages follow byte order; an object that exists during the whole listing is listed once.
/// 7. **Bounded.** Sizes are checked against `limits::BLOB_*` before memory is taken.
#[async_trait]
pub trait BlobStore: Send + Sync + fmt::Debug + 'static {
    /// Writes an object.
    async fn put(&self, put: Put) -> Result<(), BlobError>;

    /// Reads bytes `range` (end exclusive, at most [`BLOB_GET_BYTES_MAX`]) of an object.
    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError>;

    /// An object's size and age.
    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError>;

    /// Deletes an object; absent is fine.
    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError>;

    /// Deletes several. After an error some of them may be gone: repeat all.
    async fn delete_many(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        for key in keys {
            self.delete(key).await?;
        }
        Ok(())
    }

    /// Lists one page.
    async fn list(&self, list: List) -> Result<Page, BlobError>;
}
