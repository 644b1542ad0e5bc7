//! Topic names: Kafka's rules (`org.apache.kafka.common.internals.Topic`).

use tidemark_types::limits::TOPIC_NAME_BYTES_MAX;
use tidemark_types::{Coded, ErrorCode};

/// Why a name is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// The name breaks Kafka's rules.
    #[error("Topic name is invalid: {0}")]
    Invalid(String),
    /// Kafka keeps its own state in a topic of that name; Tidemark keeps it in its metadata store.
    #[error(
        "Creation of internal topic {0} is prohibited: the service keeps that state elsewhere."
    )]
    Reserved(String),
}

impl Coded for NameError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::InvalidTopicName,
            Self::Reserved(_) => ErrorCode::InvalidRequest,
        }
    }
}

/// Names under which Kafka keeps its own state.
const RESERVED: [&str; 4] = [
    "__cluster_metadata",
    "__consumer_offsets",
    "__share_group_state",
    "__transaction_state",
];

/// Whether Kafka keeps its own state in a topic of this name. Such a topic never exists here.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Checks a name by Kafka's rules: 1 to 249 of `a-z A-Z 0-9 . _ -`, neither "." nor "..".
///
/// # Errors
/// [`NameError::Invalid`] with what is wrong. Reserved names pass: ask [`is_reserved`].
pub fn validate_name(name: &str) -> Result<(), NameError> {
    let why = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => "'.' or '..' is not allowed".to_owned(),
        long if long.len() > TOPIC_NAME_BYTES_MAX => format!(
            "the length of a name of {} bytes is longer than the max allowed length {TOPIC_NAME_BYTES_MAX}",
            long.len()
        ),
        other if !other.bytes().all(is_legal) => format!(
            "'{}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
            other.escape_debug()
        ),
        _ => return Ok(()),
    };
    Err(NameError::Invalid(why))
}

const fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_rules_hold() {
        for good in [
            "a",
            "A-b_c.9",
            "__consumer_offsets",
            "...",
            "a.b",
            &"x".repeat(249),
        ] {
            assert_eq!(validate_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "ü",
            "a/b",
            "a\0",
            "a,b",
            &"x".repeat(250),
        ] {
            let error = validate_name(bad).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidTopicName, "{bad}");
            assert!(error.to_string().len() < 600);
        }
    }
}
