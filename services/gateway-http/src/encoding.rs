//! Bytes in JSON: as text, as JSON, or as base64, always said which.
//!
//! Whatever is read can be produced again as it stands and gives the same bytes.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::Problem;

/// How a key, a value or a header stands in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    /// A string whose UTF-8 bytes are meant.
    #[default]
    Utf8,
    /// Any JSON value; its text as sent is meant. `null` is no value at all, as in the other encodings.
    Json,
    /// A string in standard base64 with padding.
    Base64,
}

impl Encoding {
    /// The bytes that `raw`, a JSON text, means; `None` for null. `what` names the field in the problem.
    pub(crate) fn decode(self, raw: &RawValue, what: &str) -> Result<Option<Vec<u8>>, Problem> {
        let text = raw.get();
        if text == "null" {
            return Ok(None);
        }
        if self == Self::Json {
            return Ok(Some(text.as_bytes().to_vec()));
        }
        let string: String = serde_json::from_str(text).map_err(|_| {
            Problem::invalid(format!(
                "read {what}: a string or null is expected; for other JSON set its encoding to json"
            ))
        })?;
        match self {
            Self::Base64 => decode_base64(&string, what).map(Some),
            Self::Utf8 | Self::Json => Ok(Some(string.into_bytes())),
        }
    }

    /// `bytes` as JSON in this encoding, or in the next one that can hold them; and which one it was.
    pub(crate) fn encode(self, bytes: &[u8]) -> (Box<RawValue>, Self) {
        let text = std::str::from_utf8(bytes);
        if self == Self::Json
            && let Ok(text) = text
            && let Some(raw) = embeddable(text)
        {
            return (raw, Self::Json);
        }
        match text {
            Ok(text) if self != Self::Base64 => (string(text), Self::Utf8),
            _ => (string(&BASE64_STANDARD.encode(bytes)), Self::Base64),
        }
    }
}

pub(crate) fn decode_base64(text: &str, what: &str) -> Result<Vec<u8>, Problem> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|e| Problem::invalid(format!("read {what}: not base64: {e}")))
}

pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// `text` as a JSON value that reads back as exactly `text`: no null, which means no value, no outer
/// whitespace, which would be lost, and no line break, which would cut a line-based answer.
fn embeddable(text: &str) -> Option<Box<RawValue>> {
    if text == "null" || text.contains(['\n', '\r']) {
        return None;
    }
    let raw: Box<RawValue> = serde_json::from_str(text).ok()?;
    (raw.get() == text).then_some(raw)
}

fn string(text: &str) -> Box<RawValue> {
    serde_json::value::to_raw_value(text).expect("a string serialises")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoding() -> impl Strategy<Value = Encoding> {
        prop::sample::select(vec![Encoding::Utf8, Encoding::Json, Encoding::Base64])
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "\\PC{0,20}".prop_map(String::into_bytes),
            prop::sample::select(vec![
                "null",
                "{}",
                " {}",
                "{\"a\": 1}",
                "[1,\n2]",
                "1e400",
                "\"x\"",
                "",
                "true",
                "{\"a\":1} ",
            ])
            .prop_map(|s| s.as_bytes().to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(wanted in encoding(), bytes in bytes()) {
            let (raw, used) = wanted.encode(&bytes);
            prop_assert!(!raw.get().contains('\n'));
            prop_assert_eq!(used.decode(&raw, "value").unwrap(), Some(bytes));
        }
    }

    #[test]
    fn json_keeps_the_text_as_sent() {
        let raw: Box<RawValue> =
            serde_json::from_str("{\"b\": 1.0, \"a\":10000000000000000001}").unwrap();
        let bytes = Encoding::Json.decode(&raw, "value").unwrap().unwrap();
        assert_eq!(bytes, raw.get().as_bytes());
    }
}
