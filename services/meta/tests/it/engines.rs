//! The engines the suite runs on.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidemark_meta::MetaStore;
use tidemark_meta::embedded::Embedded;
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

    /// In real time: virtual time would not wait for an engine's thread.
    async fn stop(&self) {
        tokio::time::resume();
        let grace = Duration::from_secs(60);
        self.tasks.shutdown(grace).await.unwrap();
        tokio::time::pause();
    }
}

pub(crate) async fn sim() -> Env {
    let store = Arc::new(Sim::new(&Clock::system()));
    Env::over(store, Below::Shared, Tasks::new())
}

pub(crate) async fn embedded() -> Env {
    embedded_in(tempfile::tempdir().unwrap())
}

fn embedded_in(folder: TempDir) -> Env {
    let tasks = Tasks::new();
    let path = folder.path().join("meta");
    let store = Arc::new(Embedded::open(&path, &Clock::system(), &tasks).unwrap());
    Env::over(store, Below::Folder(folder), tasks)
}
