//! What readers share with the writer: the durable state and the segments' files.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::disk::DiskFile;
use crate::state::State;

/// A segment's file and its name, for messages.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) name: Arc<str>,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// Changed by the writer only, after a sync.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    pub(crate) state: State,
    pub(crate) files: BTreeMap<u64, SegmentFile>,
    /// Why the disk takes no more writes (J5).
    pub(crate) poison: Option<String>,
}

/// The shared view.
pub(crate) struct View {
    pub(crate) secret: u64,
    pub(crate) durable: RwLock<Durable>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("View")
    }
}
