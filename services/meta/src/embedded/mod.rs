//! The single-node engine: optimistic transactions with group commit over a kept storage engine.
//!
//! # Overview
//! Reads go to a snapshot, inline: they touch memory or a cached block. Commits wait for one thread, which takes
//! all that are queued, decides them, writes one batch and syncs once for all of them. The storage engine stays
//! behind `kept.rs`.
//!
//! # Consistency
//! Strict serializability, argued in `occ`.
//!
//! # Crash consistency
//! A commit is answered after its batch is synced; a batch is all or nothing. A failed write or sync is never retried:
//! the store answers `MaybeCommitted` for that group and `Unavailable` for everything after, until a restart.
//!
//! # Cancellation
//! Give [`Embedded::open`] a set of tasks that is shut down after everything that uses the store: what is queued
//! then is still committed, what comes later is refused.

mod kept;
#[cfg(test)]
mod tests;

use std::path::Path;

use tidemark_runtime::{Clock, Tasks};
use tidemark_types::{Coded, ErrorCode};

use self::kept::Kept;
use crate::occ::{Driver, OccStore};
use crate::{MetaStore, Transaction};

/// The embedded store. Clones share it; its folder is free again when all of them, their transactions and the
/// thread are gone.
#[derive(Clone, Debug)]
pub struct Embedded(OccStore<Kept>);

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the folder's lock.
    #[error("open metadata in {folder}: data folder in use by another process")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// The folder was written by a newer program.
    #[error("open metadata in {folder}: format {found} is not known to this program")]
    UnknownFormat {
        /// The folder.
        folder: String,
        /// Its format.
        found: u8,
    },
    /// The folder cannot be read, written or recovered.
    #[error("open metadata in {folder}: {why}")]
    Failed {
        /// The folder.
        folder: String,
        /// What the engine said.
        why: String,
    },
}

impl Coded for OpenError {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unknown
    }
}

impl Embedded {
    /// Opens or creates the store in `folder` and starts its thread. Blocks for some milliseconds.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path, clock: &Clock, tasks: &Tasks) -> Result<Self, OpenError> {
        let (kept, version) = Kept::open(folder)?;
        let (store, driver) = OccStore::queued(kept, version, clock.clone());
        start(driver, tasks).map_err(|error| OpenError::Failed {
            folder: folder.display().to_string(),
            why: format!("start its thread: {error}"),
        })?;
        Ok(Self(store))
    }
}

fn start(driver: Driver<Kept>, tasks: &Tasks) -> std::io::Result<()> {
    let stop = tasks.token().cancelled_owned();
    // A runtime of its own, without drivers: the thread only waits for its queue.
    let waiting = tokio::runtime::Builder::new_current_thread().build()?;
    tasks.spawn_thread("meta", move || waiting.block_on(driver.run(stop)))?;
    Ok(())
}

impl MetaStore for Embedded {
    fn begin(&self) -> Box<dyn Transaction> {
        self.0.begin()
    }
}
