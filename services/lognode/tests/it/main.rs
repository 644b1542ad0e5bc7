//! The log node from outside: through [`tidemark_journal::Replica`] on simulated and real disks.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod basics;
mod crash;
mod damage;
mod failures;
mod files;
mod fixture;
mod rig;
