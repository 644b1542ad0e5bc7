//! What the optimistic layer needs of a storage engine.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{KeyValue, MetaError};

/// Why a storage engine failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// The view's version was dropped.
    #[error("the version is no longer kept")]
    TooOld,
    /// The engine failed; the message says how.
    #[error("{0}")]
    Failed(String),
}

impl From<StorageError> for MetaError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::TooOld => Self::TooOld,
            StorageError::Failed(why) => Self::Unavailable(why),
        }
    }
}

/// The keys a batch changes, with their new values; `None` removes.
pub(crate) type Changes = BTreeMap<Bytes, Option<Bytes>>;

/// The state of one version. It stays readable while it is held, unless [`Storage::apply`] dropped its version.
pub(crate) trait View: Send + Sync + 'static {
    /// A key's value.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// The pairs of `[begin, end)`, in key order or reversed; `begin ≤ end`.
    fn range<'a>(
        &'a self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
    ) -> Box<dyn Iterator<Item = Result<KeyValue, StorageError>> + 'a>;
}

/// A storage engine, owned by the sequencer.
pub(crate) trait Storage: Send + 'static {
    /// Its views.
    type View: View;

    /// The state after the last [`Storage::apply`].
    fn view(&self) -> Self::View;

    /// Applies `changes` and the version counter, all or none, durably before it returns. Views below `oldest` are
    /// not needed any more. After an error nothing is known about the batch, and no further call is made.
    fn apply(&mut self, version: u64, changes: &Changes, oldest: u64) -> Result<(), StorageError>;
}
