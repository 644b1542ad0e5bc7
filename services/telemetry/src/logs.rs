//! Structured logs on standard error.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt};

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// What is logged and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// A filter as in `tracing`'s directives: `info`, `warn,tidemark_log=debug`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse.
    #[error("read log.filter {filter:?}: {why}")]
    Filter {
        /// The filter given.
        filter: String,
        /// The parser's complaint.
        why: String,
    },
    /// A logger is installed already.
    #[error("install the logger: {0}")]
    Installed(String),
}

/// Installs the process's logger.
///
/// # Errors
/// When the filter is malformed or a logger is installed already.
pub fn init_logs(config: &LogConfig) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|e| LogError::Filter {
        filter: config.filter.clone(),
        why: e.to_string(),
    })?;
    let builder = fmt::Subscriber::builder()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|e| LogError::Installed(e.to_string()))
}
