//! A metadata store whose calls take time and whose commits fail in every way they may.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidemark_meta::{Committed, Decorate, Decorated, MetaError, MetaStore, Transaction, sim::Sim};
use tidemark_runtime::{Clock, Entropy};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Refused with a conflict.
    Conflict,
    /// Not committed, and the caller is not told.
    UnknownNotCommitted,
    /// Committed, and the caller is not told.
    UnknownCommitted,
    /// The store is away.
    Unavailable,
}

#[derive(Default, Debug)]
pub(crate) struct Knobs {
    pub(crate) delay_max: Duration,
    pub(crate) fault_percent: u64,
    /// For the next commits of transactions that write, before chance decides. `None`: goes well.
    pub(crate) script: VecDeque<Option<Fault>>,
    pub(crate) down: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Shaky {
    inner: Sim,
    clock: Clock,
    entropy: Entropy,
    pub(crate) knobs: Arc<Mutex<Knobs>>,
}

impl Shaky {
    pub(crate) fn new(clock: &Clock, entropy: &Entropy) -> Self {
        Self {
            inner: Sim::new(clock),
            clock: clock.clone(),
            entropy: entropy.clone(),
            knobs: Arc::default(),
        }
    }

    pub(crate) fn script(&self, faults: &[Option<Fault>]) {
        self.knobs.lock().script = faults.iter().copied().collect();
    }

    async fn pause(&self) -> Result<(), MetaError> {
        let (delay, down) = {
            let knobs = self.knobs.lock();
            (knobs.delay_max, knobs.down)
        };
        let micros = u64::try_from(delay.as_micros()).expect("a short delay");
        if micros > 0 {
            let delay = Duration::from_micros(self.entropy.below(micros));
            self.clock.sleep(delay).await;
        }
        if down {
            return Err(MetaError::Unavailable("down".to_owned()));
        }
        Ok(())
    }

    fn fault(&self) -> Option<Fault> {
        let mut knobs = self.knobs.lock();
        if let Some(scripted) = knobs.script.pop_front() {
            return scripted;
        }
        if knobs.fault_percent == 0 || self.entropy.below(100) >= knobs.fault_percent {
            return None;
        }
        Some(match self.entropy.below(4) {
            0 => Fault::Conflict,
            1 => Fault::UnknownNotCommitted,
            2 => Fault::UnknownCommitted,
            _ => Fault::Unavailable,
        })
    }
}

impl MetaStore for Shaky {
    fn begin(&self) -> Box<dyn Transaction> {
        Decorated::boxed(self.inner.begin(), self.clone())
    }
}

#[async_trait]
impl Decorate for Shaky {
    async fn before_read(&mut self) -> Result<(), MetaError> {
        self.pause().await
    }

    async fn commit(
        self,
        inner: Box<dyn Transaction>,
        writes: bool,
    ) -> Result<Committed, MetaError> {
        self.pause().await?;
        let fault = if writes { self.fault() } else { None };
        let outcome = match fault {
            Some(Fault::Conflict) => Err(MetaError::Conflict),
            Some(Fault::UnknownNotCommitted) => Err(MetaError::MaybeCommitted),
            Some(Fault::Unavailable) => Err(MetaError::Unavailable("injected".to_owned())),
            Some(Fault::UnknownCommitted) => {
                let _ = inner.commit().await;
                Err(MetaError::MaybeCommitted)
            }
            None => inner.commit().await,
        };
        // The reply takes its time too.
        self.pause().await.or(Ok::<(), MetaError>(()))?;
        outcome
    }
}
