//! What can end a run, with what to do about it.

use crate::scenario::ScenarioError;

/// A run that could not be made or went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// Nobody there.
    #[error(
        "connect to {address}: {why}\nhint: is the server running, and is this its {protocol} address?"
    )]
    Connect {
        /// Where.
        address: String,
        /// Which protocol was to be spoken.
        protocol: &'static str,
        /// The system's words.
        why: std::io::Error,
    },
    /// A connection ended or its bytes made no sense.
    #[error("{what}: {why}")]
    Broken {
        /// What was being done.
        what: String,
        /// What happened.
        why: String,
    },
    /// The server answered with an error.
    #[error("{what}: the server answered with error {code}{message}")]
    Refused {
        /// What was asked.
        what: String,
        /// Kafka's number, or HTTP's status.
        code: i32,
        /// Its words, or nothing.
        message: String,
    },
    /// Something took too long.
    #[error("{what}: not within {seconds} s")]
    Late {
        /// What.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The invocation or a peer's file asks for what cannot be.
    #[error("{what}\nhint: {hint}")]
    Usage {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A file or process of this machine.
    #[error("{what}: {why}")]
    System {
        /// What was being done.
        what: String,
        /// The system's words.
        why: std::io::Error,
    },
}

impl LoadError {
    /// A connection that ended, or bytes that made no sense.
    pub fn broken(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Broken {
            what: what.into(),
            why: why.to_string(),
        }
    }

    /// Names what was done when the system refused.
    pub fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |why| Self::System { what, why }
    }
}
