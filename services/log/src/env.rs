//! What every part of the log is given.

use std::sync::Arc;
use std::time::Duration;

use tidemark_lease::Leases;
use tidemark_meta::MetaStore;
use tidemark_runtime::{Clock, Entropy};

use crate::cold::ColdCache;
use crate::config::LogConfig;
use crate::counters::Counters;
use crate::starts::LogStarts;
use crate::tier::Tier;
use crate::view::TailCache;
use crate::waiters::Numbers;

/// Settings and components, shared by all shards.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) config: LogConfig,
    pub(crate) leases: Leases,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) cache: TailCache,
    pub(crate) cold: ColdCache,
    pub(crate) counters: Counters,
    pub(crate) starts: LogStarts,
    pub(crate) fetches: Numbers,
    pub(crate) meta: Arc<dyn MetaStore>,
    /// Absent: nothing is tiered.
    pub(crate) tier: Option<Arc<Tier>>,
}

impl Env {
    /// Some time below `most`, by chance.
    pub(crate) fn chance(&self, most: Duration) -> Duration {
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.entropy.below(most_ms.max(1)))
    }

    /// Sleeps for `least`, and by chance up to `more` beyond it: what all shards do once in a while is not done by all at once.
    pub(crate) async fn pause(&self, least: Duration, more: Duration) {
        self.clock.sleep(least + self.chance(more)).await;
    }
}
