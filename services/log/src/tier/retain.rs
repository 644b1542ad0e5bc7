//! Retention of what lies in the object store: by time, by size, by deletion. It moves where partitions begin, and takes
//! out objects that hold nothing that can still be read (DESIGN section 4).
//!
//! Granularity is a partition's part of one object, as it is a segment in Kafka: what is hot waits until it is tiered, and
//! `retention.bytes` counts what lies in the object store.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_topics::{Topic, TopicError, Topics};
use tidemark_types::{Offset, PartitionId, TopicId};
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::commit::{CONDEMN_MAX, CommitError, remove};
use super::counters::add;
use super::job::Job;
use super::objects::ObjectError;
use super::rows::{Level0, Level1, Rows};
use super::swap::remove_own;
use crate::Mutation;
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
            env.pause(period, period / 10).await;
            let Ok(ownership) = shard.ownership() else {
                continue;
            };
            let job = Job {
                env: &env,
                tier: &tier,
                shard: &shard,
                ownership,
            };
            if let Err(error) = round(job, &topics).await {
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

    /// Whether the oldest piece that is left goes.
    fn expires(&self, piece: &Piece, now_ms: i64) -> bool {
        let deletes = |t: &&Arc<Topic>| t.config.cleanup_policy.delete;
        let Some(topic) = self.topic.as_ref().filter(deletes) else {
            return false;
        };
        let config = &topic.config;
        let too_old = config.retention_ms.is_some_and(|ms| {
            let age = now_ms.saturating_sub(piece.newest_ms);
            // Without a timestamp there is no age.
            piece.newest_ms >= 0 && u64::try_from(age).is_ok_and(|age| age > ms)
        });
        let left = self.bytes.saturating_sub(piece.bytes);
        too_old || config.retention_bytes.is_some_and(|max| left >= max)
    }
}

/// A partition's part of one object.
#[derive(Clone, Copy)]
struct Piece {
    partition: PartitionId,
    end: Offset,
    bytes: u64,
    newest_ms: i64,
}

/// What holds of every partition, each partition's in offset order.
async fn pieces(tier: &Tier, rows: &Rows) -> Result<Vec<Piece>, ObjectError> {
    let own = rows.level1.iter().flat_map(|(partition, own)| {
        own.iter().map(|row| Piece {
            partition: *partition,
            end: row.end,
            bytes: row.bytes(),
            // What was compacted away has no age: it goes with its neighbours.
            newest_ms: row.row.object.map_or(0, |object| object.max_timestamp),
        })
    });
    let mut pieces: Vec<Piece> = own.collect();
    for segment in &rows.segments {
        let index = tier.objects.index(segment).await?;
        for part in index.partitions() {
            // Below the end of a partition's own segments those hold. A part that was rewritten in part counts by the blocks
            // behind it: what counted twice would count for what is kept.
            let own_end = rows.own_end(part.id());
            if part.end() <= own_end {
                continue;
            }
            let blocks = part.blocks();
            let from = blocks.partition_point(|block| block.base < own_end);
            let left = part.range(from..blocks.len());
            pieces.push(Piece {
                partition: part.id(),
                end: part.end(),
                bytes: left.end - left.start,
                newest_ms: part.max_timestamp(),
            });
        }
    }
    Ok(pieces)
}

async fn round(job: Job<'_>, topics: &Topics) -> Result<(), RetainError> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let rows = shard.cold.rows();
    if rows.segments.is_empty() && rows.level1.is_empty() {
        return Ok(());
    }
    let pieces = pieces(tier, &rows).await?;
    let mut fates = fates(topics, shard, &pieces).await?;
    let now_ms = env.clock.wall_ms();
    for piece in &pieces {
        let Some(fate) = fates.get_mut(&piece.partition) else {
            continue;
        };
        if fate.kept || piece.end <= fate.start {
            continue;
        }
        if fate.expires(piece, now_ms) {
            fate.start = piece.end;
            fate.bytes = fate.bytes.saturating_sub(piece.bytes);
        } else {
            fate.kept = true;
        }
    }
    let moved = fates.iter().filter(|(_, fate)| fate.start > fate.before);
    let starts: Vec<_> = moved.map(|(id, fate)| (*id, fate.start)).collect();
    // The rows of the partitions first: a reader must not be sent to what is condemned.
    raise(env, shard, ownership, &starts).await?;
    condemn_dead(job, &rows, &fates).await
}

async fn fates(
    topics: &Topics,
    shard: &Shard,
    pieces: &[Piece],
) -> Result<BTreeMap<PartitionId, Fate>, RetainError> {
    let mut known: BTreeMap<TopicId, Option<Arc<Topic>>> = BTreeMap::new();
    let mut fates: BTreeMap<PartitionId, Fate> = BTreeMap::new();
    for piece in pieces {
        let id = piece.partition;
        if let Some(fate) = fates.get_mut(&id) {
            if piece.end > fate.start {
                fate.bytes += piece.bytes;
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
            bytes: if piece.end > start { piece.bytes } else { 0 },
            kept: false,
        };
        fates.insert(id, fate);
    }
    Ok(fates)
}

/// Takes out the objects of which nothing can be read any more.
async fn condemn_dead(
    job: Job<'_>,
    rows: &Rows,
    fates: &BTreeMap<PartitionId, Fate>,
) -> Result<(), RetainError> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let is_dead = |partition: PartitionId, end: Offset| {
        let fate = fates.get(&partition);
        fate.is_some_and(|fate| fate.is_dead(end))
    };
    let own = rows.level1.iter();
    let own = own.flat_map(|(id, own)| own.iter().map(|row| (*id, *row)));
    let dead: Vec<(PartitionId, Level1)> = own.filter(|(id, row)| is_dead(*id, row.end)).collect();
    for some in dead.chunks(CONDEMN_MAX) {
        remove_own(env, ownership, some, not_before(env, tier)).await?;
        for (partition, row) in some {
            shard.cold.swap(*partition, &[*row], None);
        }
        add(&tier.counters.objects_condemned, some.len() as u64);
    }
    condemn_passed(job, is_dead).await
}

/// Takes out the objects of all partitions of which every part is dead or lies in an object of its partition.
pub(super) async fn condemn_passed<E: From<ObjectError> + From<CommitError>>(
    job: Job<'_>,
    is_dead: impl Fn(PartitionId, Offset) -> bool,
) -> Result<(), E> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let rows = shard.cold.rows();
    let mut dead: Vec<Level0> = Vec::new();
    for segment in &rows.segments {
        let index = tier.objects.index(segment).await?;
        let has_passed = |id, end| end <= rows.own_end(id) || is_dead(id, end);
        let in_part = env.config.breaks(Mutation::CondemnInPart)
            && index.partitions().any(|p| has_passed(p.id(), p.end()));
        if in_part || index.partitions().all(|p| has_passed(p.id(), p.end())) {
            dead.push(*segment);
        }
    }
    for some in dead.chunks(CONDEMN_MAX) {
        remove(env, ownership, some, not_before(env, tier)).await?;
        shard.cold.remove(some);
        add(&tier.counters.objects_condemned, some.len() as u64);
    }
    Ok(())
}

/// When what is condemned now may be deleted.
pub(super) fn not_before(env: &Env, tier: &Tier) -> i64 {
    let grace_ms = i64::try_from(tier.config.grace.as_millis()).unwrap_or(i64::MAX);
    env.clock.wall_ms().saturating_add(grace_ms)
}
