//! A cluster of one shard: store, log nodes, and what must hold of them whatever happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_journal::memory::{Faults, MemoryReplica};
use tidemark_journal::{ExtentId, Nodes};
use tidemark_lease::{LeaseConfig, Leases};
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Incarnation, Lsn, NodeId, ShardId};

use crate::shaky::Shaky;

pub(crate) const SHARD: ShardId = ShardId(3);

/// What was acked to clients, and the ends under which it was.
#[derive(Default, Debug)]
pub(crate) struct Ledger {
    /// Offset → value, as acked.
    pub(crate) acked: BTreeMap<u64, u64>,
    /// The highest committed end any owner saw, per extent.
    pub(crate) committed: BTreeMap<ExtentId, Lsn>,
    pub(crate) violations: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) store: Shaky,
    pub(crate) replicas: Vec<MemoryReplica>,
    pub(crate) nodes: Nodes,
    pub(crate) config: LeaseConfig,
    pub(crate) tasks: Tasks,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    next_value: Arc<Mutex<u64>>,
}

impl World {
    /// `n` log nodes of which `a` make an ack. Everything goes well until told otherwise.
    pub(crate) fn new(n: u64, a: usize, seed: u64) -> Self {
        let clock = Clock::simulated(1_700_000_000_000);
        let entropy = Entropy::seeded(seed);
        let nodes = Nodes::new();
        let replicas: Vec<MemoryReplica> = (1..=n)
            .map(|id| MemoryReplica::new(NodeId(100 + id), clock.clone(), entropy.clone()))
            .collect();
        for replica in &replicas {
            nodes.insert(Arc::new(replica.clone()));
        }
        let copies = replicas.len();
        Self {
            store: Shaky::new(&clock, &entropy),
            clock,
            entropy,
            replicas,
            nodes,
            config: LeaseConfig::replicated(copies, a),
            tasks: Tasks::new(),
            ledger: Arc::default(),
            next_value: Arc::default(),
        }
    }

    pub(crate) fn value(&self) -> u64 {
        let mut next = self.next_value.lock();
        *next += 1;
        *next
    }

    /// A start of node 1. A later incarnation takes over from an earlier one at once.
    pub(crate) fn start(&self, incarnation: u64) -> Leases {
        self.start_node(1, incarnation)
    }

    pub(crate) fn start_node(&self, node: u64, incarnation: u64) -> Leases {
        Leases::new(
            Arc::new(self.store.clone()),
            self.nodes.clone(),
            self.clock.clone(),
            self.entropy.clone(),
            self.tasks.clone(),
            (NodeId(node), Incarnation(incarnation)),
            self.config.clone(),
        )
    }

    pub(crate) fn shake(&self, delay_ms: u64, percent: u64) {
        let delay_max = Duration::from_millis(delay_ms);
        for replica in &self.replicas {
            replica.set_faults(Faults {
                delay_max,
                request_lost_percent: percent / 2,
                reply_lost_percent: percent.div_ceil(2),
            });
        }
        let mut knobs = self.store.knobs.lock();
        knobs.delay_max = delay_max;
        knobs.fault_percent = percent;
    }

    pub(crate) fn heal(&self) {
        self.shake(0, 0);
        for replica in &self.replicas {
            replica.set_reachable(true);
            replica.set_full(false);
            replica.resume_appends();
        }
        let mut knobs = self.store.knobs.lock();
        knobs.down = false;
        knobs.script.clear();
    }

    pub(crate) async fn extents(&self) -> Vec<(ExtentKey, ExtentRow)> {
        let mut tx = self.store.begin();
        let range = ExtentKey::of_shard(SHARD);
        keys::scan(tx.as_mut(), range, 1000, Mode::Serializable)
            .await
            .expect("the store is healthy")
    }

    pub(crate) fn violation(&self, what: impl Into<String>) {
        self.ledger.lock().violations.push(what.into());
    }

    pub(crate) fn ack(&self, offset: u64, value: u64) {
        let before = self.ledger.lock().acked.insert(offset, value);
        if before.is_some_and(|before| before != value) {
            self.violation(format!("offset {offset} was acked with two values"));
        }
    }

    /// An operator gave up what was acked from `offset` on.
    pub(crate) fn give_up(&self, offset: u64) {
        let mut ledger = self.ledger.lock();
        ledger.acked.retain(|acked, _| *acked < offset);
        ledger.committed.clear();
    }

    pub(crate) fn saw_committed(&self, extent: ExtentId, end: Lsn) {
        let mut ledger = self.ledger.lock();
        let highest = ledger.committed.entry(extent).or_insert(end);
        *highest = (*highest).max(end);
    }

    /// Invariants 6 and 7 on the rows, and one value per address on the disks (J7). Call after healing.
    pub(crate) async fn check(&self) {
        let rows = self.extents().await;
        let open = rows.iter().filter(|(_, r)| r.state == ExtentState::Open);
        let open = open.count();
        if open > 1 {
            self.violation(format!("{open} extents are open"));
        }
        for pair in rows.windows(2) {
            let [(key, row), (after, next)] = pair else {
                continue;
            };
            // Empty ones between may be gone.
            let given_up = after.index > key.index.next();
            match row.state {
                ExtentState::Sealed(end) if end == next.first => {}
                ExtentState::Sealed(end) if end < next.first && given_up => {}
                other => self.violation(format!(
                    "extent {} is {other:?}, the next begins at {}",
                    key.index, next.first
                )),
            }
        }
        let committed = self.ledger.lock().committed.clone();
        for (key, row) in &rows {
            let id = ExtentId {
                shard: key.shard,
                index: key.index,
            };
            let ExtentState::Sealed(end) = row.state else {
                continue;
            };
            if let Some(seen) = committed.get(&id).filter(|seen| **seen > end) {
                self.violation(format!("{id} committed {seen} and is sealed at {end}"));
            }
            self.check_copies(id, row, end);
        }
    }

    /// Invariant 8, and one value per address (J7): below the seal every frame is on A replicas, the same everywhere.
    fn check_copies(&self, id: ExtentId, row: &ExtentRow, end: Lsn) {
        let mut at: BTreeMap<Lsn, (u32, u8)> = BTreeMap::new();
        for frame in self.replicas.iter().flat_map(|r| r.frames(id)) {
            let (crc, copies) = at.entry(frame.lsn).or_insert((frame.crc, 0));
            *copies += 1;
            if frame.lsn < end && *crc != frame.crc {
                self.violation(format!("{id} has two frames at {}", frame.lsn));
            }
        }
        for lsn in row.first.0..end.0 {
            let copies = at.get(&Lsn(lsn)).map_or(0, |(_, copies)| *copies);
            if copies < row.ack_quorum && row.lost.is_none() {
                self.violation(format!(
                    "{id} has {copies} copies of {lsn}, sealed at {end}"
                ));
            }
        }
    }

    /// The violations so far.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let violations = &self.ledger.lock().violations;
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations.join("; "))
        }
    }
}

/// Runs a scenario on its own runtime under paused time. A panic in it is its violation.
pub(crate) fn scenario<F>(run: impl FnOnce() -> F + std::panic::UnwindSafe) -> Result<(), String>
where
    F: Future<Output = Result<(), String>>,
{
    let outcome = std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async { run().await })
    });
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "panicked".to_owned()))
    })
}
