//! A shard's cold part, shared by its readers, its owner and its tierer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;
use tidemark_types::Lsn;
use tokio::sync::Notify;

use super::pressure::Pressure;
use super::rows::{Level0, Rows};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ColdPart {
    rows: RwLock<Arc<Rows>>,
    numbers: AtomicU32,
    /// Something was sealed: there may be something to tier.
    pub(crate) sealed: Notify,
    /// Something was tiered, or the disk turned full: there may be something to release.
    pub(crate) released: Notify,
    pub(crate) pressure: Pressure,
}

impl ColdPart {
    /// The rows as of now.
    pub(crate) fn rows(&self) -> Arc<Rows> {
        Arc::clone(&self.rows.read())
    }

    pub(crate) fn set(&self, rows: Rows) {
        *self.rows.write() = Arc::new(rows);
    }

    /// Adds what was committed behind `first`. Nothing changes when another ownership has read the rows itself since.
    pub(crate) fn advance(&self, first: Lsn, end: Lsn, segment: Option<Level0>) {
        let mut rows = self.rows.write();
        if rows.tiered == first {
            *rows = Arc::new(rows.with(segment, end));
        }
    }

    /// Takes over rows that were read from the store, unless something was committed since.
    pub(crate) fn reread(&self, read: Rows) {
        let mut rows = self.rows.write();
        if rows.tiered == read.tiered {
            *rows = Arc::new(read);
        }
    }

    /// Takes segments out.
    pub(crate) fn remove(&self, gone: &[Level0]) {
        let mut rows = self.rows.write();
        *rows = Arc::new(rows.without(gone));
    }

    /// A number no object of this process's ownerships of the shard has had.
    pub(crate) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}
