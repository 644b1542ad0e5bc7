//! A machine with a log node: a disk that outlives its crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tidemark_journal::{Probe, Replica};
use tidemark_lognode::sim::{Crash, SimDisk};
use tidemark_lognode::{LogNode, LogNodeConfig, OpenError};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{ExtentIdx, NodeId, ShardId};

use crate::broken::Flaw;
use crate::disk::MachineDisk;
use crate::facts::Facts;
use crate::life::Life;
use crate::tap::Tap;
use crate::trace::{Trace, note};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Machine {
    tap: Mutex<Arc<Tap>>,
    facts: Facts,
    config: LogNodeConfig,
    flaw: Option<Flaw>,
    trace: Trace,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    disk: SimDisk,
    node: Arc<LogNode>,
    life: Life,
    tasks: Tasks,
}

impl Machine {
    pub(crate) async fn new(
        config: LogNodeConfig,
        (clock, entropy): (&Clock, &Entropy),
        (facts, trace): (&Facts, &Trace),
        flaw: Option<Flaw>,
    ) -> Result<Self, OpenError> {
        let disk = SimDisk::new(entropy);
        let running = start(disk, &config, (clock, entropy), flaw).await?;
        let id = running.node.node();
        let tap = Arc::new(Tap::new(id, facts, entropy, flaw));
        tap.attach(Arc::clone(&running.node), running.life.clone());
        Ok(Self {
            tap: Mutex::new(tap),
            facts: facts.clone(),
            config,
            flaw,
            trace: trace.clone(),
            running: Mutex::new(running),
        })
    }

    /// Its log node as others reach it.
    pub(crate) fn tap(&self) -> Arc<Tap> {
        Arc::clone(&self.tap.lock())
    }

    pub(crate) fn id(&self) -> NodeId {
        self.tap().node()
    }

    /// The disk is gone: the machine starts with an empty one, as another log node.
    ///
    /// # Errors
    /// As [`LogNode::open`].
    pub(crate) async fn wipe(&self, (clock, entropy): (&Clock, &Entropy)) -> Result<(), OpenError> {
        self.running.lock().life.kill();
        let disk = SimDisk::new(entropy);
        let running = start(disk, &self.config, (clock, entropy), self.flaw).await?;
        if self.flaw != Some(Flaw::RejoinWiped) {
            let id = running.node.node();
            note!(
                self.trace,
                "node {}: its disk is gone, now it is {id}",
                self.id()
            );
            *self.tap.lock() = Arc::new(Tap::new(id, &self.facts, entropy, self.flaw));
        }
        self.tap()
            .attach(Arc::clone(&running.node), running.life.clone());
        *self.running.lock() = running;
        Ok(())
    }

    pub(crate) fn life(&self) -> Life {
        self.running.lock().life.clone()
    }

    pub(crate) fn disk(&self) -> SimDisk {
        self.running.lock().disk.clone()
    }

    /// The log node refuses all work until it is started again (J5).
    pub(crate) fn is_poisoned(&self) -> bool {
        self.running.lock().node.stats().poisoned
    }

    /// Writes the trailing mark and stops, as a drained process does.
    pub(crate) async fn close(&self) {
        let node = Arc::clone(&self.running.lock().node);
        node.close().await;
    }

    /// A panic of the log node since it was started.
    pub(crate) fn failure(&self) -> Option<String> {
        let failure = self.running.lock().tasks.failure();
        failure.map(|f| f.to_string())
    }

    /// Takes the machine down, if it is not yet, and starts it again on what the crash left.
    ///
    /// # Errors
    /// As [`LogNode::open`].
    pub(crate) async fn restart(
        &self,
        how: Crash,
        sources: (&Clock, &Entropy),
        shards: u32,
        may_crash: bool,
    ) -> Result<(), OpenError> {
        let disk = {
            let running = self.running.lock();
            running.life.kill();
            running.disk.crash(how)
        };
        if may_crash && sources.1.below(6) == 0 {
            disk.crash_at(sources.1.below(8));
        }
        self.restart_on(disk, sources, shards).await
    }

    /// Starts on this disk. A crash while recovering gives another crash.
    pub(crate) async fn restart_on(
        &self,
        disk: SimDisk,
        (clock, entropy): (&Clock, &Entropy),
        shards: u32,
    ) -> Result<(), OpenError> {
        let mut disk = disk;
        let running = loop {
            match start(disk.clone(), &self.config, (clock, entropy), self.flaw).await {
                Ok(running) => break running,
                Err(_) if disk.crashed() => {
                    note!(self.trace, "node {} crashed while it recovered", self.id());
                    disk = disk.crash(Crash::Power);
                }
                Err(error) => return Err(error),
            }
        };
        note!(
            self.trace,
            "node {} is back, {} files",
            self.id(),
            running.disk.files().len()
        );
        let tap = self.tap();
        tap.attach(Arc::clone(&running.node), running.life.clone());
        *self.running.lock() = running;
        for shard in (0..shards).map(ShardId) {
            // The fence survived (invariant 9): the tap compares.
            let extent = tidemark_journal::ExtentId {
                shard,
                index: ExtentIdx(0),
            };
            let _ = tap.probe(Probe { extent }).await;
        }
        Ok(())
    }
}

async fn start(
    disk: SimDisk,
    config: &LogNodeConfig,
    (clock, entropy): (&Clock, &Entropy),
    flaw: Option<Flaw>,
) -> Result<Running, OpenError> {
    let (life, tasks) = (Life::new(), Tasks::new());
    let lies = Arc::new(AtomicBool::new(false));
    let seam = MachineDisk {
        inner: disk.clone(),
        life: life.clone(),
        lies: Arc::clone(&lies),
    };
    let node = LogNode::open(Arc::new(seam), config.clone(), clock, entropy, &tasks).await?;
    // Not before: a node whose very cookie is gone is another node, and no test of its entries.
    lies.store(flaw == Some(Flaw::LyingSync), Ordering::Relaxed);
    Ok(Running {
        disk,
        node,
        life,
        tasks,
    })
}
