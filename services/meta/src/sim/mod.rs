//! The in-memory engine: for tests and the simulator. Single-threaded friendly and deterministic, with the
//! same transaction code as `embedded`; only the storage below it differs.
//!
//! Wrap it in [`crate::faulty::Faulty`] to have commits refused, lost, or left in doubt.

mod memory;

use tidemark_runtime::Clock;

pub(crate) use self::memory::Memory;
use crate::occ::{OccStore, View};
use crate::{KeyValue, MetaStore, Transaction};

/// An in-memory store. Clones share it, so it survives the "crash" of whoever used it.
#[derive(Clone, Debug)]
pub struct Sim(OccStore<Memory>);

impl Sim {
    /// An empty store. `clock` ages transactions (5 s).
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self(OccStore::inline(Memory::default(), 0, clock.clone()))
    }

    /// Everything in the store, in key order: for checkers, and for comparing two runs.
    ///
    /// # Panics
    /// Never: memory does not fail.
    #[must_use]
    pub fn contents(&self) -> Vec<KeyValue> {
        let all = self.0.newest().expect("memory is not poisoned");
        all.view
            .range(&[], &[0xff], false)
            .map(|pair| pair.expect("the newest version is kept"))
            .collect()
    }
}

impl MetaStore for Sim {
    fn begin(&self) -> Box<dyn Transaction> {
        self.0.begin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn contents_are_what_is_committed() {
        let sim = Sim::new(&Clock::system());
        let mut tx = sim.begin();
        tx.set(b"b", b"2");
        tx.set(b"a", b"1");
        tx.set(b"c", b"3");
        tx.commit().await.unwrap();
        let mut tx = sim.begin();
        tx.clear(b"c");
        tx.commit().await.unwrap();
        let mut open = sim.begin();
        open.set(b"d", b"4");
        let pairs = sim.contents();
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (&k[..], &v[..])).collect();
        assert_eq!(pairs, [(&b"a"[..], &b"1"[..]), (b"b", b"2")]);
    }
}
