//! Why bytes are not a batch, or not one that a client may append.

use tidemark_types::{Coded, ErrorCode};

/// What is wrong with a batch or with a record in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a batch header has, or than its length field says.
    #[error("read record batch: {have} bytes, {needed} needed")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The length field is impossible: negative or below the header's own size.
    #[error("read record batch: length field {length} is impossible")]
    Length {
        /// The field's value.
        length: i32,
    },
    /// More bytes than the length field says, where exactly one batch belongs.
    #[error("read record batch: {extra} bytes after the batch")]
    Trailing {
        /// Bytes after the end.
        extra: usize,
    },
    /// A message format other than v2.
    #[error("read record batch: message format v{magic} is not supported, v2 is")]
    Magic {
        /// The magic byte.
        magic: i8,
    },
    /// The bytes differ from what was summed.
    #[error("check record batch: CRC32C is {actual:#010x}, the header says {stated:#010x}")]
    Crc {
        /// What the header says.
        stated: u32,
        /// What the bytes give.
        actual: u32,
    },
    /// A compression code that does not exist.
    #[error("read record batch: compression code {code} is unknown")]
    Compression {
        /// The attributes' three low bits.
        code: u8,
    },
    /// The batch is well-formed but breaks a rule; the text says which.
    #[error("check record batch: {0}")]
    Rule(String),
    /// The compressed bytes do not decompress.
    #[error("decompress record batch ({codec}): {why}")]
    Decompress {
        /// The codec's name.
        codec: &'static str,
        /// What the decoder says.
        why: String,
    },
    /// Decoding needs more memory than the caller allows.
    #[error("decode record batch: needs more than the {budget} bytes allowed")]
    OverBudget {
        /// The caller's budget, bytes.
        budget: usize,
    },
    /// A record does not decode, or contradicts its batch's header.
    #[error("decode record {index}: {why}")]
    Record {
        /// Which record of the batch, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Records that do not fit into one batch.
    #[error("encode record batch: {0}")]
    Encode(String),
}

impl BatchError {
    pub(crate) fn rule(why: impl Into<String>) -> Self {
        Self::Rule(why.into())
    }
}

impl Coded for BatchError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. }
            | Self::Length { .. }
            | Self::Trailing { .. }
            | Self::Crc { .. }
            | Self::Decompress { .. } => ErrorCode::CorruptBatch,
            Self::Magic { .. } => ErrorCode::UnsupportedForMessageFormat,
            Self::Compression { .. } => ErrorCode::UnsupportedCompression,
            Self::Rule(_) | Self::Record { .. } => ErrorCode::InvalidRecord,
            Self::OverBudget { .. } | Self::Encode(_) => ErrorCode::MessageTooLarge,
        }
    }
}
