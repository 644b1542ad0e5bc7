//! Lists a shard's objects once in a while, and gives those that nothing names to the collector (T3).
//!
//! # Overview
//! What this finds was put after its id had been given up and deleted twice: a put that hung for longer than a day, or
//! whose second delete came early because a wall clock jumped. Only the shard's owner does it, under its lease, one
//! shard of a process at a time, a page at a time with pauses between.
//!
//! # Consistency
//! A page is listed first, then rows are read: [`super::named`] says why what is left then can never be part of the log. It is put
//! to `gc/` in a transaction that begins with the owner's guard (J9) and is deleted as whatever else is there. Names that are
//! none of an object's, and ids of an epoch that this shard has not had, are another's: they are counted and left alone.
//!
//! # Crash consistency
//! `recon/{s}` says which prefix comes next; what is listed twice is named by `gc/` the second time, or gone. After an
//! unknown outcome an object may be condemned twice: deleting twice is harmless. The row's times are wall time, and nothing rests on them:
//! a clock that jumps has objects listed too early, or one period late at the most.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidemark_blob::{BlobError, List};
use tidemark_lease::{NotOwner, require};
use tidemark_meta::keys::cold::{GarbageRow, PendingKey, condemn};
use tidemark_meta::keys::reconcile::{ReconcileKey, ReconcileRow};
use tidemark_meta::{MetaError, Mode, TransactError, Transaction, keys, transact};
use tidemark_types::{ObjectId, Ownership};
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::commit::CONDEMN_MAX;
use super::counters::{add, count};
use super::job::Job;
use super::named::strike_named;
use super::objects::{object_of, prefix_of};
use super::retain::not_before;
use crate::env::Env;
use crate::shard::Shard;

/// Prefixes that a shard's objects are spread over.
const PREFIXES: u16 = 256;
/// Prefixes listed between two notes of how far it came.
const STEP: u16 = 16;
/// Pause between two listings; as much again by chance. A shard of few objects takes about 40 seconds.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether a listing is due, at the most and at the least.
const LOOK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Why a listing did not come to its end; it goes on where it was noted last.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    NotOwner(#[from] NotOwner),
    #[error("{0}")]
    Store(#[from] MetaError),
    #[error("{0}")]
    Blob(#[from] BlobError),
}

impl From<TransactError<NotOwner>> for ReconcileError {
    fn from(error: TransactError<NotOwner>) -> Self {
        match error {
            TransactError::Refused(why) => why.into(),
            TransactError::Store(error) => error.into(),
        }
    }
}

/// Reconciles one shard until the process stops; never when the period is zero.
pub(crate) async fn run(
    env: Arc<Env>,
    tier: Arc<Tier>,
    shard: Arc<Shard>,
    stop: CancellationToken,
) {
    let period = tier.config.reconcile_period;
    if period.is_zero() {
        return;
    }
    let look = (period / 16).clamp(LOOK.0, LOOK.1);
    let work = async {
        loop {
            env.pause(look, look / 4).await;
            let Ok(ownership) = shard.ownership() else {
                continue;
            };
            let job = Job {
                env: &env,
                tier: &tier,
                shard: &shard,
                ownership,
            };
            match round(job).await {
                Ok(()) | Err(ReconcileError::NotOwner(_)) => {}
                Err(error) => {
                    count(&tier.counters.reconcile_failures);
                    tracing::info!(shard = %shard.id, "reconcile again: {error}");
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

/// Wall time so far ahead.
fn ahead(env: &Env, by: Duration) -> i64 {
    let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    env.clock.wall_ms().saturating_add(by_ms)
}

/// Lists what is due, if anything is.
async fn round(job: Job<'_>) -> Result<(), ReconcileError> {
    let Job {
        env,
        tier,
        ownership,
        ..
    } = job;
    let period = tier.config.reconcile_period;
    let mut tx = env.meta.begin();
    let stored = keys::get(tx.as_mut(), &ReconcileKey(ownership.shard), Mode::Snapshot).await?;
    drop(tx);
    // No further off than a clock that runs right can have set it; and all shards of a new service not at once.
    let latest = ahead(env, period + period / 4);
    let Some(row) = stored.filter(|row| row.due_ms <= latest) else {
        let row = ReconcileRow {
            due_ms: ahead(env, env.chance(period)),
            prefix: 0,
        };
        return note(env, ownership, row).await;
    };
    if row.due_ms > env.clock.wall_ms() {
        return Ok(());
    }
    let turn = tier.reconciling.acquire().await;
    for prefix in row.prefix..PREFIXES {
        if prefix % STEP == 0 && prefix > row.prefix {
            note(env, ownership, ReconcileRow { prefix, ..row }).await?;
        }
        let folder = u8::try_from(prefix).expect("there are 256");
        list(job, folder).await?;
    }
    drop(turn);
    count(&tier.counters.reconciles);
    let row = ReconcileRow {
        due_ms: ahead(env, period + env.chance(period / 8)),
        prefix: 0,
    };
    note(env, ownership, row).await
}

/// Looks at all objects of a prefix.
async fn list(job: Job<'_>, folder: u8) -> Result<(), ReconcileError> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let mut list = List::prefix(prefix_of(shard.id, folder));
    loop {
        env.pause(PAUSE, PAUSE).await;
        let page = tier.objects.store().list(list.clone()).await?;
        count(&tier.counters.reconcile_lists);
        let mut unnamed: BTreeSet<ObjectId> = BTreeSet::new();
        for listed in &page.objects {
            match object_of(&listed.key).filter(|object| object.epoch <= ownership.epoch) {
                Some(object) => {
                    unnamed.insert(object);
                }
                None => count(&tier.counters.reconcile_foreign),
            }
        }
        // Most are in the owner's own rows: only for what is not are the store's read.
        for object in shard.cold.rows().objects() {
            unnamed.remove(&object);
        }
        strike_named(env.meta.as_ref(), shard.id, &mut unnamed).await?;
        let unnamed: Vec<ObjectId> = unnamed.into_iter().collect();
        for some in unnamed.chunks(CONDEMN_MAX) {
            let not_before_ms = not_before(env, tier);
            let condemned =
                transact::<_, NotOwner>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
                    condemn_all(tx, ownership, some, not_before_ms).boxed()
                });
            let condemned = condemned.await?.0;
            tracing::info!(shard = %shard.id, objects = condemned, first = %some[0],
                "objects that nothing names are deleted after the grace");
            add(&tier.counters.reconcile_condemned, condemned);
        }
        list.after = page.next;
        if list.after.is_none() {
            return Ok(());
        }
    }
}

async fn condemn_all(
    tx: &mut dyn Transaction,
    ownership: Ownership,
    objects: &[ObjectId],
    not_before_ms: i64,
) -> Result<u64, TransactError<NotOwner>> {
    require::<NotOwner>(tx, &ownership).await?;
    let mut condemned = 0;
    for (order, object) in (0u16..).zip(objects) {
        // T1: what is intended is never condemned. It cannot be, as said above; this costs little and holds by itself.
        let pending = keys::get(tx, &PendingKey(*object), Mode::Serializable).await?;
        if pending.is_some() {
            continue;
        }
        condemn(tx, order, &GarbageRow::new(*object, not_before_ms));
        condemned += 1;
    }
    Ok(condemned)
}

/// Writes down where it stands.
async fn note(env: &Env, ownership: Ownership, row: ReconcileRow) -> Result<(), ReconcileError> {
    transact::<_, NotOwner>(env.meta.as_ref(), &env.clock, &env.entropy, |tx| {
        async move {
            require::<NotOwner>(tx, &ownership).await?;
            keys::put(tx, &ReconcileKey(ownership.shard), &row);
            Ok(())
        }
        .boxed()
    })
    .await?;
    Ok(())
}
