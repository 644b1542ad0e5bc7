//! One shard's tierer: gathers what is sealed, puts it, commits it; for as long as the shard is owned. Behind each extent
//! that went it saves the shard's state ([`super::save`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark_blob::{BlobError, BlobErrorKind, Put, Remedy};
use tidemark_journal::{ReadError as JournalReadError, Reader};
use tidemark_meta::keys::cold::Level0Row;
use tidemark_runtime::Backoff;
use tidemark_types::{Lsn, ObjectId, Ownership};
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::build::{BuildError, gather};
use super::commit::{CommitError, advance, intend};
use super::counters::{add, count};
use super::job::Job;
use super::objects::object_key;
use super::rows::{self, Level0};
use super::save;
use super::swap::abandon;
use crate::env::Env;
use crate::index::ReadableExtent;
use crate::shard::Shard;

/// How often a shard is looked at although nobody woke its tierer.
const POLL: Duration = Duration::from_secs(5);
/// Longest pause after something failed that passes by itself.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Pause after something failed that waits for an operator.
const OPERATOR_PAUSE: Duration = Duration::from_secs(30);

/// Why a round of tiering ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    #[error("the shard is owned by someone else")]
    NotOwner,
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("{0}")]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Commit(CommitError),
    #[error("read the state to save: {0}")]
    Read(#[from] JournalReadError),
}

impl RoundError {
    /// Another's object has the name: it must not be deleted.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self, Self::Blob(error) if error.kind() == BlobErrorKind::AlreadyExists)
    }
}

impl From<CommitError> for RoundError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NotOwner(_) => Self::NotOwner,
            other => Self::Commit(other),
        }
    }
}

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
        match round(env, tier, shard, ownership).await {
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

pub(super) const fn retries() -> Backoff {
    Backoff::new(Duration::from_millis(100), RETRY_CAP, u32::MAX)
}

pub(super) async fn reload(env: &Env, shard: &Shard) {
    match rows::load(env.meta.as_ref(), shard.id).await {
        Ok(rows) => shard.cold.set(rows),
        Err(error) => tracing::info!(shard = %shard.id, "read cold rows: {error}"),
    }
}

/// Moves one object's worth. `false`: nothing is left to move.
async fn round(
    env: &Env,
    tier: &Tier,
    shard: &Shard,
    ownership: Ownership,
) -> Result<bool, RoundError> {
    let first = shard.cold.rows().tiered;
    let readables = shard.readables();
    let Some(reader) = readables.reader.filter(|_| {
        let sealed = readables.extents.len().saturating_sub(1);
        readables.extents[..sealed].iter().any(|e| e.end() > first)
    }) else {
        return Ok(false);
    };
    let job = Job {
        env,
        tier,
        shard,
        ownership,
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
    let bytes = tier.config.object_bytes;
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
    put_or_give_up(job, object, &built.chunks).await?;
    // T1: until the store says which, the same commit is run again and again.
    let mut backoff = retries();
    while let Err(error) = advance(env, ownership, (first, end), Some(segment)).await {
        match error {
            CommitError::Store(error) if error.is_retriable() => {
                count(&tier.counters.failures);
                backoff.wait(&env.clock, &env.entropy).await;
                still_owned(shard, ownership)?;
            }
            other => return Err(other.into()),
        }
    }
    count(&tier.counters.objects);
    add(&tier.counters.object_bytes, built.bytes);
    tier.objects.keep_index(object, built.index);
    committed(shard, (first, end), Some(segment));
    drop(turn);
    Ok(true)
}

/// As [`put`]; when the object is refused for good nothing of it stays behind.
pub(super) async fn put_or_give_up(
    job: Job<'_>,
    object: ObjectId,
    chunks: &[Bytes],
) -> Result<(), RoundError> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let outcome = put(env, tier, shard, ownership, object, chunks).await;
    if let Err(error) = &outcome
        && !matches!(error, RoundError::NotOwner)
    {
        give_up(env, ownership, object, error.is_foreign()).await;
    }
    outcome
}

/// Takes back the intent of an object that will not be: as long as this epoch lasts nobody else does, and every try writes
/// another one.
pub(super) async fn give_up(env: &Env, ownership: Ownership, object: ObjectId, is_foreign: bool) {
    if let Err(error) = abandon(env, ownership, object, is_foreign).await {
        // The next epoch collects it.
        tracing::debug!(shard = %ownership.shard, "abandon {object}: {error}");
    }
}

/// Shows readers and the release what is tiered now.
fn committed(shard: &Shard, (first, end): (Lsn, Lsn), segment: Option<Level0>) {
    shard.cold.advance(first, end, segment);
    shard.cold.released.notify_one();
}

pub(super) fn still_owned(shard: &Shard, ownership: Ownership) -> Result<(), RoundError> {
    match shard.ownership() {
        Ok(now) if now == ownership => Ok(()),
        _ => Err(RoundError::NotOwner),
    }
}

/// Writes the intent, then the object, again until it is there.
pub(super) async fn put(
    env: &Env,
    tier: &Tier,
    shard: &Shard,
    ownership: Ownership,
    object: ObjectId,
    chunks: &[Bytes],
) -> Result<(), RoundError> {
    let mut backoff = retries();
    // The same intent again: another one would leave this one behind until the next epoch, should it have been written.
    while let Err(error) = intend(env, ownership, object).await {
        match error {
            CommitError::Store(error) if error.is_retriable() => {
                count(&tier.counters.failures);
                backoff.wait(&env.clock, &env.entropy).await;
                still_owned(shard, ownership)?;
            }
            other => return Err(other.into()),
        }
    }
    let key = object_key(object).map_err(BlobError::from)?;
    let put = Put::new(key, chunks.to_vec(), &env.entropy);
    let mut backoff = retries();
    loop {
        let Err(error) = tier.objects.store().put(put.clone()).await else {
            return Ok(());
        };
        count(&tier.counters.failures);
        still_owned(shard, ownership)?;
        match error.remedy() {
            Remedy::Retry => {
                tracing::debug!(shard = %shard.id, "put again: {error}");
                if let Some(wait) = error.retry_after() {
                    env.clock.sleep(wait.min(OPERATOR_PAUSE)).await;
                }
            }
            Remedy::Operator => {
                tracing::warn!(shard = %shard.id, "tiering waits: {error}. {}", error.kind().hint());
                env.clock.sleep(OPERATOR_PAUSE).await;
            }
            Remedy::Final => return Err(error.into()),
        }
        backoff.wait(&env.clock, &env.entropy).await;
    }
}
