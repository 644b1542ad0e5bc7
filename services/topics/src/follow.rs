//! Following other processes' changes, and finishing what a crash left behind.
//!
//! Changes are counted per bucket of tenants (`ver/…`). A round reads all counts; where one moved by more than
//! this process's own commits, the tenants of that bucket that are cached are read again. Between rounds a watch on the
//! buckets in use, or the poll, whichever comes first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use parking_lot::Mutex;
use tidemark_meta::keys::change::ChangeKey;
use tidemark_meta::keys::topic::{TopicRecord, TopicState};
use tidemark_meta::keys::{Key, scan};
use tidemark_meta::{Committed, MetaError, Mode, Watch};
use tidemark_runtime::Tasks;
use tidemark_types::TenantId;

use crate::TopicError;
use crate::cache::Generation;
use crate::inner::Inner;
use crate::store::Address;

/// The backstop: a change is seen after this at the latest, unless the store is down.
const POLL: Duration = Duration::from_secs(1);
/// The shortest time between two rounds: bounds what a burst of changes elsewhere costs here.
const ROUND_MIN: Duration = Duration::from_millis(50);
/// Rounds without progress after which an unfinished change counts as left behind.
const IDLE_ROUNDS: u32 = 5;
/// Times a refresh begins again because this process deleted a topic meanwhile.
const REFRESH_TRIES: u32 = 4;
/// Own commits remembered between two rounds; more only cost a refresh.
const OWN_MAX: usize = 4096;
/// Unfinished changes kept in mind; others are met again by the next listing.
const UNFINISHED_MAX: usize = 1024;

/// What this process did itself and what it found unfinished.
#[derive(Debug, Default)]
pub(crate) struct Own {
    commits: Mutex<VecDeque<(ChangeKey, u64)>>,
    unfinished: Mutex<BTreeMap<Address, Seen>>,
}

/// An unfinished change as last seen.
#[derive(Debug, Default)]
struct Seen {
    record: Option<TopicRecord>,
    idle_rounds: u32,
}

impl Own {
    /// A change of this process was committed, and the cache has it.
    pub(crate) fn committed(&self, tenant: TenantId, committed: Committed) {
        let mut commits = self.commits.lock();
        if commits.len() == OWN_MAX {
            commits.pop_front();
        }
        commits.push_back((ChangeKey::topics(tenant), committed.version));
    }

    /// A change was found unfinished; it may still be under way.
    pub(crate) fn unfinished(&self, at: Address) {
        let mut unfinished = self.unfinished.lock();
        if unfinished.len() < UNFINISHED_MAX {
            unfinished.entry(at).or_default();
        }
    }

    /// How many of `key`'s changes with versions in `(after, to]` are this process's own.
    fn count(&self, key: ChangeKey, after: u64, to: u64) -> u64 {
        let commits = self.commits.lock();
        let own = commits
            .iter()
            .filter(|(k, version)| *k == key && *version > after && *version <= to);
        u64::try_from(own.count()).unwrap_or(u64::MAX)
    }

    fn drop_up_to(&self, version: u64) {
        self.commits.lock().retain(|(_, v)| *v > version);
    }
}

/// The counts at one version.
struct Counts {
    version: u64,
    of: BTreeMap<ChangeKey, u64>,
    watches: Vec<Watch>,
}

/// What the follower has dealt with.
#[derive(Default)]
struct Handled {
    version: u64,
    of: BTreeMap<ChangeKey, u64>,
    /// Before the first round nothing is known: everything cached may be old.
    started: bool,
}

impl Inner {
    /// Follows until `tasks` stop.
    pub(crate) async fn follow(self: Arc<Self>, tasks: &Tasks) {
        let mut handled = Handled::default();
        loop {
            let watches = match self.round(&mut handled).await {
                Ok(watches) => watches,
                Err(error) => {
                    // The cache goes on serving; what changed meanwhile is seen once the store is back.
                    tracing::debug!("follow topic changes: {error}");
                    Vec::new()
                }
            };
            self.finish_left_behind().await;
            tokio::select! {
                biased;
                () = tasks.stopping() => return,
                () = self.store.clock.sleep(ROUND_MIN) => {}
            }
            tokio::select! {
                biased;
                () = tasks.stopping() => return,
                () = any(watches) => {}
                () = self.store.clock.sleep(POLL) => {}
            }
        }
    }

    /// One look at the counts. What it could not refresh is tried again by the next round.
    async fn round(&self, handled: &mut Handled) -> Result<Vec<Watch>, TopicError> {
        let tenants = self.cache.tenants();
        let counts = self.counts(&tenants).await?;
        let stale: Vec<TenantId> = tenants
            .into_iter()
            .filter(|tenant| self.is_stale(ChangeKey::topics(*tenant), handled, &counts))
            .collect();
        for tenant in stale {
            self.refresh(tenant).await?;
        }
        self.own.drop_up_to(counts.version);
        *handled = Handled {
            version: counts.version,
            of: counts.of,
            started: true,
        };
        Ok(counts.watches)
    }

    fn is_stale(&self, key: ChangeKey, handled: &Handled, counts: &Counts) -> bool {
        if !handled.started {
            return true;
        }
        let count = |of: &BTreeMap<ChangeKey, u64>| of.get(&key).copied().unwrap_or(0);
        let moved = count(&counts.of).wrapping_sub(count(&handled.of));
        moved != self.own.count(key, handled.version, counts.version)
    }

    /// All counts, with watches on the buckets of `tenants`.
    async fn counts(&self, tenants: &[TenantId]) -> Result<Counts, TopicError> {
        let mut watched: Vec<_> = tenants.iter().map(|t| ChangeKey::topics(*t)).collect();
        watched.dedup();
        let mut tx = self.store.meta.begin();
        let range = ChangeKey::all_topics();
        let rows = scan::<ChangeKey>(tx.as_mut(), range, usize::MAX, Mode::Snapshot).await?;
        let watches = watched.iter().map(|key| tx.watch(&key.encode())).collect();
        let version = tx.commit().await?.version;
        Ok(Counts {
            version,
            of: rows
                .into_iter()
                .map(|(key, count)| (key, count.0))
                .collect(),
            watches,
        })
    }

    /// Reads again what is cached of a tenant.
    async fn refresh(&self, tenant: TenantId) -> Result<(), TopicError> {
        for _ in 0..REFRESH_TRIES {
            let began = self.cache.begin_refresh();
            self.refresh_once(tenant, began).await?;
            // Otherwise what was loaded may not have been kept.
            if self.cache.generation() == began {
                return Ok(());
            }
        }
        Err(TopicError::Store(MetaError::Conflict))
    }

    async fn refresh_once(&self, tenant: TenantId, began: Generation) -> Result<(), TopicError> {
        let (held, complete) = self.cache.held(tenant);
        let fresh: BTreeMap<_, _> = if complete {
            let all = self.load_all(tenant, began).await?;
            all.into_iter().map(|t| (t.id, t.revision)).collect()
        } else {
            let rows = self.store.list(tenant).await?.visible;
            rows.into_iter().map(|(id, r)| (id, r.revision)).collect()
        };
        let newest = |id| self.cache.by_id(id).map_or(0, |t| t.revision);
        for topic in held.iter().map(|t| t.id) {
            if fresh.get(&topic).is_some_and(|r| *r <= newest(topic)) {
                continue;
            }
            // Changed, or gone: only the row itself proves which.
            match self.store.by_address(Address { tenant, topic }).await? {
                Some(stored) => drop(self.keep(stored, began)),
                None => self.heard_deleted(topic),
            }
        }
        Ok(())
    }

    /// Finishes changes that made no progress for a while.
    async fn finish_left_behind(&self) {
        let known: Vec<Address> = self.own.unfinished.lock().keys().copied().collect();
        for at in known {
            let Ok(record) = self.store.record(at).await else {
                return;
            };
            let under_way = record.filter(|r| r.state != TopicState::Ready);
            if self.looks_left_behind(at, under_way)
                && let Err(error) = self.finish(at).await
            {
                tracing::warn!(topic = %at.topic, "finish an earlier change of the topic: {error}");
            }
        }
    }

    /// Notes how an unfinished change stands; whether it stood still for long enough.
    fn looks_left_behind(&self, at: Address, now: Option<TopicRecord>) -> bool {
        let mut unfinished = self.own.unfinished.lock();
        let Some(seen) = unfinished.get_mut(&at) else {
            return false;
        };
        if now.is_none() {
            unfinished.remove(&at);
            return false;
        }
        if seen.record != now {
            *seen = Seen {
                record: now,
                idle_rounds: 0,
            };
            return false;
        }
        seen.idle_rounds += 1;
        seen.idle_rounds >= IDLE_ROUNDS
    }
}

/// Completes when any watch fires; never for none.
async fn any(watches: Vec<Watch>) {
    if watches.is_empty() {
        std::future::pending::<()>().await;
    }
    // A watch that was given up errs: that is a reason to look as well.
    let _ = select_all(watches).await;
}
