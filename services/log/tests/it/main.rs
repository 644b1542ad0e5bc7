//! The log over an in-memory metadata store and in-memory log nodes, under paused time.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps an error fails, as it should"
)]

mod appends;
mod audits;
mod compaction;
mod costs;
mod full;
mod lookups;
mod outages;
mod reads;
mod rebuild;
mod reconcile;
mod restarts;
mod retention;
mod rolls;
mod tiering;
mod world;
mod zombies;
