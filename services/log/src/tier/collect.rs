//! The collector: clears intents of past epochs, and deletes what was condemned. The only one that deletes (T1).
//!
//! Every process may run it: each step is conditional on the row it rests on, and deleting twice is harmless.

use std::sync::Arc;

use futures_util::FutureExt;
use tidemark_blob::{BlobError, BlobErrorKind, Remedy};
use tidemark_meta::keys::Key;
use tidemark_meta::keys::cold::{GarbageKey, GarbageRow, PendingKey, PendingRow, condemn};
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::{MetaError, Mode, TransactError, Transaction, keys, transact};
use tidemark_types::ShardId;
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::counters::count;
use super::objects::object_key;
use crate::Mutation;
use crate::env::Env;

/// Rows read in one transaction.
const PAGE: usize = 200;
/// Objects that one round passes over since the store refuses to delete them.
const FAILED_MAX: u32 = 20;

/// Why a round did not finish; the next one does what is left.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error("{0}")]
    Store(#[from] MetaError),
    #[error("{0}")]
    Blob(#[from] BlobError),
}

/// Nothing refuses: what is not as expected is left alone.
#[derive(Debug)]
enum Never {}

impl From<TransactError<Never>> for CollectError {
    fn from(error: TransactError<Never>) -> Self {
        match error {
            TransactError::Refused(never) => match never {},
            TransactError::Store(error) => Self::Store(error),
        }
    }
}

/// Collects until the process stops.
pub(crate) async fn run(env: Arc<Env>, tier: Arc<Tier>, stop: CancellationToken) {
    let period = tier.config.collect_period;
    let work = async {
        loop {
            env.pause(period, period / 4).await;
            if let Err(error) = round(&env, &tier).await {
                tracing::info!("collect again: {error}");
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Deletes that failed in one round.
#[derive(Default)]
struct Failed(u32);

impl Failed {
    /// Whether the round goes on to the next object: only where the store served this one and refused it, and not for ever.
    fn pass(&mut self, error: &BlobError) -> bool {
        self.0 += 1;
        error.remedy() != Remedy::Retry
            && error.kind() != BlobErrorKind::NoBucket
            && self.0 <= FAILED_MAX
    }
}

async fn round(env: &Env, tier: &Tier) -> Result<(), CollectError> {
    for shard in (0..env.config.shards).map(ShardId) {
        orphans(env, tier, shard).await?;
    }
    let mut range = GarbageKey::all();
    let mut failed = Failed::default();
    loop {
        let mut tx = env.meta.begin();
        let page: Vec<(GarbageKey, GarbageRow)> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        drop(tx);
        let now_ms = env.clock.wall_ms();
        for (key, row) in page.iter().filter(|(_, row)| row.not_before_ms <= now_ms) {
            match delete(env, tier, key, row).await {
                Ok(()) => {}
                // One object that may not be deleted (a lock, a hold) keeps no other from it.
                Err(CollectError::Blob(error)) if failed.pass(&error) => {
                    tracing::info!("delete it later: {error}. {}", error.kind().hint());
                }
                Err(error) => return Err(error),
            }
        }
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
            return Ok(());
        };
        range.begin = keys::behind(last);
    }
}

/// T1: an intent of a past epoch is cleared first, which kills a late commit, and only then its object is deleted.
async fn orphans(env: &Env, tier: &Tier, shard: ShardId) -> Result<(), CollectError> {
    let mut tx = env.meta.begin();
    let range = PendingKey::of_shard(shard);
    let pending: Vec<(PendingKey, PendingRow)> =
        keys::scan(tx.as_mut(), range, PAGE, Mode::Snapshot).await?;
    let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await?;
    drop(tx);
    let Some(epoch) = row.map(|row| row.epoch) else {
        return Ok(());
    };
    if env.config.breaks(Mutation::CollectInFlight) {
        for (key, _) in &pending {
            let name = object_key(key.0).map_err(BlobError::from)?;
            tier.objects.store().delete(&name).await?;
        }
    }
    for (key, _) in pending.iter().filter(|(key, _)| key.0.epoch < epoch) {
        let not_before_ms = env.clock.wall_ms();
        let store = env.meta.as_ref();
        let cleared = transact::<_, Never>(store, &env.clock, &env.entropy, |tx| {
            clear_orphan(tx, *key, not_before_ms).boxed()
        });
        if cleared.await?.0 {
            count(&tier.counters.orphans);
        }
    }
    Ok(())
}

async fn clear_orphan(
    tx: &mut dyn Transaction,
    key: PendingKey,
    not_before_ms: i64,
) -> Result<bool, TransactError<Never>> {
    // The epoch never goes down, so that it is past needs no conflict; the intent does.
    let stored = keys::get(tx, &key, Mode::Serializable).await?;
    if stored.is_none() {
        return Ok(false);
    }
    keys::clear(tx, &key);
    condemn(tx, 0, &GarbageRow::new(key.0, not_before_ms));
    Ok(true)
}

async fn delete(
    env: &Env,
    tier: &Tier,
    key: &GarbageKey,
    row: &GarbageRow,
) -> Result<(), CollectError> {
    let name = object_key(row.object).map_err(BlobError::from)?;
    tier.objects.store().delete(&name).await?;
    count(&tier.counters.objects_deleted);
    let later = i64::try_from(tier.config.second_delete.as_millis()).unwrap_or(i64::MAX);
    let not_before_ms = env.clock.wall_ms().saturating_add(later);
    let (key, row) = (*key, *row);
    transact::<_, Never>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        deleted(tx, key, row, not_before_ms).boxed()
    })
    .await?;
    Ok(())
}

/// T3: a put may land after the delete, so there is a second one.
async fn deleted(
    tx: &mut dyn Transaction,
    key: GarbageKey,
    row: GarbageRow,
    not_before_ms: i64,
) -> Result<(), TransactError<Never>> {
    if keys::get(tx, &key, Mode::Serializable).await? != Some(row) {
        return Ok(());
    }
    keys::clear(tx, &key);
    if !row.again {
        let again = GarbageRow {
            not_before_ms,
            again: true,
            ..row
        };
        condemn(tx, 0, &again);
    }
    Ok(())
}
