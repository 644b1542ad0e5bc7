//! The object store failing in every way for as long as it takes to fill the disk, over a real log node with a real
//! budget: what goes on, what is refused and how, and that all of it recovers by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_blob::faulty::{Faults, Faulty, Outage};
use tidemark_blob::sim::Sim;
use tidemark_blob::{
    BlobError, BlobErrorKind, BlobInfo, BlobKey, BlobStore, List, Page, Put, RetryPolicy,
};
use tidemark_journal::{DiskUse, Replica};
use tidemark_lognode::sim::SimDisk;
use tidemark_lognode::{LogNode, LogNodeConfig};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode, ShardId};

use crate::tiering::{audit, fill, pause, tiered};
use crate::world::{BASE_MS, P0, Process, World, fetch_of, values};

const BUDGET: u64 = 2 << 20;
const SEGMENT: u64 = 64 << 10;
const RECORD: usize = 4 << 10;
/// Half of what Kafka's clients wait for an answer by default, and a little for what is done around it.
const ANSWERED: Duration = Duration::from_secs(16);

/// A service over one log node that counts its own bytes, and a store that is asked as the service asks it.
struct Service {
    world: World,
    node: Arc<LogNode>,
    p: Process,
    topic: Arc<Topic>,
    written: usize,
}

fn value(number: usize) -> String {
    format!("{number:08}{}", "x".repeat(RECORD))
}

impl Service {
    async fn new(seed: u64) -> Self {
        let (entropy, tasks) = (Entropy::seeded(seed), Tasks::new());
        let clock = Clock::simulated(BASE_MS);
        let config = LogNodeConfig {
            segment_bytes: SEGMENT,
            disk_bytes_max: BUDGET,
            ..LogNodeConfig::small()
        };
        let disk = Arc::new(SimDisk::new(&entropy));
        let node = LogNode::open(disk, config, &clock, &entropy, &tasks).await;
        let node = node.unwrap();
        let mut world = World::on(seed, Arc::clone(&node) as Arc<dyn Replica>);
        world.add_cold();
        world.config.roll_bytes = 32 << 10;
        let cold = world.cold.as_mut().unwrap();
        cold.config.object_bytes = 128 << 10;
        cold.config.chunk_bytes = 16 << 10;
        cold.config.chunk_cache_bytes = 1 << 20;
        cold.config.index_cache_bytes = 1 << 20;
        cold.retries = Some(RetryPolicy::default());
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        Self {
            world,
            node,
            p,
            topic,
            written: 0,
        }
    }

    fn store(&self) -> &Faulty {
        &self.world.cold.as_ref().unwrap().store
    }

    fn disk(&self) -> DiskUse {
        self.node.disk_use().unwrap()
    }

    /// Appends up to `count` records, at most one each 20 ms. Answers why it ended, if it did not append them all.
    async fn write(&mut self, count: usize) -> Option<ErrorCode> {
        for _ in 0..count {
            pause_ms(20).await;
            let sent = self.p.append(&self.topic, &[&value(self.written)]).await;
            match sent {
                Ok(acked) => assert_eq!(acked.base_offset.0, self.written as i64),
                Err(refused) => return Some(refused.code()),
            }
            self.written += 1;
        }
        None
    }

    /// As [`Service::write`], patiently.
    async fn write_all(&mut self, count: usize) {
        let end = self.written + count;
        for _ in 0..600 {
            if self.write(end - self.written).await.is_none() {
                return;
            }
            pause_ms(1_000).await;
        }
        panic!("still refused after ten minutes");
    }

    /// The newest record is read at once, whatever the object store does.
    async fn read_tail(&self) {
        let last = self.written as i64 - 1;
        let before = self.world.clock.now();
        let fetched = self.p.fetch(&self.topic, P0, last, 1 << 20).await;
        assert_eq!(fetched.error, None);
        assert_eq!(values(&fetched), [(last, value(self.written - 1))]);
        assert!(self.world.clock.now() - before < Duration::from_secs(1));
    }

    /// The oldest records: themselves, or an error that clients repeat the request for; soon enough for them to see it.
    async fn read_cold(&self) -> Option<ErrorCode> {
        let fetched = tokio::time::timeout(ANSWERED, self.p.fetch(&self.topic, P0, 0, 1 << 20));
        let fetched = fetched.await.expect("an answer before clients give up");
        for (offset, read) in values(&fetched) {
            assert_eq!(read, value(usize::try_from(offset).unwrap()));
        }
        if let Some(error) = fetched.error {
            assert!(
                error.is_retriable() && error.http_status() == 503,
                "{error}"
            );
        }
        fetched.error
    }

    /// Everything from the beginning, byte for byte.
    async fn read_all(&self) {
        let read = self.p.read_all(&self.topic, P0, 0).await;
        assert_eq!(read.len(), self.written);
        for (number, (offset, read)) in read.iter().enumerate() {
            assert_eq!((*offset, read), (number as i64, &value(number)));
        }
    }
}

async fn pause_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// A way to fail.
enum Way {
    Outage(Outage),
    Faults(Faults),
}

/// A way to fail, whether objects can still be put through it, and whether none can be read.
fn ways() -> Vec<(&'static str, Way, bool, bool)> {
    let share = |set: fn(&mut Faults)| {
        let mut faults = Faults::default();
        set(&mut faults);
        faults.late_max = Duration::from_secs(60);
        Way::Faults(faults)
    };
    vec![
        ("unreachable", Way::Outage(Outage::Unreachable), false, true),
        (
            "credentials revoked",
            Way::Outage(Outage::Revoked),
            false,
            true,
        ),
        ("no bucket", Way::Outage(Outage::NoBucket), false, true),
        ("the store is full", Way::Outage(Outage::Full), false, false),
        ("503 to 10 %", share(|f| f.throttled = 100), true, false),
        ("503 to all", share(|f| f.throttled = 1_000), false, true),
        ("hangs", share(|f| f.hang = 1_000), false, true),
        ("resets", share(|f| f.reset = 1_000), false, true),
        ("bodies cut off", share(|f| f.truncated = 1_000), true, true),
        ("bytes rotten", share(|f| f.rotten = 1_000), true, true),
        ("404 to all", share(|f| f.not_found = 1_000), true, true),
        (
            "puts applied, answers lost",
            share(|f| f.lost_reply = 1_000),
            false,
            false,
        ),
        ("puts applied late", share(|f| f.late = 1_000), false, false),
    ]
}

#[tokio::test(start_paused = true)]
async fn whatever_the_object_store_does_produce_and_tail_reads_go_on_and_all_recovers() {
    for (seed, (name, way, puts, blind)) in (100..).zip(ways()) {
        println!("{name}");
        let mut s = Service::new(seed).await;
        // More than the budget: the oldest of it is in the object store only.
        s.write_all(1_000).await;
        pause(60).await;
        assert!(s.p.log.tier_counters().extents_released > 0, "{name}");
        assert_eq!(s.read_cold().await, None, "{name}");
        s.p.stop().await;
        // Nothing of it is in memory any more.
        s.p = s.world.start().await;
        s.topic = s.p.find("t").await;
        match way {
            Way::Outage(outage) => s.store().begin_outage(outage, None),
            Way::Faults(faults) => s.store().set_faults(faults),
        }
        let mut ended = None;
        for _ in 0..100 {
            ended = s.write(10).await;
            s.read_tail().await;
            if ended.is_some() {
                break;
            }
        }
        // Kafka's REQUEST_TIMED_OUT, which every client repeats; HTTP 503.
        let expected = (!puts).then_some(ErrorCode::Overloaded);
        assert_eq!(ended, expected, "{name}");
        let used = s.disk();
        assert!(used.used_bytes <= BUDGET, "{name}: {used:?}");
        for _ in 0..3 {
            let error = s.read_cold().await;
            assert_eq!(error.is_some(), blind, "{name}: {error:?}");
            s.read_tail().await;
            pause(200).await;
        }
        assert_eq!(s.write(1).await, expected, "{name}");
        s.store().heal();
        let healed = s.world.clock.now();
        s.write_all(200).await;
        let took = s.world.clock.now() - healed;
        assert!(took < Duration::from_secs(120), "{name}: {took:?}");
        s.read_all().await;
        pause(120).await;
        let used = s.disk();
        assert!(used.permille() < 850, "{name}: {used:?}");
        s.store().settle().await;
        audit(&s.world).await;
        let shard = s.topic.partition(P0).unwrap().shard;
        assert_eq!(tiered(&s.world, shard).await.pending, 0, "{name}");
        s.p.stop().await;
    }
}

/// A consumer of many partitions hears of those that are in memory, however many others hang.
#[tokio::test(start_paused = true)]
async fn a_fetch_waits_for_a_store_that_hangs_once_and_not_for_each_partition() {
    let world = {
        let mut world = World::tiered(120);
        world.cold.as_mut().unwrap().retries = Some(RetryPolicy::default());
        world
    };
    let p = world.start().await;
    let old = p.topic("old", 8).await;
    fill(&p, &old, 0, 60).await;
    pause(10).await;
    let new = p.topic("new", 1).await;
    p.append(&new, &["just written"]).await.unwrap();
    world.cold.as_ref().unwrap().store.set_faults(Faults {
        hang: 1_000,
        ..Faults::default()
    });
    let from: Vec<_> = (0..8)
        .map(|index| (tidemark_types::PartitionIndex(index), 0))
        .collect();
    let mut request = fetch_of(&old, &from);
    request
        .partitions
        .extend(fetch_of(&new, &[(P0, 0)]).partitions);
    let fetched = tokio::time::timeout(ANSWERED, p.log.fetch(&crate::world::TENANT, request));
    let fetched = fetched.await.expect("an answer before clients give up");
    for cold in &fetched[..8] {
        assert_eq!(cold.error, Some(ErrorCode::StorageError));
    }
    assert_eq!(values(&fetched[8]), [(0, "just written".to_owned())]);
}

/// What was found before the store failed is given.
#[tokio::test(start_paused = true)]
async fn a_fetch_that_meets_an_error_gives_what_it_found_before() {
    let mut s = Service::new(121).await;
    s.write_all(1_000).await;
    pause(60).await;
    s.p.stop().await;
    s.p = s.world.start().await;
    s.topic = s.p.find("t").await;
    let first = s.p.fetch(&s.topic, P0, 0, 100).await;
    assert_eq!(first.error, None);
    pause(1).await;
    s.store().begin_outage(Outage::Unreachable, None);
    // The first chunks are in memory by now, the next are not.
    let fetched = s.p.fetch(&s.topic, P0, 0, 4 << 20).await;
    let read = values(&fetched);
    assert_eq!(fetched.error, None);
    assert!(!read.is_empty() && read.len() < 500, "{}", read.len());
    for (offset, read) in read {
        assert_eq!(read, value(usize::try_from(offset).unwrap()));
    }
}

/// A store that refuses puts for a reason that no retry mends, or deletes of some objects.
#[derive(Debug)]
struct Picky {
    inner: Sim,
    refuses_puts: AtomicBool,
    puts: AtomicU32,
    kind: BlobErrorKind,
    keeps: parking_lot::Mutex<Option<BlobKey>>,
}

impl Picky {
    fn over(world: &mut World, kind: BlobErrorKind) -> Arc<Self> {
        let cold = world.cold.as_mut().unwrap();
        let picky = Arc::new(Self {
            inner: cold.objects.clone(),
            refuses_puts: AtomicBool::new(false),
            puts: AtomicU32::new(0),
            kind,
            keeps: parking_lot::Mutex::new(None),
        });
        let inner = Arc::clone(&picky) as Arc<dyn BlobStore>;
        cold.store = Faulty::new(inner, &world.clock, &world.entropy);
        picky
    }
}

#[async_trait]
impl BlobStore for Picky {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        if self.refuses_puts.load(Ordering::Relaxed) {
            self.puts.fetch_add(1, Ordering::Relaxed);
            return Err(BlobError::new(self.kind, "put", "it is not to be"));
        }
        self.inner.put(put).await
    }

    async fn get(&self, key: &BlobKey, range: std::ops::Range<u64>) -> Result<Bytes, BlobError> {
        self.inner.get(key, range).await
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let kept = self.keeps.lock().get_or_insert_with(|| key.clone()).clone();
        if kept == *key {
            let why = "403 AccessDenied: a legal hold";
            return Err(BlobError::new(BlobErrorKind::Unauthorized, "delete", why));
        }
        self.inner.delete(key).await
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        self.inner.list(list).await
    }
}

/// Intents of tries that failed for good do not pile up, and the store is not asked all the time.
#[tokio::test(start_paused = true)]
async fn puts_that_are_refused_for_good_leave_nothing_behind_and_are_tried_seldom() {
    for kind in [BlobErrorKind::Invalid, BlobErrorKind::AlreadyExists] {
        let mut world = World::tiered(122);
        let picky = Picky::over(&mut world, kind);
        picky.refuses_puts.store(true, Ordering::Relaxed);
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        fill(&p, &topic, 0, 60).await;
        pause(3_600).await;
        let puts = picky.puts.load(Ordering::Relaxed);
        assert!((60..=130).contains(&puts), "{puts} in an hour");
        let shard = topic.partition(P0).unwrap().shard;
        let left = tiered(&world, shard).await;
        assert!(left.pending <= 1, "{} intents", left.pending);
        picky.refuses_puts.store(false, Ordering::Relaxed);
        pause(60).await;
        let left = tiered(&world, shard).await;
        assert!(left.pending == 0 && !left.rows.is_empty());
        // What has another's object under its name is not deleted.
        assert!(kind == BlobErrorKind::Invalid || left.garbage == 0);
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), 120);
        audit(&world).await;
    }
}

/// An object that the store refuses to delete keeps no other from being deleted.
#[tokio::test(start_paused = true)]
async fn what_may_not_be_deleted_keeps_nothing_else_from_it() {
    let mut world = World::tiered(123);
    let picky = Picky::over(&mut world, BlobErrorKind::Invalid);
    let p = world.start().await;
    let topic = p.topic_with("t", 1, &[("retention.bytes", "1")]).await;
    fill(&p, &topic, 0, 300).await;
    pause(3_600).await;
    let kept = picky.keeps.lock().clone().expect("one was to be deleted");
    let held = world.cold.as_ref().unwrap().objects.snapshot();
    let mut live = 0;
    for shard in [ShardId(0), ShardId(1)] {
        live += tiered(&world, shard).await.rows.len();
    }
    assert!(held.contains_key(&kept));
    // And each shard's state.
    let left = held.len() - live;
    assert!(
        (1..=3).contains(&left),
        "{left} that are not part of the log"
    );
    assert!(p.log.tier_counters().objects_deleted > 3);
}
