//! An audit inside of a running service, as a stream that whoever asked for it drives.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tidemark_types::{Offset, PartitionId, ShardId};
use tokio::sync::mpsc;

use super::pace::Pace;
use super::{AuditError, AuditEvent, AuditOptions, AuditTotals, EVENTS_MAX, check, orphans_before};
use crate::Log;
use crate::env::Env;
use crate::shard::Shard;

type Work = Pin<Box<dyn Future<Output = Result<AuditTotals, AuditError>> + Send>>;

/// An audit under way. It goes on only while it is asked for its next event, and stops when it is dropped.
pub struct AuditRun {
    work: Option<Work>,
    /// What to tell when all events are taken.
    outcome: Option<Result<AuditTotals, AuditError>>,
    events: mpsc::Receiver<AuditEvent>,
}

impl fmt::Debug for AuditRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditRun")
    }
}

impl Log {
    /// Begins to hold the object store against the metadata beside everything else, every shard's. One at a time.
    ///
    /// # Errors
    /// [`AuditError::Running`], [`AuditError::NoStore`].
    pub fn audit(&self, options: AuditOptions) -> Result<AuditRun, AuditError> {
        let (env, shards) = self.parts();
        AuditRun::begin(Arc::clone(env), shards.to_vec(), options)
    }
}

impl AuditRun {
    /// Begins one, unless one is under way.
    fn begin(
        env: Arc<Env>,
        shards: Vec<Arc<Shard>>,
        options: AuditOptions,
    ) -> Result<Self, AuditError> {
        let tier = env.tier.clone().ok_or(AuditError::NoStore)?;
        let turn = Arc::clone(&tier.auditing).try_acquire_owned();
        let turn = turn.map_err(|_| AuditError::Running)?;
        let (out, events) = mpsc::channel(EVENTS_MAX);
        let by_grace = orphans_before(env.clock.wall_ms(), tier.config.grace);
        let before_ms = options.orphans_before_ms.unwrap_or(by_grace);
        let pace = Pace::new(&env.clock, options.bytes_per_s);
        let work = async move {
            let _turn = turn;
            let ends = move |shard, partition| committed(&shards, shard, partition);
            let stores = (env.meta.as_ref(), tier.objects.store());
            check(stores, pace, before_ms, &ends, out).await
        };
        Ok(Self {
            work: Some(Box::pin(work)),
            outcome: None,
            events,
        })
    }

    /// The next event; `None` behind the last one. Safe to drop while waiting.
    ///
    /// # Errors
    /// [`AuditError`], as the last event.
    pub async fn next(&mut self) -> Option<Result<AuditEvent, AuditError>> {
        if let Some(work) = &mut self.work {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => return Some(Ok(event)),
                outcome = work => {
                    self.outcome = Some(outcome);
                    self.work = None;
                }
            }
        }
        match self.events.recv().await {
            Some(event) => Some(Ok(event)),
            None => Some(self.outcome.take()?.map(AuditEvent::Done)),
        }
    }
}

/// Where a partition's committed records end, while this process owns its shard.
fn committed(shards: &[Arc<Shard>], shard: ShardId, partition: PartitionId) -> Option<Offset> {
    let shard = shards.get(usize::try_from(shard.0).ok()?)?;
    let before = shard.ownership().ok()?;
    let end = shard.view(partition)?.state.read().high_watermark;
    (shard.ownership() == Ok(before)).then_some(end)
}
