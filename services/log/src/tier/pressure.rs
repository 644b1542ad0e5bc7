//! How full the log nodes' disks are, and what follows from it.
//!
//! Thresholds in thousandths of the budget, in the order in which they help: above [`RELEASE`] tiered extents are given
//! up and extents that hold space back are rolled; above [`REFUSE`] appends are refused with a retriable error, while
//! there is still room for checkpoints and takeovers.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::env::Env;
use crate::shard::Shard;

/// Below it released data stays as a read cache.
pub(crate) const RELEASE: u64 = 600;
/// Appends are refused from here on (DESIGN section 4: backpressure at 85 %).
pub(crate) const REFUSE: u64 = 850;

/// What the disk asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Level {
    /// Nothing.
    Calm = 0,
    /// Give up what is tiered.
    High = 1,
    /// Take no more.
    Full = 2,
}

/// A level as last seen.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    level: AtomicU8,
    /// The disk takes appends again, or there is nobody to take them any more.
    pub(crate) eased: Notify,
}

impl Pressure {
    pub(crate) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::Calm,
            1 => Level::High,
            _ => Level::Full,
        }
    }
}

/// Looks at the disks of the shard's open extent. Wakes the release when they turn full.
pub(crate) fn look(env: &Env, shard: &Shard) -> Level {
    let open = shard.open_extent();
    let used = open.and_then(|open| env.leases.disk_use(&open.extent));
    let level = match used.map_or(0, |used| used.permille()) {
        REFUSE.. => Level::Full,
        RELEASE.. => Level::High,
        _ => Level::Calm,
    };
    let before = shard
        .cold
        .pressure
        .level
        .swap(level as u8, Ordering::Relaxed);
    if level < Level::Full && before >= Level::Full as u8 {
        shard.cold.pressure.eased.notify_waiters();
    }
    if (level as u8) > before {
        shard.cold.released.notify_one();
    }
    level
}
