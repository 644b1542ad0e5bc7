//! How much memory peers may make the gateway hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound in bytes. Waiters are served in their order, so a large claim is not starved by small ones.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug, Default)]
pub(crate) struct Charge(Option<OwnedSemaphorePermit>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize);
        Self {
            free: Arc::new(Semaphore::new(bytes)),
            bytes,
        }
    }

    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.bytes - self.free.available_permits()
    }

    /// `bytes`, if they are there at once.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Charge> {
        let claim = u32::try_from(bytes.min(self.bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).try_acquire_many_owned(claim).ok()?;
        Some(Charge(Some(permit)))
    }

    /// Waits for `bytes`; a claim above the whole budget takes all of it.
    pub(crate) async fn take(&self, bytes: usize) -> Charge {
        let claim = u32::try_from(bytes.min(self.bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).acquire_many_owned(claim).await;
        Charge(permit.ok())
    }
}

impl Charge {
    /// Puts `more` of the same budget to this one.
    pub(crate) fn add(&mut self, more: Self) {
        match (&mut self.0, more.0) {
            (Some(have), Some(more)) => have.merge(more),
            (have @ None, more) => *have = more,
            (Some(_), None) => {}
        }
    }

    /// Whether it holds `bytes`, or all that `budget` has.
    pub(crate) fn covers(&self, budget: &Budget, bytes: usize) -> bool {
        let have = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        have >= bytes.min(budget.bytes)
    }

    /// Gives back what is above `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let more = permit.num_permits().saturating_sub(bytes);
            drop(permit.split(more));
        }
    }
}

/// A count of bytes with a bound that is looked at beforehand, for what cannot be known beforehand.
#[derive(Debug)]
pub(crate) struct Gauge {
    used: AtomicUsize,
    max: usize,
}

/// Bytes counted by a gauge until dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    gauge: Arc<Gauge>,
    bytes: usize,
}

impl Gauge {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max,
        })
    }

    /// Bytes left below the bound.
    pub(crate) fn left(&self) -> usize {
        self.max.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    /// Counts `bytes` unless they would pass the bound.
    pub(crate) fn try_count(self: &Arc<Self>, bytes: usize) -> Option<Counted> {
        let fits = |used: usize| used.checked_add(bytes).filter(|u| *u <= self.max);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.used.fetch_update(set, fetch, fits).ok()?;
        Some(Counted {
            gauge: Arc::clone(self),
            bytes,
        })
    }

    /// Counts `bytes` if they are at most half of what is left: whoever takes much leaves room for those who take
    /// little.
    pub(crate) fn try_share(self: &Arc<Self>, bytes: usize) -> Option<Counted> {
        if bytes > self.left() / 2 {
            return None;
        }
        self.try_count(bytes)
    }

    pub(crate) fn count(self: &Arc<Self>, bytes: usize) -> Counted {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Counted {
            gauge: Arc::clone(self),
            bytes,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn claims_wait_for_what_others_give_back() {
        let budget = Budget::new(100);
        let mut first = budget.take(60).await;
        first.add(budget.take(20).await);
        assert!(budget.take(30).now_or_never().is_none());
        drop(first);
        assert!(budget.take(1_000).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_can_be_made_smaller() {
        let budget = Budget::new(100);
        let mut claim = budget.take(80).await;
        claim.shrink(30);
        assert_eq!(budget.used(), 30);
        claim.shrink(50);
        assert_eq!(budget.used(), 30);
        drop(claim);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_gauge_takes_no_more_than_its_bound_when_asked_first() {
        let gauge = Gauge::new(10);
        let counted = gauge.try_count(7).unwrap();
        assert!(gauge.try_count(4).is_none());
        drop(counted);
        assert!(gauge.try_count(10).is_some());
    }

    #[test]
    fn large_shares_leave_room_for_small_ones() {
        let gauge = Gauge::new(1_000);
        let mut large: Vec<Counted> = Vec::new();
        while let Some(counted) = gauge.try_share(200) {
            large.push(counted);
        }
        assert_eq!((large.len(), gauge.left()), (4, 200));
        assert!(gauge.try_share(100).is_some());
        assert!(gauge.try_share(101).is_none());
    }

    #[test]
    fn a_gauge_counts_back() {
        let gauge = Gauge::new(10);
        let counted = gauge.count(25);
        assert_eq!(gauge.left(), 0);
        drop(counted);
        assert_eq!(gauge.left(), 10);
    }
}
