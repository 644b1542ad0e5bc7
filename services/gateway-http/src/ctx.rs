//! What handlers work with.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tidemark_groups::Groups;
use tidemark_log::Log;
use tidemark_runtime::{Clock, Entropy};
use tidemark_topics::Topics;
use tidemark_types::{NodeId, Tenant};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::HttpConfig;

/// Gives all metrics in Prometheus' text format, or why not.
pub type RenderMetrics = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Gives what an operator should know of though requests are served.
pub type Notes = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What the process is, for `/v1/status`.
#[derive(Clone, Debug)]
pub struct Info {
    /// The software's version.
    pub version: String,
    /// The cluster's id, as Kafka clients see it.
    pub cluster_id: String,
    /// This process.
    pub node: NodeId,
}

/// What every handler is given. Cheap to clone.
#[derive(Clone)]
pub struct Ctx(Arc<Inner>);

struct Inner {
    tenant: Tenant,
    topics: Topics,
    log: Log,
    groups: Groups,
    clock: Clock,
    entropy: Entropy,
    info: Info,
    started: Instant,
    render_metrics: RenderMetrics,
    notes: OnceLock<Notes>,
    config: HttpConfig,
    draining: CancellationToken,
    memory: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    keyless: AtomicU32,
}

/// The unit in which held memory is counted, bytes.
const MEMORY_UNIT_BYTES: usize = 1 << 10;
/// Bytes that a task decodes or encodes itself, at the most: some 100 µs in which its thread serves nobody else.
const LIGHT_WORK_BYTES_MAX: usize = 64 << 10;
/// Pieces of heavier work at once, each on a thread of its own: bounds the memory of what is decompressed.
const HEAVY_WORK_MAX: usize = 4;

impl Ctx {
    /// The context of one gateway; uptime counts from here.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "the one place that names them all"
    )]
    pub fn new(
        tenant: Tenant,
        topics: Topics,
        log: Log,
        groups: Groups,
        clock: Clock,
        entropy: Entropy,
        info: Info,
        render_metrics: RenderMetrics,
        config: HttpConfig,
    ) -> Self {
        let units = (config.memory_bytes_max / MEMORY_UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self(Arc::new(Inner {
            tenant,
            topics,
            log,
            groups,
            started: clock.now(),
            clock,
            entropy,
            info,
            render_metrics,
            notes: OnceLock::new(),
            draining: CancellationToken::new(),
            memory: Arc::new(Semaphore::new(units)),
            requests: Arc::new(Semaphore::new(config.requests_max)),
            heavy: Arc::new(Semaphore::new(HEAVY_WORK_MAX)),
            keyless: AtomicU32::new(0),
            config,
        }))
    }

    /// With notes for `/readyz` and `/v1/status`. Those of the first call stand.
    #[must_use]
    pub fn noting(self, notes: Notes) -> Self {
        self.0.notes.get_or_init(|| notes);
        self
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let notes = self.0.notes.get();
        notes.and_then(|notes| notes()).into_iter().collect()
    }

    /// The tenant of every request: the default one while no auth is configured.
    pub(crate) fn tenant(&self) -> &Tenant {
        &self.0.tenant
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.0.topics
    }

    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.0.groups
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn info(&self) -> &Info {
        &self.0.info
    }

    pub(crate) fn config(&self) -> &HttpConfig {
        &self.0.config
    }

    pub(crate) fn render_metrics(&self) -> Result<String, String> {
        (self.0.render_metrics)()
    }

    pub(crate) fn uptime_ms(&self) -> u64 {
        let up = self.0.clock.now().duration_since(self.0.started);
        u64::try_from(up.as_millis()).unwrap_or(u64::MAX)
    }

    /// Begins the drain: no new connections, streams and long polls end, `/readyz` says so. Requests in work
    /// still need the log, so call this, and await [`crate::HttpGateway::serve`], before the log is stopped.
    pub fn drain(&self) {
        self.0.draining.cancel();
    }

    /// Cancelled when the gateway drains: streams and long polls end.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.0.draining
    }

    /// Where the bytes of bodies and answers are counted.
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            pool: Arc::clone(&self.0.memory),
            held: None,
            units: 0,
        }
    }

    /// Decodes or encodes about so many bytes, beside the runtime's threads when it may take long.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes <= LIGHT_WORK_BYTES_MAX {
            return work();
        }
        let turn = Arc::clone(&self.0.heavy).acquire_owned().await;
        tidemark_runtime::Tasks::spawn_blocking(move || {
            // Given back when the work is done, even when nobody waits for it any more.
            let _turn = turn;
            work()
        })
        .await
    }

    pub(crate) fn requests(&self) -> &Arc<Semaphore> {
        &self.0.requests
    }

    /// Which of a topic's partitions the next request's keyless records go to: each in turn.
    pub(crate) fn next_keyless(&self) -> u32 {
        self.0.keyless.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn front(&self) -> crate::front::Front {
        crate::front::Front::new(self.0.clock.clone(), self.0.entropy.clone())
    }
}

impl std::fmt::Debug for Ctx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ctx")
            .field("info", &self.0.info)
            .finish_non_exhaustive()
    }
}

/// Memory that a request holds, given back when this is dropped.
pub(crate) struct Memory {
    pool: Arc<Semaphore>,
    held: Option<tokio::sync::OwnedSemaphorePermit>,
    units: usize,
}

impl Memory {
    /// Makes the held memory at least `bytes`; `false`, with nothing changed, when the service has no more.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.div_ceil(MEMORY_UNIT_BYTES);
        let Ok(more) = u32::try_from(wanted.saturating_sub(self.units)) else {
            return false;
        };
        if more == 0 {
            return true;
        }
        let Ok(permit) = Arc::clone(&self.pool).try_acquire_many_owned(more) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.units = wanted;
        true
    }
}
