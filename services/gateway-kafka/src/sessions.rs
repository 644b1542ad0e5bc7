//! Fetch sessions (KIP-227): a consumer names its partitions once, later requests and answers carry changes only.
//!
//! # Bounds
//! As many sessions as Kafka's broker keeps, and a bound on their partitions in all. At a bound the session that was
//! unused longest goes, if it is idle; otherwise the new fetch is served without a session, which every
//! client understands. A session lost costs its client one full fetch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{ErrorCode, TenantId};
use tidemark_wire::KafkaUuid;
use tidemark_wire::fetch::FetchedPartition;
use tokio::time::Instant;

/// Kafka's `max.incremental.fetch.session.cache.slots`.
const SESSIONS_MAX: usize = 1_000;
/// Partitions of all sessions together: about 150 bytes each.
const PARTITIONS_MAX: usize = 500_000;
/// Only sessions unused for this long are given up for others (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICT_AFTER: Duration = Duration::from_secs(120);

/// How a client names a topic; fixed for a session by the version it speaks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum TopicKey {
    /// Up to version 12.
    Name(Arc<str>),
    /// From version 13 on.
    Id([u8; 16]),
}

impl TopicKey {
    pub(crate) const fn id(&self) -> KafkaUuid {
        match self {
            Self::Name(_) => KafkaUuid::ZERO,
            Self::Id(raw) => KafkaUuid::from_parts(
                u64::from_be_bytes([
                    raw[0], raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7],
                ]),
                u64::from_be_bytes([
                    raw[8], raw[9], raw[10], raw[11], raw[12], raw[13], raw[14], raw[15],
                ]),
            ),
        }
    }
}

/// A partition as the client names it.
pub(crate) type PartKey = (TopicKey, i32);

/// What the client wants of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Want {
    pub(crate) offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) current_epoch: i32,
    pub(crate) last_epoch: i32,
}

/// Offsets the client was last told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    high_watermark: i64,
    last_stable_offset: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Part {
    want: Want,
    told: Option<Told>,
}

/// One client's session.
#[derive(Debug)]
pub(crate) struct Session {
    tenant: TenantId,
    by_id: bool,
    /// The epoch the next request must carry.
    next_epoch: i32,
    parts: IndexMap<PartKey, Part>,
    /// The partition to serve first, so that all get their turn when an answer is full.
    first: usize,
}

#[derive(Debug)]
struct Slot {
    used: Instant,
    partitions: usize,
    session: Arc<Mutex<Session>>,
}

/// The sessions of a gateway.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    clock: Clock,
    entropy: Entropy,
    slots: Mutex<BTreeMap<i32, Slot>>,
}

/// The changes an incremental request makes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) set: Vec<(PartKey, Want)>,
    pub(crate) forget: Vec<PartKey>,
}

/// A session taken up by an incremental request.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) session: Arc<Mutex<Session>>,
    /// All its partitions, in the order in which to serve them.
    pub(crate) parts: Vec<(PartKey, Want)>,
}

/// Epochs run from 1 to the largest and start over at 1: 0 and −1 have meanings of their own.
const fn after(epoch: i32) -> i32 {
    match epoch {
        i32::MAX => 1,
        e => e + 1,
    }
}

impl FetchSessions {
    pub(crate) fn new(clock: Clock, entropy: Entropy) -> Self {
        Self {
            clock,
            entropy,
            slots: Mutex::default(),
        }
    }

    /// Partitions that the session `id` has, 0 when there is none.
    pub(crate) fn partitions_of(&self, id: i32) -> usize {
        self.slots.lock().get(&id).map_or(0, |slot| slot.partitions)
    }

    /// Makes a session of a full fetch's partitions and answers; 0 when there is no room for one.
    pub(crate) fn create(
        &self,
        tenant: TenantId,
        by_id: bool,
        parts: Vec<(PartKey, Want, &FetchedPartition)>,
    ) -> i32 {
        let parts: IndexMap<_, _> = parts
            .into_iter()
            .map(|(key, want, answer)| {
                let told = told_by(answer);
                (key, Part { want, told })
            })
            .collect();
        let mut slots = self.slots.lock();
        if !self.make_room(&mut slots, parts.len()) {
            return 0;
        }
        let id = loop {
            let id = i32::try_from(self.entropy.below(i32::MAX as u64)).unwrap_or(0) + 1;
            if !slots.contains_key(&id) {
                break id;
            }
        };
        let slot = Slot {
            used: self.clock.now(),
            partitions: parts.len(),
            session: Arc::new(Mutex::new(Session {
                tenant,
                by_id,
                next_epoch: 1,
                parts,
                first: 0,
            })),
        };
        slots.insert(id, slot);
        id
    }

    fn make_room(&self, slots: &mut BTreeMap<i32, Slot>, partitions: usize) -> bool {
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return false;
        }
        let now = self.clock.now();
        loop {
            let held: usize = slots.values().map(|s| s.partitions).sum();
            if slots.len() < SESSIONS_MAX && held + partitions <= PARTITIONS_MAX {
                return true;
            }
            let oldest = slots
                .iter()
                .min_by_key(|(_, s)| s.used)
                .filter(|(_, s)| now >= s.used + EVICT_AFTER)
                .map(|(id, _)| *id);
            match oldest {
                Some(id) => slots.remove(&id),
                None => return false,
            };
        }
    }

    /// Takes up session `id` at `epoch` with the request's changes.
    ///
    /// # Errors
    /// `FetchSessionIdNotFound`, `InvalidFetchSessionEpoch`: the client starts a new session.
    pub(crate) fn resume(
        &self,
        (id, epoch): (i32, i32),
        tenant: TenantId,
        by_id: bool,
        changes: Changes,
    ) -> Result<Resumed, ErrorCode> {
        let session = {
            let mut slots = self.slots.lock();
            let slot = slots
                .get_mut(&id)
                .ok_or(ErrorCode::FetchSessionIdNotFound)?;
            slot.used = self.clock.now();
            slot.partitions += changes.set.len();
            Arc::clone(&slot.session)
        };
        let mut state = session.lock();
        // Another tenant's session does not exist (invariant 17). A client whose version changed between
        // names and ids starts anew.
        if state.tenant != tenant || state.by_id != by_id {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        if epoch != state.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        state.next_epoch = after(epoch);
        state.apply(changes);
        let (parts, size) = (state.in_order(), state.parts.len());
        drop(state);
        if let Some(slot) = self.slots.lock().get_mut(&id) {
            slot.partitions = size;
        }
        if size > PARTITIONS_MAX {
            self.close(id, tenant);
        }
        Ok(Resumed { session, parts })
    }

    /// Ends a session, if it is the tenant's.
    pub(crate) fn close(&self, id: i32, tenant: TenantId) {
        let mut slots = self.slots.lock();
        if slots
            .get(&id)
            .is_some_and(|s| s.session.lock().tenant == tenant)
        {
            slots.remove(&id);
        }
    }
}

impl Session {
    fn apply(&mut self, changes: Changes) {
        for (key, want) in changes.set {
            let part = self.parts.entry(key).or_insert(Part { want, told: None });
            part.want = want;
        }
        for key in changes.forget {
            self.parts.shift_remove(&key);
        }
    }

    fn in_order(&self) -> Vec<(PartKey, Want)> {
        let first = self.first.min(self.parts.len());
        let (before, after) = self.parts.as_slice().split_at(first);
        let turn = after.iter().chain(before);
        turn.map(|(key, part)| (key.clone(), part.want)).collect()
    }

    /// Whether an answer tells the client anything new. It is taken as told.
    pub(crate) fn tell(&mut self, key: &PartKey, answer: &FetchedPartition) -> bool {
        let Some((at, _, part)) = self.parts.get_full_mut(key) else {
            return false;
        };
        let now = told_by(answer);
        let has_data = answer.records.iter().any(|r| !r.is_empty());
        let news = has_data || now.is_none() || now != part.told;
        part.told = now;
        if has_data {
            // Served: it goes to the back of the queue.
            self.first = (at + 1) % self.parts.len();
        }
        news
    }
}

/// What an answer tells of a partition; an error leaves nothing known, so the next answer is news.
fn told_by(answer: &FetchedPartition) -> Option<Told> {
    (answer.error_code == 0).then_some(Told {
        high_watermark: answer.high_watermark,
        last_stable_offset: answer.last_stable_offset,
        log_start: answer.log_start,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const ME: TenantId = TenantId(0);

    fn key(name: &str, index: i32) -> PartKey {
        (TopicKey::Name(name.into()), index)
    }

    const fn want(offset: i64) -> Want {
        Want {
            offset,
            max_bytes: 1024,
            current_epoch: -1,
            last_epoch: -1,
        }
    }

    fn answer(high_watermark: i64) -> FetchedPartition {
        FetchedPartition {
            high_watermark,
            ..Default::default()
        }
    }

    fn sessions() -> FetchSessions {
        FetchSessions::new(Clock::simulated(0), Entropy::seeded(3))
    }

    fn changes(set: &[(PartKey, Want)], forget: &[PartKey]) -> Changes {
        Changes {
            set: set.to_vec(),
            forget: forget.to_vec(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn epochs_advance_by_one_and_anything_else_is_refused() {
        let sessions = sessions();
        let first = answer(5);
        let id = sessions.create(ME, false, vec![(key("a", 0), want(0), &first)]);
        let resume = |epoch| sessions.resume((id, epoch), ME, false, Changes::default());
        assert_eq!(resume(2).unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(resume(1).unwrap().parts, [(key("a", 0), want(0))]);
        assert_eq!(resume(1).unwrap_err(), ErrorCode::InvalidFetchSessionEpoch);
        assert!(resume(2).is_ok());
        assert_eq!(after(i32::MAX), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_belong_to_their_tenant_and_way_of_naming() {
        let sessions = sessions();
        let first = answer(5);
        let id = sessions.create(ME, false, vec![(key("a", 0), want(0), &first)]);
        let gone = ErrorCode::FetchSessionIdNotFound;
        for (id, tenant, by_id) in [
            (id, TenantId(1), false),
            (id, ME, true),
            (id ^ 1, ME, false),
        ] {
            let refused = sessions.resume((id, 1), tenant, by_id, Changes::default());
            assert_eq!(refused.unwrap_err(), gone);
        }
        sessions.close(id, TenantId(1));
        assert!(
            sessions
                .resume((id, 1), ME, false, Changes::default())
                .is_ok()
        );
        sessions.close(id, ME);
        assert!(
            sessions
                .resume((id, 2), ME, false, Changes::default())
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_kept_and_forgotten_partitions_leave() {
        let sessions = sessions();
        let first = answer(5);
        let parts = vec![
            (key("a", 0), want(0), &first),
            (key("b", 0), want(0), &first),
        ];
        let id = sessions.create(ME, false, parts);
        let set = [(key("b", 0), want(7)), (key("c", 1), want(1))];
        let changed = changes(&set, &[key("a", 0)]);
        let resumed = sessions.resume((id, 1), ME, false, changed).unwrap();
        assert_eq!(resumed.parts, set);
        let again = sessions.resume((id, 2), ME, false, Changes::default());
        assert_eq!(again.unwrap().parts, set);
    }

    #[tokio::test(start_paused = true)]
    async fn only_news_is_told() {
        let sessions = sessions();
        let first = answer(5);
        let id = sessions.create(ME, false, vec![(key("a", 0), want(0), &first)]);
        let resumed = sessions.resume((id, 1), ME, false, Changes::default());
        let session = resumed.unwrap().session;
        let mut session = session.lock();
        let a = key("a", 0);
        assert!(!session.tell(&a, &answer(5)));
        assert!(session.tell(&a, &answer(6)));
        assert!(!session.tell(&a, &answer(6)));
        let failed = FetchedPartition {
            error_code: 6,
            ..answer(6)
        };
        assert!(session.tell(&a, &failed));
        assert!(session.tell(&a, &failed), "errors are always told");
        assert!(session.tell(&a, &answer(6)), "and so is their end");
        let data = FetchedPartition {
            records: vec![Bytes::from_static(b"x")],
            ..answer(6)
        };
        assert!(session.tell(&a, &data));
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_take_turns() {
        let sessions = sessions();
        let first = answer(5);
        let keys = [key("a", 0), key("a", 1), key("a", 2)];
        let parts = keys.iter().map(|k| (k.clone(), want(0), &first));
        let id = sessions.create(ME, false, parts.collect());
        let resumed = sessions.resume((id, 1), ME, false, Changes::default());
        let data = FetchedPartition {
            records: vec![Bytes::from_static(b"x")],
            ..answer(6)
        };
        resumed.unwrap().session.lock().tell(&keys[1], &data);
        let resumed = sessions.resume((id, 2), ME, false, Changes::default());
        let order: Vec<i32> = resumed.unwrap().parts.iter().map(|(k, _)| k.1).collect();
        assert_eq!(order, [2, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_gives_up_idle_sessions_only() {
        let sessions = sessions();
        let first = answer(5);
        let create = || sessions.create(ME, false, vec![(key("a", 0), want(0), &first)]);
        for _ in 0..SESSIONS_MAX {
            assert_ne!(create(), 0);
        }
        assert_eq!(create(), 0);
        sessions.clock.sleep(EVICT_AFTER).await;
        assert_ne!(create(), 0);
        assert_eq!(sessions.slots.lock().len(), SESSIONS_MAX);
    }
}
