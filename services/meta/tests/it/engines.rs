//! The engines the suite runs on.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidemark_meta::MetaStore;
use tidemark_meta::embedded::Embedded;
use tidemark_meta::faulty::{Faults, Faulty};
use tidemark_meta::sim::Sim;
use tidemark_runtime::{Clock, Entropy, Tasks};

/// What lies below an engine.
enum Below {
    /// It lives as long as its handles: reopening is taking another.
    Shared,
    Folder(TempDir),
}

/// An engine under test, with a part of the keyspace of its own.
pub(crate) struct Env {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) prefix: Vec<u8>,
    below: Below,
    tasks: Tasks,
}

impl Env {
    fn over(store: Arc<dyn MetaStore>, below: Below, tasks: Tasks) -> Self {
        Self {
            store,
            clock: Clock::system(),
            entropy: Entropy::seeded(1),
            prefix: b"t/".to_vec(),
            below,
            tasks,
        }
    }

    /// A key of this test's own.
    pub(crate) fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [&self.prefix, name.as_ref()].concat()
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// Lets go of the store and opens it again.
    pub(crate) async fn reopen(self) -> Self {
        self.stop().await;
        match self.below {
            Below::Shared => self,
            Below::Folder(folder) => {
                drop(self.store);
                embedded_in(folder)
            }
        }
    }

    pub(crate) async fn close(self) {
        self.stop().await;
    }

    async fn stop(&self) {
        let grace = Duration::from_secs(60);
        self.real_time(self.tasks.shutdown(grace)).await.unwrap();
    }

    /// Awaits `work` in real time if the engine has a thread: virtual time would not wait for it, so a pause before a
    /// retry would be over before the commit that it gives way to.
    pub(crate) async fn real_time<T>(&self, work: impl Future<Output = T>) -> T {
        let paused = matches!(self.below, Below::Folder(_));
        if paused {
            tokio::time::resume();
        }
        let done = work.await;
        if paused {
            tokio::time::pause();
        }
        done
    }
}

pub(crate) async fn sim() -> Option<Env> {
    let store = Arc::new(Sim::new(&Clock::system()));
    Some(Env::over(store, Below::Shared, Tasks::new()))
}

/// The decorator is transparent while no faults are set.
pub(crate) async fn faulty_without_faults() -> Option<Env> {
    let (clock, entropy) = (Clock::system(), Entropy::seeded(2));
    let sim = Arc::new(Sim::new(&clock));
    let store = Arc::new(Faulty::new(sim, &clock, &entropy));
    Some(Env::over(store, Below::Shared, Tasks::new()))
}

/// Only for what holds whatever an engine answers meanwhile.
pub(crate) async fn stormy() -> Option<Env> {
    let (clock, entropy) = (Clock::system(), Entropy::seeded(3));
    let sim = Arc::new(Sim::new(&clock));
    let faulty = Faulty::new(sim, &clock, &entropy);
    faulty.set_faults(Faults::stormy());
    Some(Env::over(Arc::new(faulty), Below::Shared, Tasks::new()))
}

pub(crate) async fn embedded() -> Option<Env> {
    Some(embedded_in(tempfile::tempdir().unwrap()))
}

fn embedded_in(folder: TempDir) -> Env {
    let tasks = Tasks::new();
    let path = folder.path().join("meta");
    let store = Arc::new(Embedded::open(&path, &Clock::system(), &tasks).unwrap());
    Env::over(store, Below::Folder(folder), tasks)
}

/// A real cluster, when `TIDEMARK_FDB_CLUSTER_FILE` names one. Each test clears and uses a prefix of its own.
#[cfg(feature = "foundationdb")]
pub(crate) async fn foundationdb() -> Option<Env> {
    use std::io::Write;
    use std::sync::OnceLock;

    use tidemark_meta::foundation::{Foundation, Network};

    // Once per process; it lasts until the process ends.
    static NETWORK: OnceLock<Network> = OnceLock::new();
    let Ok(file) = std::env::var("TIDEMARK_FDB_CLUSTER_FILE") else {
        // Not by a macro of std's: the harness would keep that from being seen.
        let said = b"NOT RUN on foundationdb: TIDEMARK_FDB_CLUSTER_FILE names no cluster file\n";
        std::io::stderr().write_all(said).unwrap();
        return None;
    };
    let network = NETWORK.get_or_init(|| Network::start().unwrap());
    let (clock, entropy, tasks) = (Clock::system(), Entropy::system(), Tasks::new());
    let store = Foundation::open(network, &file, &clock, &entropy, &tasks).unwrap();
    let mut env = Env::over(Arc::new(store), Below::Shared, tasks);
    env.prefix = format!("test/{:016x}/", entropy.next_u64()).into_bytes();
    Some(env)
}
