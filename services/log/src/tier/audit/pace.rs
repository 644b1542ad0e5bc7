//! Reading no faster than was asked, and telling now and then how far it is.

use std::num::NonZeroU64;
use std::time::Duration;

use tidemark_runtime::Clock;
use tokio::time::Instant;

/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);

/// Keeps an audit slow enough. What was not read while it waited for something else is not made up for.
pub(super) struct Pace {
    clock: Clock,
    bytes_per_s: Option<NonZeroU64>,
    /// When the next read may begin.
    next: Instant,
    told: Instant,
}

impl Pace {
    pub(super) fn new(clock: &Clock, bytes_per_s: Option<NonZeroU64>) -> Self {
        let now = clock.now();
        Self {
            clock: clock.clone(),
            bytes_per_s,
            next: now,
            told: now,
        }
    }

    /// Waits until so many bytes may be read.
    pub(super) async fn take(&mut self, bytes: u64) {
        let now = self.clock.now();
        let begin = self.next.max(now);
        if let Some(rate) = self.bytes_per_s {
            let ms = bytes.saturating_mul(1_000) / rate;
            self.next = begin + Duration::from_millis(ms);
        }
        if begin > now {
            self.clock.sleep(begin - now).await;
        } else {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn is_time_to_tell(&mut self) -> bool {
        let now = self.clock.now();
        let is_time = now.duration_since(self.told) >= TELL;
        if is_time {
            self.told = now;
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_keep_to_the_rate_and_a_pause_earns_no_more() {
        let clock = Clock::system();
        let mut pace = Pace::new(&clock, NonZeroU64::new(1_000));
        let began = clock.now();
        for _ in 0..5 {
            pace.take(2_000).await;
        }
        assert_eq!(clock.now() - began, Duration::from_secs(8));
        clock.sleep(Duration::from_secs(100)).await;
        let began = clock.now();
        for _ in 0..2 {
            pace.take(2_000).await;
        }
        assert_eq!(clock.now() - began, Duration::from_secs(2));
    }
}
