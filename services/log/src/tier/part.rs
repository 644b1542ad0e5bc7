//! A shard's cold part, shared by its readers, its owner and its tierer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::RwLock;
use tidemark_meta::keys::state::StateRow;
use tidemark_types::{Lsn, PartitionId};
use tokio::sync::Notify;

use super::pressure::Pressure;
use super::rows::{Level0, Level1, Rows};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ColdPart {
    rows: RwLock<Arc<Rows>>,
    /// Changes of the rows so far, so that rows read from the store before one are not taken for newer.
    changes: AtomicU64,
    numbers: AtomicU32,
    /// Something was sealed: there may be something to tier.
    pub(crate) sealed: Notify,
    /// Something was tiered, or the disk turned full: there may be something to release.
    pub(crate) released: Notify,
    pub(crate) pressure: Pressure,
    /// Who holds it moves the shard's frames: its tierer, or the owner that stops.
    pub(crate) moving: tokio::sync::Mutex<()>,
}

impl ColdPart {
    /// The rows as of now.
    pub(crate) fn rows(&self) -> Arc<Rows> {
        Arc::clone(&self.rows.read())
    }

    /// Changes so far: take it before rows are read from the store, and give it to [`ColdPart::reread`].
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// What a new owner read.
    pub(crate) fn set(&self, rows: Rows) {
        self.change(|_| Some(rows));
    }

    /// Adds what was committed behind `first`. Nothing changes when another ownership has read the rows itself since.
    pub(crate) fn advance(&self, first: Lsn, end: Lsn, segment: Option<Level0>) {
        self.change(|rows| (rows.tiered == first).then(|| rows.with(segment, end)));
    }

    /// Takes over rows that were read from the store, unless something was committed since.
    pub(crate) fn reread(&self, read: Rows, changes: u64) {
        self.change(|rows| {
            let same = self.changes() == changes && rows.tiered == read.tiered;
            same.then_some(read)
        });
    }

    /// Notes another state object.
    pub(crate) fn saved(&self, state: StateRow) {
        self.change(|rows| {
            let mut rows = rows.clone();
            rows.state = Some(state);
            Some(rows)
        });
    }

    /// Takes segments out.
    pub(crate) fn remove(&self, gone: &[Level0]) {
        self.change(|rows| Some(rows.without(gone)));
    }

    /// Replaces neighbours of all partitions by one.
    pub(crate) fn squeeze(&self, gone: &[Level0], new: Option<Level0>) {
        self.change(|rows| Some(rows.squeezed(gone, new)));
    }

    /// Replaces some of a partition's own segments.
    pub(crate) fn swap(&self, partition: PartitionId, gone: &[Level1], new: Option<Level1>) {
        self.change(|rows| Some(rows.swapped(partition, gone, new)));
    }

    fn change(&self, make: impl FnOnce(&Rows) -> Option<Rows>) {
        let mut rows = self.rows.write();
        if let Some(made) = make(&rows) {
            *rows = Arc::new(made);
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A number no object of this process's ownerships of the shard has had.
    pub(crate) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}
