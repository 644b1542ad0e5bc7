//! Errors as a person at a terminal meets them: a code, a cause, a hint.

use std::fmt::Write;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The service answered with a problem document.
    #[error("{detail}")]
    Service {
        /// The code of the error catalogue.
        code: String,
        /// What happened, in the service's words.
        detail: String,
        /// What to do.
        hint: String,
    },
    /// Something on this side failed.
    #[error("{what}: {cause}")]
    Local {
        /// A stable code.
        code: &'static str,
        /// What was tried, starting with the verb.
        what: String,
        /// Why it failed.
        cause: String,
        /// What to do.
        hint: String,
    },
    /// The reader of standard output went away: not an error.
    #[error("standard output was closed")]
    PipeClosed,
}

impl CliError {
    /// A failure on this side.
    pub fn local(
        code: &'static str,
        what: impl Into<String>,
        cause: impl ToString,
        hint: impl Into<String>,
    ) -> Self {
        Self::Local {
            code,
            what: what.into(),
            cause: cause.to_string(),
            hint: hint.into(),
        }
    }

    /// What a problem document (RFC 9457) says.
    #[must_use]
    pub fn problem(document: &serde_json::Value) -> Self {
        let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
        let mut detail = text("detail");
        // Out of range of what: the two numbers are beside the sentence.
        if let (Some(start), Some(end)) = (
            document["log_start"].as_i64(),
            document["high_watermark"].as_i64(),
        ) {
            let _infallible = write!(detail, "; it can be read from offset {start} up to {end}");
        }
        Self::Service {
            code: text("code"),
            detail,
            hint: text("hint"),
        }
    }

    /// The text for standard error; with `json`, one JSON object.
    #[must_use]
    pub fn rendered(&self, json: bool) -> String {
        let (code, hint) = match self {
            Self::Service { code, hint, .. } => (code.as_str(), hint.as_str()),
            Self::Local { code, hint, .. } => (*code, hint.as_str()),
            Self::PipeClosed => return String::new(),
        };
        if json {
            return format!(
                "{}\n",
                serde_json::json!({ "code": code, "detail": self.to_string(), "hint": hint })
            );
        }
        let mut text = format!("error[{code}]: {self}\n");
        if !hint.is_empty() {
            let _infallible = writeln!(text, " hint: {hint}");
        }
        text
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::PipeClosed;
        }
        Self::local("io", "read or write the terminal", error, "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_out_of_range_is_shown_with_the_range() {
        let document = serde_json::json!({
            "code": "offset_out_of_range", "detail": "read offset 9", "log_start": 2, "high_watermark": 5,
        });
        let text = CliError::problem(&document).rendered(false);
        assert!(text.contains("from offset 2 up to 5"), "{text}");
    }

    #[test]
    fn an_error_shows_its_code_cause_and_hint() {
        let error = CliError::local(
            "bind",
            "listen on 127.0.0.1:9092",
            "address in use",
            "choose another port",
        );
        let text = error.rendered(false);
        for part in [
            "error[bind]",
            "listen on 127.0.0.1:9092: address in use",
            "hint: choose another port",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(error.rendered(true).starts_with('{'));
    }
}
