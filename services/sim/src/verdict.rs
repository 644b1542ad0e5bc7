//! Violations of the invariants of DESIGN section 9, as they are found.

use std::sync::Arc;

use parking_lot::Mutex;
use tidemark_runtime::Invariant;
use tokio::sync::Notify;

use crate::trace::{Trace, note};

/// A violated invariant and how it showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The invariant; of a panic in production code the one that its message names, if it names one.
    pub invariant: Option<Invariant>,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.invariant {
            Some(invariant) if !self.what.contains(" violated: ") => {
                write!(f, "{invariant}: {}", self.what)
            }
            _ => f.write_str(&self.what),
        }
    }
}

/// More than this many are not kept: after the first few a broken run only repeats itself.
const KEPT_MAX: usize = 20;

/// The violations of a run. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    trace: Trace,
    harm: &'static [Invariant],
    found: Arc<Mutex<Vec<Violation>>>,
    first: Arc<Notify>,
}

impl Verdict {
    pub(crate) fn new(trace: &Trace, harm: &'static [Invariant]) -> Self {
        Self {
            harm,
            trace: trace.clone(),
            found: Arc::default(),
            first: Arc::default(),
        }
    }

    /// Completes once there is a violation of what the run looks for.
    pub(crate) async fn found(&self) {
        self.first.notified().await;
    }

    pub(crate) fn violated(&self, invariant: Invariant, what: String) {
        self.add(Some(invariant), what);
    }

    pub(crate) fn panicked(&self, what: String) {
        let named = |i: &&Invariant| what.contains(&format!("{i} violated"));
        let invariant = Invariant::ALL.iter().find(named).copied();
        self.add(invariant, what);
    }

    fn add(&self, invariant: Option<Invariant>, what: String) {
        let violation = Violation { invariant, what };
        note!(self.trace, "VIOLATION {violation}");
        let looked_for = self.is_harm(&violation);
        let mut found = self.found.lock();
        if (looked_for || found.len() < KEPT_MAX) && !found.contains(&violation) {
            found.push(violation);
        }
        drop(found);
        if looked_for {
            self.first.notify_one();
        }
    }

    fn is_harm(&self, violation: &Violation) -> bool {
        self.harm.is_empty() || violation.invariant.is_some_and(|i| self.harm.contains(&i))
    }

    /// Nothing that the run looks for was found.
    pub(crate) fn is_clean(&self) -> bool {
        !self.found.lock().iter().any(|v| self.is_harm(v))
    }

    pub(crate) fn take(&self) -> Vec<Violation> {
        std::mem::take(&mut self.found.lock())
    }
}
