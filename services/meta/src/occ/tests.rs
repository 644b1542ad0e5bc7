use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;
use crate::Mode;
use crate::sim::Memory;

/// Memory whose batches are counted and can be made to fail.
#[derive(Clone, Default)]
struct Probed {
    memory: Memory,
    batches: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
}

impl Storage for Probed {
    type View = <Memory as Storage>::View;

    fn view(&self) -> Self::View {
        self.memory.view()
    }

    fn apply(&mut self, version: u64, changes: &Changes, oldest: u64) -> Result<(), StorageError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(StorageError::Failed("disk on fire".into()));
        }
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.memory.apply(version, changes, oldest)
    }
}

async fn put(store: &OccStore<Probed>, key: &[u8]) -> Result<Committed, MetaError> {
    let mut tx = store.begin();
    tx.set(key, b"1");
    tx.commit().await
}

#[tokio::test]
async fn commits_that_wait_together_share_a_batch() {
    let probed = Probed::default();
    let (store, driver) = OccStore::queued(probed.clone(), 0, Clock::system());
    let commits = join_all((0..64_u8).map(|n| {
        let store = store.clone();
        async move { put(&store, &[b'k', n]).await }
    }));
    // The commits are queued before the driver first runs; it ends with the store.
    let (outcomes, ()) = tokio::join!(
        async {
            let outcomes = commits.await;
            drop(store);
            outcomes
        },
        driver.run(std::future::pending())
    );
    let mut versions: Vec<_> = outcomes.into_iter().map(|o| o.unwrap().version).collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=64).collect::<Vec<_>>());
    assert_eq!(probed.batches.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn conflicts_count_within_a_group_too() {
    let (store, driver) = OccStore::queued(Probed::default(), 0, Clock::system());
    let increment = || {
        let mut tx = store.begin();
        async move {
            tx.get(b"n", Mode::Serializable).await?;
            tx.set(b"n", b"1");
            tx.commit().await
        }
    };
    let all = async { tokio::join!(increment(), increment()) };
    let stop = tokio_util::sync::CancellationToken::new();
    let (outcomes, ()) = tokio::join!(
        async {
            let outcomes = all.await;
            stop.cancel();
            outcomes
        },
        driver.run(stop.cancelled())
    );
    assert!(outcomes.0.is_ok());
    assert_eq!(outcomes.1, Err(MetaError::Conflict));
    let closed = put(&store, b"late").await;
    assert!(
        matches!(closed, Err(MetaError::Unavailable(_))),
        "{closed:?}"
    );
}

#[tokio::test]
async fn a_failed_batch_stops_everything_until_a_restart() {
    let probed = Probed::default();
    let store = OccStore::inline(probed.clone(), 0, Clock::system());
    put(&store, b"a").await.unwrap();
    let mut watching = store.begin();
    let watch = watching.watch(b"a");
    watching.commit().await.unwrap();
    let mut under_way = store.begin();
    under_way.get(b"a", Mode::Serializable).await.unwrap();
    probed.fails.store(true, Ordering::Relaxed);
    assert_eq!(put(&store, b"b").await, Err(MetaError::MaybeCommitted));
    probed.fails.store(false, Ordering::Relaxed);
    let read = under_way.get(b"b", Mode::Serializable).await;
    let why = "a batch could not be made durable: disk on fire";
    assert_eq!(read, Err(MetaError::Unavailable(why.into())));
    let write = put(&store, b"c").await;
    assert_eq!(write, Err(MetaError::Unavailable(why.into())));
    watch.await.expect_err("the engine gave up");
}

#[tokio::test]
async fn a_transaction_from_before_the_window_is_too_old() {
    let store = OccStore::inline(Probed::default(), 0, Clock::system());
    let mut old = store.begin();
    old.get(b"a", Mode::Serializable).await.unwrap();
    old.set(b"b", b"1");
    for n in 0..=5_000_u32 {
        let mut tx = store.begin();
        tx.add_write_conflict(&n.to_be_bytes(), &(n + 1).to_be_bytes());
        tx.commit().await.unwrap();
    }
    assert_eq!(old.commit().await, Err(MetaError::TooOld));
}
