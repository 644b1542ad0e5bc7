//! One shard's compaction, for as long as the shard is owned.
//!
//! The shard's lease is the lease of its jobs: every transaction of theirs begins with the owner's guard (J9), and what a job
//! did is in the rows it committed, object by object. So a job that its process or its ownership did not outlive is gone on
//! with by the next owner, from the rows.
//!
//! While the log is busy with producers and readers it waits, within bounds ([`Load`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemark_topics::{Topic, Topics};
use tidemark_types::{Offset, PartitionId, TopicId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::clean::clean;
use super::clean::plan::plan;
use super::counters::count;
use super::draft::CompactError;
use super::inventory::Inventory;
use super::job::Job;
use super::load::Load;
use super::merge::merge;
use super::retain::condemn_passed;
use super::squeeze::squeeze;
use crate::env::Env;
use crate::shard::Shard;

/// A shard of which nothing changed is looked at once in as many periods.
const IDLE: u32 = 20;

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
        let mut looked: Option<(u64, Instant)> = None;
        let mut load = Load::new(&env);
        loop {
            env.pause(period, period / 10).await;
            let busy = load.is_busy(&env, tier.config.busy_bytes_per_s);
            let (now, changes) = (env.clock.now(), shard.cold.changes());
            // Without a change only time makes something due, and topics' configurations do.
            if looked.is_some_and(|(seen, at)| seen == changes && now < at + IDLE * period) {
                continue;
            }
            if busy && !is_full(&tier, &shard) && load.can_wait(tier.config.compaction_patience) {
                continue;
            }
            let all = all_rounds(&env, &tier, &topics, &shard).await;
            if all {
                load.done();
            }
            looked = all.then(|| (shard.cold.changes(), now));
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Whether there are as many objects as one run takes: waiting would only make the next one's work, and readers', harder.
fn is_full(tier: &Tier, shard: &Shard) -> bool {
    shard.cold.rows().segments.len() >= tier.config.merge_objects.1
}

/// Does what is due while the shard is owned. Answers whether all of it was done.
async fn all_rounds(env: &Env, tier: &Tier, topics: &Topics, shard: &Shard) -> bool {
    while let Ok(ownership) = shard.ownership() {
        let job = Job {
            env,
            tier,
            shard,
            ownership,
        };
        match round(job, topics).await {
            Ok(true) => {}
            Ok(false) => return true,
            Err(error) if error.is_loss() => return false,
            Err(error) => {
                count(&tier.counters.compaction_failures);
                tracing::info!(shard = %shard.id, "compact again: {error}");
                return false;
            }
        }
    }
    false
}

/// Does what is due. Answers whether more is.
async fn round(job: Job<'_>, topics: &Topics) -> Result<bool, CompactError> {
    let rows = job.shard.cold.rows();
    if rows.segments.is_empty() && rows.level1.is_empty() {
        return Ok(false);
    }
    drop(rows);
    let _turn = job.tier.compacting.acquire().await;
    let cleaned = clean_all(job, topics).await?;
    let merged = merge(job).await?;
    if merged || cleaned.any {
        sweep(job).await?;
    }
    // What is left is too small for objects of single partitions.
    let squeezed = squeeze(job).await?;
    Ok(merged || squeezed || cleaned.more)
}

/// What a round did for compacted topics.
#[derive(Debug, Default)]
struct Cleaned {
    any: bool,
    /// There is more to do at once.
    more: bool,
}

/// Compacts the partitions that are due.
async fn clean_all(job: Job<'_>, topics: &Topics) -> Result<Cleaned, CompactError> {
    let compacted = compacted(job, topics).await?;
    let mut done = Cleaned::default();
    if compacted.is_empty() {
        return Ok(done);
    }
    let rows = job.shard.cold.rows();
    let wanted = |id: PartitionId| compacted.contains_key(&id.topic);
    let objects = &job.tier.objects;
    let inventory = Inventory::take(objects, job.shard, &rows, usize::MAX, wanted).await?;
    let own = rows.level1.keys().filter(|id| wanted(**id));
    let all: BTreeSet<PartitionId> = own.chain(inventory.partitions.keys()).copied().collect();
    for id in all {
        let Some(topic) = compacted.get(&id.topic) else {
            continue;
        };
        if let Some(plan) = plan(job, topic, id, &rows, &inventory).await? {
            done.any = true;
            done.more |= clean(job, &plan).await?;
        }
    }
    Ok(done)
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
    condemn_passed(job, is_deleted).await
}
