//! The engines the suite runs on.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidemark_blob::faulty::{Faults, Faulty};
use tidemark_blob::sim::Sim;
use tidemark_blob::{BlobKey, BlobMeter, BlobStore, Body, Fs, Metered, Put, RetryPolicy, Retrying};
use tidemark_runtime::{Clock, Entropy};

/// An engine under test.
pub(crate) struct Env {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) entropy: Entropy,
    /// What the engine stands on: a folder, a server.
    below: Box<dyn Any + Send>,
}

impl Env {
    fn over(store: Arc<dyn BlobStore>) -> Self {
        Self::held_by(store, Box::new(()))
    }

    pub(crate) fn held_by(store: Arc<dyn BlobStore>, below: Box<dyn Any + Send>) -> Self {
        Self {
            store,
            entropy: Entropy::seeded(1),
            below,
        }
    }

    /// A put of a new object.
    pub(crate) fn new_put(&self, name: &str, body: impl Into<Body>) -> Put {
        Put::new(key(name), body, &self.entropy)
    }

    pub(crate) async fn put(&self, name: &str, body: impl Into<Body>) {
        self.store.put(self.new_put(name, body)).await.unwrap();
    }
}

/// A name that is a key.
pub(crate) fn key(name: &str) -> BlobKey {
    BlobKey::new(name).unwrap()
}

#[allow(clippy::unused_async, reason = "engines that are servers are awaited")]
pub(crate) async fn sim() -> Option<Env> {
    Some(Env::over(Arc::new(Sim::new(&Clock::simulated(
        1_700_000_000_000,
    )))))
}

#[allow(clippy::unused_async, reason = "as above")]
pub(crate) async fn faulty_without_faults() -> Option<Env> {
    let (clock, entropy) = (Clock::simulated(1_700_000_000_000), Entropy::seeded(2));
    Some(Env::over(Arc::new(Faulty::new(
        Arc::new(Sim::new(&clock)),
        &clock,
        &entropy,
    ))))
}

/// Half of the requests fail in the ways that pass by themselves; the suite does not notice.
#[allow(clippy::unused_async, reason = "as above")]
pub(crate) async fn retrying_in_a_storm() -> Option<Env> {
    let (clock, entropy) = (Clock::simulated(1_700_000_000_000), Entropy::seeded(3));
    let faulty = Faulty::new(Arc::new(Sim::new(&clock)), &clock, &entropy);
    faulty.set_faults(Faults {
        throttled: 150,
        refused: 100,
        hang: 50,
        reset: 50,
        truncated: 50,
        lost_reply: 100,
        late: 50,
        delay_max: Duration::from_millis(100),
        late_max: Duration::from_secs(5),
        ..Faults::default()
    });
    let policy = RetryPolicy {
        attempts: 60,
        total: Duration::from_secs(3_600),
        ..RetryPolicy::default()
    };
    Some(Env::over(Arc::new(Retrying::new(
        Arc::new(faulty),
        policy,
        &clock,
        &entropy,
    ))))
}

#[allow(clippy::unused_async, reason = "as above")]
pub(crate) async fn fs() -> Option<Env> {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(Fs::open(&folder.path().join("objects")).unwrap());
    Some(Env::held_by(store, Box::new(folder)))
}

/// As the service builds it.
pub(crate) async fn decorated_fs() -> Option<Env> {
    let env = fs().await?;
    Some(Env::held_by(decorated(env.store), env.below))
}

/// The decorators of the service around an engine.
pub(crate) fn decorated(engine: Arc<dyn BlobStore>) -> Arc<dyn BlobStore> {
    let (clock, entropy) = (Clock::system(), Entropy::seeded(4));
    let metered = Metered::new(engine, BlobMeter::new(&clock));
    Arc::new(Retrying::new(
        Arc::new(metered),
        RetryPolicy::default(),
        &clock,
        &entropy,
    ))
}
