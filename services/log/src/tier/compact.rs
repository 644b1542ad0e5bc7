//! One shard's compaction, for as long as the shard is owned.
//!
//! The shard's lease is the lease of its jobs: every transaction of theirs begins with the owner's guard (J9), and what a job
//! did is in the rows it committed, object by object. So a job that its process or its ownership did not outlive is gone on
//! with by the next owner, from the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidemark_topics::{Topic, Topics};
use tidemark_types::{Offset, PartitionId, TopicId};
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::clean::clean;
use super::clean::plan::plan;
use super::commit::CommitError;
use super::counters::count;
use super::draft::{CompactError, Job};
use super::inventory::Inventory;
use super::merge::merge;
use super::retain::condemn_passed;
use super::worker::RoundError;
use crate::env::Env;
use crate::shard::Shard;

/// Compacts one shard's log until the process stops. Dropping it between or within its steps is a crash like any other.
pub(crate) async fn run(
    env: Arc<Env>,
    tier: Arc<Tier>,
    topics: Topics,
    shard: Arc<Shard>,
    stop: CancellationToken,
) {
    let period = tier.config.compaction_period;
    let work = async {
        loop {
            let jitter_ms = u64::try_from(period.as_millis() / 10).unwrap_or(u64::MAX);
            let jitter = Duration::from_millis(env.entropy.below(jitter_ms.max(1)));
            env.clock.sleep(period + jitter).await;
            while let Ok(ownership) = shard.ownership() {
                let (env, tier, shard) = (env.as_ref(), tier.as_ref(), shard.as_ref());
                let job = Job {
                    env,
                    tier,
                    shard,
                    ownership,
                };
                match round(job, &topics).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) if error.is_loss() => break,
                    Err(error) => {
                        count(&tier.counters.compaction_failures);
                        tracing::info!(shard = %shard.id, "compact again: {error}");
                        break;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Does what is due. Answers whether more is.
async fn round(job: Job<'_>, topics: &Topics) -> Result<bool, CompactError> {
    let rows = job.shard.cold.rows();
    if rows.segments.is_empty() && rows.level1.is_empty() {
        return Ok(false);
    }
    drop(rows);
    let _turn = job.tier.compacting.acquire().await;
    let more = clean_all(job, topics).await?;
    let merged = merge(job).await?;
    sweep(job).await?;
    Ok(more || merged)
}

/// Compacts the partitions that are due.
async fn clean_all(job: Job<'_>, topics: &Topics) -> Result<bool, CompactError> {
    let compacted = compacted(job, topics).await?;
    if compacted.is_empty() {
        return Ok(false);
    }
    let rows = job.shard.cold.rows();
    let wanted = |id: PartitionId| compacted.contains_key(&id.topic);
    let objects = &job.tier.objects;
    let inventory = Inventory::take(objects, job.shard, &rows, usize::MAX, wanted).await?;
    let own = rows.level1.keys().filter(|id| wanted(**id));
    let all: BTreeSet<PartitionId> = own.chain(inventory.partitions.keys()).copied().collect();
    let mut more = false;
    for id in all {
        let Some(topic) = compacted.get(&id.topic) else {
            continue;
        };
        if let Some(plan) = plan(job, topic, id, &rows, &inventory).await? {
            more |= clean(job, &plan).await?;
        }
    }
    Ok(more)
}

/// The shard's topics with `cleanup.policy=compact`.
async fn compacted(
    job: Job<'_>,
    topics: &Topics,
) -> Result<BTreeMap<TopicId, Arc<Topic>>, CompactError> {
    let ids: BTreeSet<TopicId> = job.shard.views.read().keys().map(|id| id.topic).collect();
    let mut compacted = BTreeMap::new();
    for id in ids {
        let topic = topics.get(id).await?;
        if let Some(topic) = topic.filter(|topic| topic.config.cleanup_policy.compact) {
            compacted.insert(id, topic);
        }
    }
    Ok(compacted)
}

/// Condemns the objects of all partitions whose parts were all rewritten, or lie below where their partitions begin.
async fn sweep(job: Job<'_>) -> Result<(), CompactError> {
    let is_deleted = |id: PartitionId, end: Offset| {
        let view = job.shard.view(id);
        view.is_some_and(|view| end <= view.state.read().log_start)
    };
    condemn_passed(job.env, job.tier, job.shard, job.ownership, is_deleted).await
}

impl CompactError {
    /// Someone else owns the shard: nothing failed.
    const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Put(RoundError::NotOwner) | Self::Commit(CommitError::NotOwner(_))
        )
    }
}
