//! The log node as [`Replica`].

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tidemark_journal::{
    Append, Appended, DiskUse, ExtentInfo, Fence, Fenced, Frame, OpenExtent, Probe, Probed,
    ReadFrames, Release, Replica, ReplicaError,
};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Lsn, NodeId};
use tokio::sync::{oneshot, watch};

use crate::driver::{Driver, Queue};
use crate::read::damaged;
use crate::request::{Reply, Request};
use crate::stats::{Counters, Stats};
use crate::view::View;
use crate::{Disk, LogNodeConfig, OpenError};

/// A log node over one disk. Dropped, it stops its writer.
#[derive(Debug)]
pub struct LogNode {
    node: NodeId,
    queue: Arc<Queue>,
    view: Arc<View>,
    counters: Arc<Counters>,
    disk_budget_bytes: u64,
    blocks: bool,
    gone: watch::Receiver<()>,
}

impl LogNode {
    /// Opens the disk: recovers its WAL and starts the writer, a thread of `tasks` for a real disk and a
    /// task on the current runtime for a simulated one. Shut `tasks` down last: the owners above write to it.
    ///
    /// # Errors
    /// When the folder cannot be read or is of another format. Damaged data is no such error: the extents
    /// concerned answer `Limbo`.
    pub async fn open(
        disk: Arc<dyn Disk>,
        config: LogNodeConfig,
        clock: &Clock,
        entropy: &Entropy,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, OpenError> {
        let blocks = disk.blocks();
        let disk_budget_bytes = config.disk_bytes_max;
        let queue = Arc::new(Queue::new(
            config.queue_bytes_max,
            config.queue_requests_max,
            config.group_bytes_max,
        ));
        let (node, wal) = if blocks {
            let (entropy, tasks) = (entropy.clone(), tasks.clone());
            Tasks::spawn_blocking(move || crate::open::open(disk, config, &entropy, &tasks)).await?
        } else {
            crate::open::open(disk, config, entropy, tasks)?
        };
        let (view, counters) = (wal.view.clone(), wal.counters.clone());
        let (gone_tx, gone) = watch::channel(());
        let driver = Driver {
            wal,
            queue: queue.clone(),
            gone: gone_tx,
        };
        if blocks {
            tasks
                .spawn_thread("wal-writer", move || driver.run_thread())
                .map_err(OpenError::io("start the wal's thread"))?;
        } else {
            tasks.spawn("wal-writer", driver.run_task(clock.clone()));
        }
        let (stop, tasks_of, mut ended) = (queue.clone(), tasks.clone(), gone.clone());
        tasks.spawn("wal-stop", async move {
            tokio::select! {
                biased;
                _ = ended.changed() => {}
                () = tasks_of.stopping() => stop.close(),
            }
        });
        Ok(Arc::new(Self {
            node,
            queue,
            view,
            counters,
            disk_budget_bytes,
            blocks,
            gone,
        }))
    }

    /// What the node has done and holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (queued, queued_bytes) = self.queue.depth();
        Stats {
            queued,
            queued_bytes,
            disk_budget_bytes: self.disk_budget_bytes,
            poisoned: self.view.durable.read().poison.is_some(),
            ..self.counters.stats()
        }
    }

    /// Answers what is queued, writes the trailing mark, stops the writer and lets the disk go. Later writes
    /// are `Unreachable`.
    pub async fn close(&self) {
        self.queue.close();
        // Nothing is ever sent: the error says that the writer is gone.
        let _ = self.gone.clone().changed().await;
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ReplicaError> {
        answer(self.enqueue(request)).await
    }

    fn enqueue<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> oneshot::Receiver<Result<T, ReplicaError>> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(request(reply));
        answer
    }

    fn healthy(&self) -> Result<(), ReplicaError> {
        let poison = self.view.durable.read().poison.clone();
        poison.map_or(Ok(()), |why| Err(ReplicaError::Poisoned(why)))
    }
}

impl Drop for LogNode {
    fn drop(&mut self) {
        self.queue.close();
    }
}

async fn answer<T>(answer: oneshot::Receiver<Result<T, ReplicaError>>) -> Result<T, ReplicaError> {
    let gone = |_| ReplicaError::Unreachable("it has stopped".to_owned());
    answer.await.map_err(gone)?
}

#[async_trait]
impl Replica for LogNode {
    fn node(&self) -> NodeId {
        self.node
    }

    async fn open(&self, request: OpenExtent) -> Result<(), ReplicaError> {
        self.ask(|reply| Request::Open(request, reply)).await
    }

    fn append(&self, request: Append) -> BoxFuture<'static, Result<Appended, ReplicaError>> {
        Box::pin(answer(
            self.enqueue(|reply| Request::Append(request, reply)),
        ))
    }

    async fn fence(&self, request: Fence) -> Result<Fenced, ReplicaError> {
        self.ask(|reply| Request::Fence(request, reply)).await
    }

    async fn probe(&self, request: Probe) -> Result<Probed, ReplicaError> {
        self.healthy()?;
        let durable = self.view.durable.read();
        let (state, extent) = (&durable.state, request.extent);
        if let Some(why) = state.distrust(extent.shard) {
            return Err(damaged(extent, Lsn(0), why.to_owned()));
        }
        Ok(Probed {
            fence: state.fence(extent.shard),
            end: state.extents.get(&extent).map(|held| held.end),
        })
    }

    async fn read(&self, request: ReadFrames) -> Result<Vec<Frame>, ReplicaError> {
        if !self.blocks {
            return self.view.read(&request);
        }
        let plan = self.view.plan(&request)?;
        if plan.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.view.clone();
        Tasks::spawn_blocking(move || view.run(&plan)).await
    }

    async fn release(&self, request: Release) -> Result<(), ReplicaError> {
        self.ask(|reply| Request::Release(request, reply)).await
    }

    async fn extents(&self) -> Result<Vec<ExtentInfo>, ReplicaError> {
        self.healthy()?;
        Ok(self.view.durable.read().state.infos())
    }

    fn disk_use(&self) -> Option<DiskUse> {
        let stats = self.counters.stats();
        Some(DiskUse {
            used_bytes: stats.disk_used_bytes,
            budget_bytes: self.disk_budget_bytes,
            written_bytes: stats.bytes_written,
        })
    }
}
