//! The in-memory engine: for tests and the simulator. Single-threaded friendly and deterministic, with the
//! same transaction code as `embedded`; only the storage below it differs.
//!
//! Wrap it in [`crate::faulty::Faulty`] to have commits refused, lost, or left in doubt.

mod memory;

use tidemark_runtime::Clock;

pub(crate) use self::memory::Memory;
use crate::occ::OccStore;
use crate::{MetaStore, Transaction};

/// An in-memory store. Clones share it, so it survives the "crash" of whoever used it.
#[derive(Clone, Debug)]
pub struct Sim(OccStore<Memory>);

impl Sim {
    /// An empty store. `clock` ages transactions (5 s).
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self(OccStore::inline(Memory::default(), 0, clock.clone()))
    }
}

impl MetaStore for Sim {
    fn begin(&self) -> Box<dyn Transaction> {
        self.0.begin()
    }
}
