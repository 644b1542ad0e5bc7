//! One shard's tierer: gathers what is sealed, puts it, commits it; for as long as the shard is owned. Behind each extent
//! that went it saves the shard's state ([`super::save`]).

use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::Reader;
use tidemark_meta::keys::cold::Level0Row;
use tidemark_types::Lsn;
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::build::{BuildError, gather};
use super::commit::{CommitError, advance};
use super::counters::{add, count};
use super::job::{Job, OPERATOR_PAUSE, RoundError, retries};
use super::rows::{self, Level0};
use super::save;
use crate::env::Env;
use crate::index::ReadableExtent;
use crate::shard::Shard;

/// How often a shard is looked at although nobody woke its tierer.
const POLL: Duration = Duration::from_secs(5);

/// Tiers one shard until the process stops. Dropping it between or within its steps is a crash like any other.
pub(crate) async fn run(
    env: Arc<Env>,
    tier: Arc<Tier>,
    shard: Arc<Shard>,
    stop: CancellationToken,
) {
    let work = async {
        loop {
            {
                let _alone = shard.cold.moving.lock().await;
                tier_all(&env, &tier, &shard).await;
                save_due(&env, &tier, &shard).await;
            }
            tokio::select! {
                biased;
                () = shard.cold.sealed.notified() => {}
                () = env.clock.sleep(POLL) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Moves everything sealed, while this process owns the shard.
async fn tier_all(env: &Env, tier: &Tier, shard: &Shard) {
    let mut backoff = retries();
    while let Ok(ownership) = shard.ownership() {
        let job = Job {
            env,
            tier,
            shard,
            ownership,
        };
        match round(job).await {
            Ok(true) => backoff = retries(),
            Ok(false) | Err(RoundError::NotOwner) => return,
            Err(error) => {
                count(&tier.counters.failures);
                if matches!(error, RoundError::Build(BuildError::Order(_))) {
                    // Never made permanent, and no retry mends it.
                    tracing::error!(shard = %shard.id, "stop tiering for now: {error}");
                    return;
                }
                if let RoundError::Blob(refused) = &error {
                    // The next object has another name; whatever is wrong beside that waits for an operator.
                    let hint = refused.kind().hint();
                    tracing::warn!(shard = %shard.id, "tiering waits: {refused}. {hint}");
                    env.clock.sleep(OPERATOR_PAUSE).await;
                } else {
                    tracing::info!(shard = %shard.id, "tier again: {error}");
                }
                if matches!(error, RoundError::Commit(CommitError::Changed)) {
                    reload(env, shard).await;
                }
                backoff.wait(&env.clock, &env.entropy).await;
            }
        }
    }
}

/// Saves the state as of what is tiered. What fails is tried again at the next look.
async fn save_due(env: &Env, tier: &Tier, shard: &Shard) {
    let Ok(ownership) = shard.ownership() else {
        return;
    };
    let job = Job {
        env,
        tier,
        shard,
        ownership,
    };
    match save::due(job).await {
        Ok(()) | Err(RoundError::NotOwner) => {}
        Err(error) => {
            count(&tier.counters.failures);
            tracing::info!(shard = %shard.id, "save the state again: {error}");
            if matches!(error, RoundError::Commit(CommitError::Changed)) {
                reload(env, shard).await;
            }
        }
    }
}

pub(super) async fn reload(env: &Env, shard: &Shard) {
    match rows::load(env.meta.as_ref(), shard.id).await {
        Ok(rows) => shard.cold.set(rows),
        Err(error) => tracing::info!(shard = %shard.id, "read cold rows: {error}"),
    }
}

/// Moves one object's worth. `false`: nothing is left to move.
async fn round(job: Job<'_>) -> Result<bool, RoundError> {
    let first = job.shard.cold.rows().tiered;
    let readables = job.shard.readables();
    let Some(reader) = readables.reader.filter(|_| {
        let sealed = readables.extents.len().saturating_sub(1);
        readables.extents[..sealed].iter().any(|e| e.end() > first)
    }) else {
        return Ok(false);
    };
    step(job, &reader, &readables.extents).await
}

/// Moves one object's worth of `extents`, the last of which is left alone. `false`: nothing is left to move.
pub(super) async fn step(
    job: Job<'_>,
    reader: &Reader,
    extents: &[Arc<ReadableExtent>],
) -> Result<bool, RoundError> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let first = shard.cold.rows().tiered;
    let turn = tier.gathering.acquire().await;
    let object = job.new_object();
    let kept = |partition| shard.view(partition).is_some();
    let bytes = (tier.config.object_bytes, tier.config.read_bytes_min);
    let Some(gathered) = gather(reader, extents, object, first, bytes, kept).await? else {
        return Ok(false);
    };
    let end = gathered.end;
    if gathered.builder.is_empty() {
        advance(env, ownership, (first, end), None).await?;
        committed(shard, (first, end), None);
        return Ok(true);
    }
    let built = gathered.builder.finish(end);
    let segment = Level0 {
        end,
        row: Level0Row {
            object,
            first,
            bytes: built.bytes,
            index_at: built.index_at,
            max_timestamp: built.max_timestamp,
        },
    };
    job.put_or_give_up(object, &built.chunks).await?;
    job.until_known(&tier.counters.failures, || {
        advance(env, ownership, (first, end), Some(segment))
    })
    .await?;
    count(&tier.counters.objects);
    add(&tier.counters.object_bytes, built.bytes);
    tier.objects.keep_index(object, built.index);
    committed(shard, (first, end), Some(segment));
    drop(turn);
    Ok(true)
}

/// Shows readers and the release what is tiered now.
fn committed(shard: &Shard, (first, end): (Lsn, Lsn), segment: Option<Level0>) {
    shard.cold.advance(first, end, segment);
    shard.cold.released.notify_one();
}
