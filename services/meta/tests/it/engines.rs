//! The engines the suite runs on.

use std::sync::Arc;
use std::time::Duration;

use tidemark_meta::MetaStore;
use tidemark_meta::sim::Sim;
use tidemark_runtime::{Clock, Entropy};

/// An engine under test, with a part of the keyspace of its own.
pub(crate) struct Env {
    pub(crate) store: Arc<dyn MetaStore>,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) prefix: Vec<u8>,
}

impl Env {
    pub(crate) fn over(store: Arc<dyn MetaStore>) -> Self {
        Self {
            store,
            clock: Clock::system(),
            entropy: Entropy::seeded(1),
            prefix: b"t/".to_vec(),
        }
    }

    /// A key of this test's own.
    pub(crate) fn key(&self, name: impl AsRef<[u8]>) -> Vec<u8> {
        [&self.prefix, name.as_ref()].concat()
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.sleep(time).await;
    }
}

pub(crate) async fn sim() -> Env {
    Env::over(Arc::new(Sim::new(&Clock::system())))
}
