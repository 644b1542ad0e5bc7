//! Waiting between retries: exponential with full jitter and a bound on the number of tries.

use std::time::Duration;

use crate::{Clock, Entropy};

/// A bounded retry schedule: try `n` waits uniformly in `0..min(cap, base · 2ⁿ)`.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    tries_left: u32,
    tries: u32,
}

impl Backoff {
    /// A schedule of at most `tries` waits.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration, tries: u32) -> Self {
        Self {
            base,
            cap,
            tries_left: tries,
            tries: 0,
        }
    }

    /// Waits before the next try. `false`: the tries are used up and nothing was waited for.
    pub async fn wait(&mut self, clock: &Clock, entropy: &Entropy) -> bool {
        let Some(pause) = self.pause(entropy) else {
            return false;
        };
        clock.sleep(pause).await;
        true
    }

    /// How long to wait before the next try, for those who wait elsewhere. `None`: the tries are used up.
    pub fn pause(&mut self, entropy: &Entropy) -> Option<Duration> {
        if self.tries_left == 0 {
            return None;
        }
        let bound = self
            .base
            .saturating_mul(1 << self.tries.min(20))
            .min(self.cap);
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        self.tries_left -= 1;
        self.tries += 1;
        Some(Duration::from_micros(entropy.below(bound_us.max(1))))
    }
}
