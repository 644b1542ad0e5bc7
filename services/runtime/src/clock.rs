//! Time. Durations are measured on the monotonic clock, timestamps that are stored are wall time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A clock. Cheap to clone; all clones of one simulated clock share its skew.
///
/// Monotonic time is tokio's, so a paused runtime makes it virtual. Wall time is the system's, or, for
/// [`Clock::simulated`], a base that advances with monotonic time plus a skew that a fault may set.
#[derive(Clone, Debug)]
pub struct Clock(Wall);

#[derive(Clone, Debug)]
enum Wall {
    System,
    Simulated {
        base_ms: i64,
        started: Instant,
        skew_ms: Arc<AtomicI64>,
    },
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Wall::System)
    }

    /// A clock whose wall time starts at `base_ms` (ms since the Unix epoch) now and follows monotonic time.
    /// Call inside a tokio runtime with paused time.
    #[must_use]
    pub fn simulated(base_ms: i64) -> Self {
        let skew_ms = Arc::default();
        Self(Wall::Simulated {
            base_ms,
            started: monotonic(),
            skew_ms,
        })
    }

    /// Monotonic now.
    #[must_use]
    pub fn now(&self) -> Instant {
        monotonic()
    }

    /// Wall time, ms since the Unix epoch. May jump; never measure with it.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        match &self.0 {
            Wall::System => system_wall_ms(),
            Wall::Simulated {
                base_ms,
                started,
                skew_ms,
            } => {
                let elapsed = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
                base_ms
                    .saturating_add(elapsed)
                    .saturating_add(skew_ms.load(Ordering::Relaxed))
            }
        }
    }

    /// Sleeps on the monotonic clock.
    pub async fn sleep(&self, d: Duration) {
        tokio::time::sleep(d).await;
    }

    /// Makes a simulated clock's wall time jump by `by_ms` from now on. No effect on the system's.
    pub fn jump_wall(&self, by_ms: i64) {
        if let Wall::Simulated { skew_ms, .. } = &self.0 {
            skew_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the room for the monotonic clock"
)]
fn monotonic() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this is the room for wall time")]
fn system_wall_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_wall_time_follows_virtual_time_and_jumps() {
        let clock = Clock::simulated(1_000);
        let twin = clock.clone();
        clock.sleep(Duration::from_secs(5)).await;
        assert_eq!(clock.wall_ms(), 6_000);
        twin.jump_wall(-2_000);
        assert_eq!(clock.wall_ms(), 4_000);
    }
}
