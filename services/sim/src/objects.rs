//! The object store as one process reaches it: through its gate, repeated as the binary repeats.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_blob::{
    BlobError, BlobInfo, BlobKey, BlobStore, List, Page, Put, RetryPolicy, Retrying,
};

use crate::life::Life;
use crate::trace::{Trace, note};
use crate::world::World;

/// As patient as production's in proportion to the other times of a run.
const POLICY: RetryPolicy = RetryPolicy {
    attempts: 4,
    wait_base: Duration::from_millis(50),
    wait_cap: Duration::from_millis(500),
    attempt: Duration::from_secs(1),
    total: Duration::from_secs(4),
    bytes_per_s_min: 1 << 20,
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Objects {
    inner: Arc<dyn BlobStore>,
    life: Life,
    /// Where each attempt is noted; absent: around all attempts of a request.
    attempts: Option<(Trace, u32)>,
}

impl Objects {
    /// Nothing of a dead process gets out: no attempt, and no request that would be attempted for ever.
    pub(crate) fn of_process(world: &World, number: u32, life: &Life) -> Arc<dyn BlobStore> {
        let attempts = Self {
            inner: Arc::new(world.blobs.clone()),
            life: life.clone(),
            attempts: Some((world.trace.clone(), number)),
        };
        let (clock, entropy) = world.sources();
        let retrying = Retrying::new(Arc::new(attempts), POLICY, clock, entropy);
        Arc::new(Self {
            inner: Arc::new(retrying),
            life: life.clone(),
            attempts: None,
        })
    }

    async fn pass<T>(
        &self,
        what: impl Fn() -> String,
        changes: bool,
        call: impl Future<Output = Result<T, BlobError>> + Send,
    ) -> Result<T, BlobError> {
        let step = || {
            if changes && self.attempts.is_some() {
                self.life.step();
            }
        };
        step();
        self.life.gate().await;
        let answer = call.await;
        step();
        self.life.gate().await;
        if let Some((trace, process)) = &self.attempts {
            match &answer {
                Ok(_) if changes => note!(trace, "p{process} {}", what()),
                Ok(_) => {}
                Err(error) => note!(trace, "p{process} {error}"),
            }
        }
        answer
    }
}

#[async_trait]
impl BlobStore for Objects {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        let key = put.key.clone();
        let what = || format!("put {key}");
        self.pass(what, true, self.inner.put(put)).await
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.pass(String::new, false, self.inner.get(key, range))
            .await
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        self.pass(String::new, false, self.inner.head(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let what = || format!("delete {key}");
        self.pass(what, true, self.inner.delete(key)).await
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        self.pass(String::new, false, self.inner.list(list)).await
    }
}
