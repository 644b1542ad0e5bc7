//! Why a partition's batch is not in the log, as its producer is told.

use tidemark_log::AppendError;
use tidemark_types::{Coded, ErrorCode};
use tidemark_wire::KafkaString;
use tidemark_wire::messages::produce_response::BatchIndexAndErrorMessage;

/// First version that names the records at fault (KIP-467), and has messages.
const RECORD_ERRORS_FROM: i16 = 8;

#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// Places in the batch of the records without a key, where that is the reason.
    without_key: Vec<i32>,
}

impl Refusal {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            without_key: Vec::new(),
        }
    }

    /// With the catalogue's words.
    pub(super) fn of_code(code: ErrorCode) -> Self {
        Self::new(code, code.hint())
    }

    pub(super) fn of_append(error: &AppendError) -> Self {
        let refusal = Self::new(error.code(), error.to_string());
        match error {
            AppendError::RecordsWithoutKey { at, .. } => Self {
                without_key: at.clone(),
                ..refusal
            },
            _ => refusal,
        }
    }

    /// The records at fault, for versions that can be told: the client fails these, and may send the others again.
    pub(super) fn record_errors(&self, version: i16) -> Vec<BatchIndexAndErrorMessage> {
        let named = self
            .without_key
            .iter()
            .filter(|_| version >= RECORD_ERRORS_FROM);
        named
            .map(|at| BatchIndexAndErrorMessage {
                batch_index: *at,
                batch_index_error_message: Some(KafkaString::from_static(
                    "a compacted topic's records need keys",
                )),
                ..Default::default()
            })
            .collect()
    }
}
