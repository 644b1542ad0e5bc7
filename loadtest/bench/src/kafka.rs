//! The Kafka protocol, spoken by our own thin client: what it costs and when it measures is known.
//!
//! Versions are fixed (Produce 9, Fetch 12, …): old enough for every server of the last years, new enough for compact
//! encodings.

pub mod client;
pub mod conn;
pub mod consumer;
pub mod pending;
pub mod producer;
