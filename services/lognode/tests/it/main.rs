//! The log node from outside: through [`tidemark_journal::Replica`] on simulated and real disks.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod basics;
#[path = "../../fuzz/checks.rs"]
mod checks;
mod crash;
mod damage;
mod failures;
mod files;
mod fixture;
mod full;
mod fuzzed;
mod memory;
mod rig;
mod stress;
