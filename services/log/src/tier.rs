//! Tiering: the log's older part moves to the object store, and is read from there (DESIGN sections 4 and 5).
//!
//! # Overview
//! Per shard one task ([`worker`]) gathers sealed extents into cold segments and commits them, and one ([`release`])
//! gives extents up on the log nodes when their disks fill. Readers ([`scan`]) find a partition's batches through the
//! rows in memory ([`rows`]) and the footer indexes and chunks in bounded caches ([`objects`]).
//!
//! Per shard [`retain`] moves where partitions begin and takes out objects, and [`compact`] rewrites: what lies in objects of
//! all partitions into objects of one, small ones into larger, and compacted topics to the latest record of each key. Per process [`collect`]
//! deletes what was taken out; [`reconcile`] finds what was forgotten, and [`audit`] checks all of it beside the rest.
//!
//! Behind what is tiered follows a copy of the shard's committed state ([`save`]), so that a service whose log nodes' disks are
//! gone can be rebuilt from the object store alone ([`rebuild`]), when an operator says so.
//!
//! # Consistency
//! The rows in memory are those of the store as of the takeover plus this owner's own commits; only an owner changes
//! them. An extent leaves the readable ones only after the rows that cover it are there (invariant 14).
//!
//! # Retries
//! Nothing that fails stops a task: it backs off with jitter for as long as the shard is owned. A put is repeated under
//! its id; a commit whose outcome is unknown is decided by `tiered_lsn` (T1).
//!
//! # Crash consistency
//! Intent, put, commit: after a crash between them the next epoch makes the intent an orphan, and the collector clears
//! it before it deletes (T1).

pub(crate) mod audit;
pub(crate) mod build;
pub(crate) mod clean;
pub(crate) mod collect;
pub(crate) mod commit;
pub(crate) mod compact;
pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod draft;
pub(crate) mod inventory;
pub(crate) mod job;
pub(crate) mod load;
pub(crate) mod merge;
pub(crate) mod named;
pub(crate) mod objects;
pub(crate) mod part;
pub(crate) mod pressure;
pub(crate) mod rebuild;
pub(crate) mod reconcile;
pub(crate) mod release;
pub(crate) mod retain;
pub(crate) mod rows;
pub(crate) mod save;
pub(crate) mod scan;
pub(crate) mod squeeze;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod swap;
pub(crate) mod worker;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_blob::BlobStore;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::Topics;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::config::TierConfig;
use self::counters::Counters;
use self::objects::Objects;
use crate::env::Env;
use crate::shard::Shard;

/// The object store and what tiering shares between shards.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) config: TierConfig,
    pub(crate) objects: Arc<Objects>,
    pub(crate) counters: Arc<Counters>,
    /// Who holds one may gather an object: bounds what gathering keeps in memory.
    pub(crate) gathering: Semaphore,
    /// Who holds it may compact: bounds what that keeps in memory.
    pub(crate) compacting: Semaphore,
    /// When it was last said that readers are refused.
    told: Mutex<Option<Instant>>,
    /// Who holds it may list its objects.
    pub(crate) reconciling: Semaphore,
    /// Who holds it may audit.
    pub(crate) auditing: Arc<Semaphore>,
}

/// How often it is said that readers are refused, whatever their number.
const TELL: Duration = Duration::from_secs(60);

/// Starts a shard's tierer, its release, its retention, its compaction and its reconciliation.
pub(crate) fn spawn(
    env: &Arc<Env>,
    tier: &Arc<Tier>,
    topics: &Topics,
    shard: &Arc<Shard>,
    tasks: &Tasks,
) {
    let all = || (Arc::clone(env), Arc::clone(tier), Arc::clone(shard));
    let (e, t, s) = all();
    let name = format!("tierer of shard {}", shard.id);
    tasks.spawn(name, worker::run(e, t, s, tasks.token()));
    let (e, t, s) = all();
    let name = format!("release of shard {}", shard.id);
    tasks.spawn(name, release::run(e, t, s, tasks.token()));
    let (e, t, s) = all();
    let name = format!("retention of shard {}", shard.id);
    tasks.spawn(name, retain::run(e, t, topics.clone(), s, tasks.token()));
    let (e, t, s) = all();
    let name = format!("compaction of shard {}", shard.id);
    tasks.spawn(name, compact::run(e, t, topics.clone(), s, tasks.token()));
    let (e, t, s) = all();
    let name = format!("reconciliation of shard {}", shard.id);
    tasks.spawn(name, reconcile::run(e, t, s, tasks.token()));
}

impl Tier {
    pub(crate) fn new(
        store: Arc<dyn BlobStore>,
        config: TierConfig,
        clock: &Clock,
        entropy: &Entropy,
        tasks: &Tasks,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            gathering: Semaphore::new(config.gatherers_max.max(1)),
            compacting: Semaphore::new(1),
            told: Mutex::default(),
            reconciling: Semaphore::new(1),
            auditing: Arc::new(Semaphore::new(1)),
            objects: Arc::new(Objects::new(
                store,
                &config,
                Arc::clone(&counters),
                clock.clone(),
                entropy.clone(),
                tasks.clone(),
            )),
            counters,
            config,
        }
    }

    /// Whether it is time to say that readers are refused, since the store is away.
    pub(crate) fn may_tell(&self, now: Instant) -> bool {
        let mut told = self.told.lock();
        let may = told.is_none_or(|at| now >= at + TELL);
        if may {
            *told = Some(now);
        }
        may
    }
}
