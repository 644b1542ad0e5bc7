//! The Kafka gateway: listener, connections, and one handler per API.
//!
//! # Overview
//! A connection's task reads frames and hands each to [`dispatch`], which finds the API's entry in the
//! handlers' table, decodes the request and runs it. Answers leave in the order of the requests. What an
//! API does is one file in `handlers/`; the answer to `ApiVersions` and `api/kafka-support.toml` follow from
//! the same table, so nothing is advertised that is not served.
//!
//! # Bounds
//! No byte a peer announces is believed: frames have a bound per API before they are stored, buffers grow as
//! bytes arrive, decoded requests are charged to a budget by what they hold.

mod admin;
#[cfg(test)]
#[path = "../tests/it/alloc.rs"]
mod alloc;
mod budget;
mod config;
mod conn;
mod ctx;
mod dispatch;
mod door;
mod gateway;
mod handler;
mod handlers;
mod lane;
mod memory;
mod meter;
#[cfg(test)]
mod oracle;
mod pool;
mod quiet;
mod resolve;
mod sessions;
mod support;
#[cfg(test)]
mod testing;

pub use config::KafkaConfig;
pub use ctx::{ClusterInfo, Ctx};
pub use gateway::{BindError, KafkaGateway};
pub use support::{ServedApi, served_apis};
