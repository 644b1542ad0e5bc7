//! The log node: one write-ahead log per disk, shared by all shards, behind [`journal::Replica`].
//!
//! # Overview
//! Requests queue in call order. One writer takes whatever queued while the last sync ran, writes it as one
//! *block* with one `pwritev`, syncs once and answers all of it. The WAL is a set of preallocated segment
//! files that are recycled: overwriting written blocks syncs about twice as fast as extending a file.
//!
//! # Crash consistency
//! A block is valid or it is not there. Every block names the position known to be synced before it was
//! written (J5), so recovery tells a torn tail (cut) from rot (limbo). Every segment begins with the node's
//! whole small state (fences, extents), so older segments are recycled one by one.
//!
//! # Rooms
//! Files are touched in [`FileDisk`] only; [`sim::SimDisk`] is the same seam in memory, with faults, and is
//! driven on the caller's runtime without threads.
//!
//! [`journal::Replica`]: tidemark_journal::Replica

mod config;
mod damage;
mod disk;
mod driver;
mod error;
mod format;
mod node;
mod open;
mod plan;
mod prepare;
mod read;
mod recover;
mod request;
mod scan;
mod segments;
pub mod sim;
mod state;
mod stats;
mod survey;
mod suspect;
mod verify;
mod view;
mod wal;
mod window;

pub use config::LogNodeConfig;
pub use damage::Damage;
pub use disk::{Disk, DiskFile, FileDisk};
pub use error::OpenError;
pub use node::LogNode;
pub use stats::Stats;
pub use verify::Report;
