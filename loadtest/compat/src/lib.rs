//! Driving the real binary and real clients: processes, ports, and the toolchains the clients need.
//!
//! These tests use the release binary, the ambient clock and the operating system on purpose.
#![expect(
    clippy::disallowed_methods,
    reason = "this crate drives real processes"
)]

mod crowd;
mod server;
pub mod tools;

pub use crowd::Crowd;
pub use server::{Server, get, release_binary, repository};

use std::time::{Duration, Instant};

/// Polls `condition` until it holds; panics with `what` when it does not within a minute.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}
