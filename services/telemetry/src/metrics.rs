//! Metrics: OpenTelemetry instruments, read as Prometheus text.

use opentelemetry::global;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder, Registry, TextEncoder};

/// Why metrics could not be set up or read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter refused.
    #[error("set up metrics: {0}")]
    Setup(String),
    /// The text could not be written.
    #[error("render metrics: {0}")]
    Render(#[from] prometheus::Error),
}

/// The process's metrics. Dropping it stops the collection.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

impl Metrics {
    /// Installs the global meter provider; instruments made afterwards are collected.
    ///
    /// # Errors
    /// When the exporter cannot be built.
    pub fn install() -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .build()
            .map_err(|e| MetricsError::Setup(e.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        global::set_meter_provider(provider.clone());
        let metrics = Self { registry, provider };
        metrics.observe_invariants();
        Ok(metrics)
    }

    /// All metrics in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn render(&self) -> Result<String, MetricsError> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    fn observe_invariants(&self) {
        self.provider
            .meter("tidemark")
            .u64_observable_counter("tidemark.invariant.violations")
            .with_description("Violated invariants; anything but 0 is a bug")
            .with_callback(|seen| seen.observe(tidemark_runtime::violations(), &[]))
            .build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_was_measured() {
        let metrics = Metrics::install().unwrap();
        global::meter("test")
            .u64_counter("test.things")
            .build()
            .add(3, &[]);
        let text = metrics.render().unwrap();
        assert!(text.contains("test_things_total"), "{text}");
        assert!(
            text.contains("tidemark_invariant_violations_total"),
            "{text}"
        );
    }
}
