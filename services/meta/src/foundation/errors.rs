//! What FoundationDB's error codes mean to a caller.

use foundationdb::FdbError;
use tidemark_types::{Coded, ErrorCode};

use crate::MetaError;

/// Why FoundationDB cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The client library is missing.
    #[error(transparent)]
    Library(#[from] tidemark_fdb_client::LoadError),
    /// The client library does not start.
    #[error("start FoundationDB's client: {0}")]
    Client(String),
    /// The cluster file does not serve.
    #[error("open FoundationDB cluster file {file}: {why}")]
    Cluster {
        /// The file.
        file: String,
        /// What the client said.
        why: String,
    },
}

impl OpenError {
    pub(super) fn cluster(file: &str, why: String) -> Self {
        let file = file.to_owned();
        Self::Cluster { file, why }
    }
}

impl Coded for OpenError {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unknown
    }
}

/// A code with FoundationDB's words for it.
pub(super) fn describe(error: FdbError) -> String {
    format!("{} (FoundationDB {})", error.message(), error.code())
}

/// FoundationDB's `flow/error_definitions.h`, as far as callers differ.
mod code {
    pub(super) const TRANSACTION_TOO_OLD: i32 = 1007;
    pub(super) const NOT_COMMITTED: i32 = 1020;
    pub(super) const COMMIT_UNKNOWN_RESULT: i32 = 1021;
    pub(super) const TRANSACTION_CANCELLED: i32 = 1025;
    pub(super) const TRANSACTION_TIMED_OUT: i32 = 1031;
    pub(super) const ACCESSED_UNREADABLE: i32 = 1036;
    pub(super) const CLUSTER_VERSION_CHANGED: i32 = 1039;
    pub(super) const KEY_OUTSIDE_LEGAL_RANGE: i32 = 2004;
    pub(super) const INVERTED_RANGE: i32 = 2005;
    pub(super) const TRANSACTION_TOO_LARGE: i32 = 2101;
    pub(super) const KEY_TOO_LARGE: i32 = 2102;
    pub(super) const VALUE_TOO_LARGE: i32 = 2103;
}

/// The outcome of a read: nothing can have been committed.
pub(super) fn of_read(error: FdbError) -> MetaError {
    match error.code() {
        code::TRANSACTION_TOO_OLD => MetaError::TooOld,
        code::NOT_COMMITTED => MetaError::Conflict,
        code::ACCESSED_UNREADABLE
        | code::KEY_OUTSIDE_LEGAL_RANGE
        | code::INVERTED_RANGE
        | code::TRANSACTION_TOO_LARGE
        | code::KEY_TOO_LARGE
        | code::VALUE_TOO_LARGE => MetaError::Invalid(describe(error)),
        _ => MetaError::Unavailable(describe(error)),
    }
}

/// The outcome of a commit.
pub(super) fn of_commit(error: FdbError) -> MetaError {
    match error.code() {
        code::COMMIT_UNKNOWN_RESULT
        | code::TRANSACTION_CANCELLED
        | code::TRANSACTION_TIMED_OUT
        | code::CLUSTER_VERSION_CHANGED => MetaError::MaybeCommitted,
        _ if error.is_maybe_committed() => MetaError::MaybeCommitted,
        // Errors that FoundationDB calls safe to retry were not committed. Any other could be anything.
        _ => match of_read(error) {
            MetaError::Unavailable(_) if !error.is_retryable_not_committed() => {
                MetaError::MaybeCommitted
            }
            known => known,
        },
    }
}
