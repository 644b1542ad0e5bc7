//! The seam itself.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_types::{Coded, ErrorCode};
use tokio::sync::oneshot;

/// A key with its value.
pub type KeyValue = (Bytes, Bytes);

/// Ten bytes that grow with every commit, unique per commit: 8 bytes of version, 2 of order in its batch.
pub type Versionstamp = [u8; 10];

/// Whether a read conflicts with later writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The read is a conflict: the commit fails when someone wrote what was read.
    Serializable,
    /// The read sees the same version but does not conflict. Never use it for an epoch check (J9).
    Snapshot,
}

/// A range read: `[begin, end)`, in key order or reversed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeRead {
    /// First key, inclusive.
    pub begin: Bytes,
    /// Last key, exclusive.
    pub end: Bytes,
    /// Pairs to return at the most; 0 asks for none.
    pub limit: usize,
    /// From the end backwards.
    pub reverse: bool,
    /// Whether it conflicts. The conflict covers what was returned, as in FoundationDB.
    pub mode: Mode,
}

/// What a commit answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// The commit's version; a read-only transaction answers its read version.
    pub version: u64,
    /// The stamp that versionstamped keys and values received.
    pub versionstamp: Versionstamp,
}

/// Why a metadata operation failed. The variant says what the caller does.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MetaError {
    /// Something this transaction read was written since: run it again. Not committed.
    #[error("commit metadata: conflict with another transaction")]
    Conflict,
    /// The transaction is older than 5 s: run it again. Not committed.
    #[error("read metadata: the transaction is too old")]
    TooOld,
    /// The commit may or may not have happened: re-read under conflict, then decide. It will not happen later
    /// than the next read of the keys it wrote.
    #[error("commit metadata: outcome unknown")]
    MaybeCommitted,
    /// The store cannot be reached or refuses work: retry with backoff. Not committed.
    #[error("reach the metadata store: {0}")]
    Unavailable(String),
    /// A key, value or transaction is over its limit, or the call is wrong. Never retry. Not committed.
    #[error("use the metadata store: {0}")]
    Invalid(String),
    /// Stored bytes do not decode: damage, or a newer version wrote them. Never retry.
    #[error("decode metadata: {0}")]
    Corrupt(String),
}

impl MetaError {
    /// Whether running the transaction again can help.
    #[must_use]
    pub const fn is_retriable(&self) -> bool {
        matches!(
            self,
            Self::Conflict | Self::TooOld | Self::MaybeCommitted | Self::Unavailable(_)
        )
    }
}

impl From<tidemark_types::DecodeError> for MetaError {
    fn from(error: tidemark_types::DecodeError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl Coded for MetaError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Conflict | Self::TooOld | Self::Unavailable(_) => ErrorCode::NotController,
            Self::MaybeCommitted => ErrorCode::RequestTimedOut,
            Self::Invalid(_) | Self::Corrupt(_) => ErrorCode::Unknown,
        }
    }
}

/// Fires once the watched key's value differs from what the transaction saw, or the engine gave up
/// (then it errs). A watch may fire without a change: re-read, and always keep a polling backstop.
pub type Watch = oneshot::Receiver<()>;

/// A metadata engine.
pub trait MetaStore: Send + Sync + fmt::Debug + 'static {
    /// Begins a transaction. Its read version is taken by its first read.
    fn begin(&self) -> Box<dyn Transaction>;
}

/// A transaction. Dropping it without a commit has no effect on the store.
///
/// Guarantees, each with a test in the conformance suite:
/// 1. All reads see one version, plus the transaction's own earlier writes.
/// 2. The commit fails with `Conflict` iff a serializable read (or explicit read conflict) overlaps a write
///    that committed after the read version. A transaction without writes never conflicts.
/// 3. Writes apply all or none, durably before `commit` answers.
/// 4. Versionstamps grow with commit order; read versions never go backwards for one process.
/// 5. Limits of `types::limits::META_*` are enforced with `Invalid`, or `TooOld` for age.
#[async_trait]
pub trait Transaction: Send {
    /// A key's value.
    async fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError>;

    /// A range's pairs.
    async fn range(&mut self, read: RangeRead) -> Result<Vec<KeyValue>, MetaError>;

    /// Sets a key.
    fn set(&mut self, key: &[u8], value: &[u8]);

    /// Clears a key.
    fn clear(&mut self, key: &[u8]);

    /// Clears `[begin, end)`.
    fn clear_range(&mut self, begin: &[u8], end: &[u8]);

    /// Adds to a little-endian `u64` (absent reads as 0), wrapping, without a read conflict.
    fn atomic_add(&mut self, key: &[u8], add: u64);

    /// Sets a little-endian `u64` to the larger of itself (absent reads as 0) and `value`, without a read conflict.
    fn atomic_max(&mut self, key: &[u8], value: u64);

    /// Sets `prefix ‖ versionstamp ‖ suffix` to `value`.
    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]);

    /// Sets `key` to `prefix ‖ versionstamp`.
    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]);

    /// Conflicts as if `[begin, end)` had been read.
    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]);

    /// Conflicts others as if `[begin, end)` had been written.
    fn add_write_conflict(&mut self, begin: &[u8], end: &[u8]);

    /// Watches a key from this transaction's view of it; armed by a successful commit.
    fn watch(&mut self, key: &[u8]) -> Watch;

    /// Commits. Never drop this future when the outcome matters (J9).
    async fn commit(self: Box<Self>) -> Result<Committed, MetaError>;
}
