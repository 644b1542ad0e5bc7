//! Retention of what lies in the object store: by time, by size, by deletion. It moves where partitions begin, and takes
//! out objects that hold nothing that can still be read (DESIGN section 4).
//!
//! Granularity is a partition's part of one object, as it is a segment in Kafka: what is hot waits until it is tiered, and
//! `retention.bytes` counts what lies in the object store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemark_segment::Partition;
use tidemark_topics::{Topic, TopicError, Topics};
use tidemark_types::{Offset, Ownership, PartitionId, TopicId};
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::commit::{CONDEMN_MAX, CommitError, remove};
use super::counters::add;
use super::objects::ObjectError;
use super::rows::{Level0, Rows};
use crate::env::Env;
use crate::shard::Shard;
use crate::truncate::{TruncateError, raise};

/// Why a round did not finish; the next one does what is left.
#[derive(Debug, thiserror::Error)]
enum RetainError {
    #[error("{0}")]
    Topics(#[from] TopicError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Truncate(#[from] TruncateError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Retains one shard's log until the process stops.
pub(crate) async fn run(
    env: Arc<Env>,
    tier: Arc<Tier>,
    topics: Topics,
    shard: Arc<Shard>,
    stop: CancellationToken,
) {
    let period = tier.config.retention_period;
    let work = async {
        loop {
            let jitter_ms = u64::try_from(period.as_millis() / 10).unwrap_or(u64::MAX);
            let jitter = Duration::from_millis(env.entropy.below(jitter_ms.max(1)));
            env.clock.sleep(period + jitter).await;
            let Ok(ownership) = shard.ownership() else {
                continue;
            };
            if let Err(error) = round(&env, &tier, &topics, &shard, ownership).await {
                tracing::info!(shard = %shard.id, "retain again: {error}");
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// What becomes of one partition.
struct Fate {
    /// `None`: the topic is gone, and everything of it with it.
    topic: Option<Arc<Topic>>,
    /// Where it begins, and where it will.
    before: Offset,
    start: Offset,
    /// Bytes that lie in the object store from `start` on.
    bytes: u64,
    /// What follows is kept.
    kept: bool,
}

impl Fate {
    fn is_dead(&self, end: Offset) -> bool {
        self.topic.is_none() || end <= self.start
    }

    /// Whether the oldest part that is left goes.
    fn expires(&self, part: &Partition<'_>, now_ms: i64) -> bool {
        let deletes = |t: &&Arc<Topic>| t.config.cleanup_policy.delete;
        let Some(topic) = self.topic.as_ref().filter(deletes) else {
            return false;
        };
        let config = &topic.config;
        let newest = part.max_timestamp();
        let too_old = config.retention_ms.is_some_and(|ms| {
            let age = now_ms.saturating_sub(newest);
            // Without a timestamp there is no age.
            newest >= 0 && u64::try_from(age).is_ok_and(|age| age > ms)
        });
        let left = self.bytes.saturating_sub(part.bytes());
        too_old || config.retention_bytes.is_some_and(|max| left >= max)
    }
}

async fn round(
    env: &Env,
    tier: &Tier,
    topics: &Topics,
    shard: &Shard,
    ownership: Ownership,
) -> Result<(), RetainError> {
    let rows = shard.cold.rows();
    if rows.segments.is_empty() {
        return Ok(());
    }
    let mut fates = fates(tier, topics, shard, &rows).await?;
    let now_ms = env.clock.wall_ms();
    for segment in &rows.segments {
        let index = tier.objects.index(segment).await?;
        for part in index.partitions() {
            let Some(fate) = fates.get_mut(&part.id()) else {
                continue;
            };
            if fate.kept || part.end() <= fate.start {
                continue;
            }
            if fate.expires(&part, now_ms) {
                fate.start = part.end();
                fate.bytes = fate.bytes.saturating_sub(part.bytes());
            } else {
                fate.kept = true;
            }
        }
    }
    let moved = fates.iter().filter(|(_, fate)| fate.start > fate.before);
    let starts: Vec<_> = moved.map(|(id, fate)| (*id, fate.start)).collect();
    // The rows of the partitions first: a reader must not be sent to what is condemned.
    raise(env, shard, ownership, &starts).await?;
    condemn_dead(env, tier, shard, ownership, &rows, &fates).await
}

async fn fates(
    tier: &Tier,
    topics: &Topics,
    shard: &Shard,
    rows: &Rows,
) -> Result<BTreeMap<PartitionId, Fate>, RetainError> {
    let mut known: BTreeMap<TopicId, Option<Arc<Topic>>> = BTreeMap::new();
    let mut fates: BTreeMap<PartitionId, Fate> = BTreeMap::new();
    for segment in &rows.segments {
        let index = tier.objects.index(segment).await?;
        for part in index.partitions() {
            let id = part.id();
            if let Some(fate) = fates.get_mut(&id) {
                if part.end() > fate.start {
                    fate.bytes += part.bytes();
                }
                continue;
            }
            let topic = match known.get(&id.topic) {
                Some(topic) => topic.clone(),
                None => {
                    let topic = topics.get(id.topic).await?;
                    known.insert(id.topic, topic.clone());
                    topic
                }
            };
            let view = shard.view(id);
            let start = view.map_or(Offset(0), |view| view.state.read().log_start);
            let fate = Fate {
                topic,
                before: start,
                start,
                bytes: if part.end() > start { part.bytes() } else { 0 },
                kept: false,
            };
            fates.insert(id, fate);
        }
    }
    Ok(fates)
}

/// Takes out the objects of which nothing can be read any more.
async fn condemn_dead(
    env: &Env,
    tier: &Tier,
    shard: &Shard,
    ownership: Ownership,
    rows: &Rows,
    fates: &BTreeMap<PartitionId, Fate>,
) -> Result<(), RetainError> {
    let mut dead: Vec<Level0> = Vec::new();
    for segment in &rows.segments {
        let index = tier.objects.index(segment).await?;
        let is_dead = |part: Partition<'_>| {
            let fate = fates.get(&part.id());
            fate.is_some_and(|fate| fate.is_dead(part.end()))
        };
        if index.partitions().all(is_dead) {
            dead.push(*segment);
        }
    }
    let grace_ms = i64::try_from(tier.config.grace.as_millis()).unwrap_or(i64::MAX);
    for some in dead.chunks(CONDEMN_MAX) {
        let not_before_ms = env.clock.wall_ms().saturating_add(grace_ms);
        remove(env, ownership, some, not_before_ms).await?;
        shard.cold.remove(some);
        add(&tier.counters.objects_condemned, some.len() as u64);
    }
    Ok(())
}
