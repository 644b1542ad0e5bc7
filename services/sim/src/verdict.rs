//! Violations of the invariants of DESIGN section 9, as they are found.

use std::sync::Arc;

use parking_lot::Mutex;
use tidemark_runtime::Invariant;
use tokio::sync::Notify;

use crate::trace::{Trace, note};

/// A violated invariant and how it showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant; `None` for a panic in production code, whose message names it.
    pub invariant: Option<Invariant>,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.invariant {
            Some(invariant) => write!(f, "{invariant}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// More than this many are not kept: after the first few a broken run only repeats itself.
const KEPT_MAX: usize = 20;

/// The violations of a run. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    trace: Trace,
    found: Arc<Mutex<Vec<Violation>>>,
    first: Arc<Notify>,
}

impl Verdict {
    pub(crate) fn new(trace: &Trace) -> Self {
        Self {
            trace: trace.clone(),
            found: Arc::default(),
            first: Arc::default(),
        }
    }

    /// Completes once there is a violation.
    pub(crate) async fn found(&self) {
        self.first.notified().await;
    }

    pub(crate) fn violated(&self, invariant: Invariant, what: String) {
        self.add(Some(invariant), what);
    }

    pub(crate) fn panicked(&self, what: String) {
        self.add(None, what);
    }

    fn add(&self, invariant: Option<Invariant>, what: String) {
        let violation = Violation { invariant, what };
        note!(self.trace, "VIOLATION {violation}");
        self.first.notify_one();
        let mut found = self.found.lock();
        if found.len() < KEPT_MAX && !found.contains(&violation) {
            found.push(violation);
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.found.lock().is_empty()
    }

    pub(crate) fn take(&self) -> Vec<Violation> {
        std::mem::take(&mut self.found.lock())
    }
}
