//! Warnings that hostile peers could repeat at will: one a second per kind, with the count of the others.

use std::time::Duration;

use parking_lot::Mutex;
use tidemark_runtime::Clock;
use tokio::time::Instant;

/// At most one warning per this long.
const EVERY: Duration = Duration::from_secs(1);

/// Decides whether a warning is due.
#[derive(Debug, Default)]
pub(crate) struct Quiet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Quiet {
    /// `Some(n)` when a warning is due; n were suppressed since the last one.
    pub(crate) fn due(&self, clock: &Clock) -> Option<u64> {
        let now = clock.now();
        let mut state = self.0.lock();
        if state.last.is_some_and(|last| now < last + EVERY) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_a_second_with_the_count_of_the_others() {
        let clock = Clock::simulated(0);
        let quiet = Quiet::default();
        assert_eq!(quiet.due(&clock), Some(0));
        assert_eq!(quiet.due(&clock), None);
        assert_eq!(quiet.due(&clock), None);
        clock.sleep(EVERY).await;
        assert_eq!(quiet.due(&clock), Some(2));
    }
}
