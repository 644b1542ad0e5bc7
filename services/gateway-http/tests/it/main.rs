//! The gateway over a whole service in memory, called through its router and through real sockets.

#![expect(clippy::unwrap_used, reason = "tests say what they expect")]

mod any_body;
mod audit;
mod bad_input;
mod bytes;
#[path = "../../fuzz/checks.rs"]
mod checks;
mod fuzzed;
mod groups;
mod produce;
mod read;
mod reset;
mod server;
mod service;
mod streams;
mod topics;
mod truncate;
mod world;
