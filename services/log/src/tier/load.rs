//! Whether the log has time for work that can wait a while.

use std::time::Duration;

use tokio::time::Instant;

use crate::env::Env;

/// What one who puts work off knows. The load is that of the time between two looks.
#[derive(Debug)]
pub(crate) struct Load {
    at: Instant,
    moved: u64,
    /// Since when work that is due waits.
    waiting: Option<Instant>,
}

impl Load {
    pub(crate) fn new(env: &Env) -> Self {
        Self {
            at: env.clock.now(),
            moved: moved(env),
            waiting: None,
        }
    }

    /// Looks again: whether producers and readers moved at least `bytes_per_s` since the last look.
    pub(crate) fn is_busy(&mut self, env: &Env, bytes_per_s: u64) -> bool {
        let (now, moved) = (env.clock.now(), moved(env));
        let ms = now.saturating_duration_since(self.at).as_millis();
        let bytes = u128::from(moved.saturating_sub(self.moved));
        (self.at, self.moved) = (now, moved);
        bytes * 1000 >= u128::from(bytes_per_s) * ms
    }

    /// Whether work that is due can go on waiting, for `patience` in all.
    pub(crate) fn can_wait(&mut self, patience: Duration) -> bool {
        self.at < *self.waiting.get_or_insert(self.at) + patience
    }

    /// All of it was done: what is due next waits anew.
    pub(crate) const fn done(&mut self) {
        self.waiting = None;
    }
}

/// Bytes of batches in and out since the process started.
fn moved(env: &Env) -> u64 {
    let counters = env.counters.snapshot();
    counters.bytes_in + counters.bytes_out
}
