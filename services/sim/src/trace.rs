//! What happened, line by line: the same seed gives the same lines.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tidemark_runtime::Clock;
use tokio::time::Instant;

/// A run's trace. Clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    clock: Clock,
    started: Instant,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Trace {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            started: clock.now(),
            lines: Arc::default(),
        }
    }

    /// Adds a line, after the virtual time in ms and µs.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let at = self.clock.now().duration_since(self.started);
        let line = format!(
            "{:>6}.{:03} {what}",
            at.as_millis(),
            at.subsec_micros() % 1000
        );
        self.lines.lock().push(line);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock())
    }
}

/// `note!(trace, "format {}", …)`.
macro_rules! note {
    ($trace:expr, $($what:tt)+) => {
        $trace.note(format_args!($($what)+))
    };
}
pub(crate) use note;
