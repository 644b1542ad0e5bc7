//! The HTTP gateway: topics, produce, read, groups and the service's own state, over the same log as Kafka's.
//!
//! # Overview
//! [`HttpGateway`] owns the listener. One file per resource under `handlers/`; what all of them need (request
//! ids, panics, metrics, bounds) is in `front.rs`, and everything a client sees when it fails is a
//! [`Problem`]. The description of the API is derived from the handlers and committed as `api/openapi.json`.
//!
//! # Bounds
//! Connections, header bytes, body bytes, the bytes of all bodies together, the time a body may dawdle and the
//! time a response may stand still are all bounded ([`HttpConfig`]): a slow or greedy client is cut off and
//! the others do not notice.
//!
//! # Cancellation
//! A client that goes away stops its own waits only: an append that was enqueued happens (J7).

mod body;
mod config;
mod connection;
mod ctx;
mod encoding;
mod extract;
mod front;
mod handlers;
mod places;
mod problem;
mod router;
mod server;

pub use config::HttpConfig;
pub use ctx::{Ctx, Info, Notes, RenderMetrics};
pub use problem::Problem;
pub use router::{openapi, router};
pub use server::{BindError, HttpGateway, ServeError};
