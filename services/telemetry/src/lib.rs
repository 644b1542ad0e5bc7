//! Logs and metrics of the process, set up once by the binary.
//!
//! Crates log through `tracing` and measure through `opentelemetry::global::meter`; none of them knows where it goes.

mod logs;
mod metrics;

pub use logs::{LogConfig, LogError, LogFormat, init_logs};
pub use metrics::{Metrics, MetricsError};
