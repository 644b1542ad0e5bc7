//! Why a log node could not be opened.

use tidemark_types::{Coded, ErrorCode};

/// Why a log node could not be opened. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the folder.
    #[error("open log node in {folder}: another process uses this data folder")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// The step, as a verb with its object.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file of a format this build does not know, most likely written by a newer one.
    #[error("read {file}: format version {version} is unknown, this build reads {known}")]
    UnknownFormat {
        /// The file.
        file: String,
        /// The version found.
        version: u16,
        /// The version this build reads.
        known: u16,
    },
    /// The disk's identity cannot be read.
    #[error("read {file}: {why}; remove it to start as a new, empty log node")]
    BadCookie {
        /// The file.
        file: String,
        /// What is wrong.
        why: String,
    },
}

impl OpenError {
    /// An I/O error with the step that met it.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl Coded for OpenError {
    fn code(&self) -> ErrorCode {
        ErrorCode::StorageError
    }
}
