use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{ExtentIdx, ShardId};

use super::*;
use crate::memory::{Faults, MemoryReplica};
use crate::{
    Append, Appended, ExtentId, ExtentInfo, Fence, Fenced, Frame, FrameKind, OpenExtent, Probe,
    Probed, ReadFrames, Reader, Release, Replica, ReplicaSet,
};

const EPOCH: Epoch = Epoch(5);

struct Bench {
    clock: Clock,
    nodes: Nodes,
    replicas: Vec<MemoryReplica>,
    extent: Extent,
}

impl Bench {
    async fn new(n: u64, a: usize) -> Self {
        let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(1));
        let nodes = Nodes::new();
        let id = ExtentId {
            shard: ShardId(1),
            index: ExtentIdx(2),
        };
        let replicas: Vec<_> = (1..=n)
            .map(|id| MemoryReplica::new(NodeId(id), clock.clone(), entropy.clone()))
            .collect();
        for replica in &replicas {
            nodes.insert(Arc::new(replica.clone()));
            let open = OpenExtent {
                extent: id,
                epoch: EPOCH,
                first_lsn: Lsn(10),
            };
            replica.open(open).await.unwrap();
        }
        let set = ReplicaSet::new((1..=n).map(NodeId).collect(), a).unwrap();
        let extent = Extent {
            id,
            first: Lsn(10),
            replicas: set,
        };
        Self {
            clock,
            nodes,
            replicas,
            extent,
        }
    }

    fn writer(&self, options: WriterOptions) -> Writer {
        let extent = self.extent.clone();
        Writer::start(
            extent,
            EPOCH,
            &self.nodes,
            (&[], None),
            options,
            &Tasks::new(),
        )
    }
}

fn body(text: &'static str) -> FrameBody {
    FrameBody {
        kind: FrameKind::Data,
        head: Bytes::from_static(text.as_bytes()),
        parts: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn lsns_are_dense_and_commit_in_order_at_the_quorum() {
    let bench = Bench::new(3, 2).await;
    for (i, replica) in bench.replicas.iter().enumerate() {
        let ms = [5, 30, 90_000][i];
        replica.set_faults(Faults {
            delay_max: Duration::from_millis(ms),
            ..Faults::default()
        });
    }
    let writer = bench.writer(WriterOptions::default());
    let mut seen = writer.committed();
    for lsn in 10..30 {
        assert_eq!(writer.append(body("x")).unwrap(), Lsn(lsn));
    }
    let mut last = Lsn(10);
    while last < Lsn(30) {
        seen.changed().await.unwrap();
        let end = seen.borrow_and_update().end;
        assert!(end > last);
        last = end;
        let held = |r: &&MemoryReplica| r.frames(bench.extent.id).len() as u64 >= end.0 - 10;
        assert!(bench.replicas.iter().filter(held).count() >= 2);
    }
    assert_eq!(writer.uncommitted_bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_writer_sequences_and_commits_nothing_until_it_thaws() {
    let bench = Bench::new(1, 1).await;
    let writer = bench.writer(WriterOptions::default());
    writer.append(body("a")).unwrap();
    writer.wait_committed(Lsn(11)).await.unwrap();
    assert_eq!(writer.freeze(), Lsn(11));
    writer.append(body("b")).unwrap();
    bench.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.replicas[0].frames(bench.extent.id).len(), 2);
    assert_eq!(writer.committed().borrow().end, Lsn(11), "J2");
    writer.thaw();
    assert_eq!(writer.committed().borrow().end, Lsn(12));
    assert_eq!(writer.freeze(), Lsn(12));
    writer.append(body("c")).unwrap();
    assert_eq!(writer.retire(), [(Lsn(12), body("c"))], "J13");
    let refused = writer.append(body("d")).unwrap_err();
    assert_eq!(refused.body, body("d"));
    assert_eq!(refused.why, RefusedWhy::Ended(WriterEnd::Retired));
}

#[tokio::test(start_paused = true)]
async fn too_much_uncommitted_is_refused_with_the_body_and_passes() {
    let bench = Bench::new(1, 1).await;
    bench.replicas[0].pause_appends();
    let writer = bench.writer(WriterOptions {
        uncommitted_bytes_max: 200,
        ..WriterOptions::default()
    });
    while writer.uncommitted_bytes() < 200 {
        writer.append(body("x")).unwrap();
    }
    let refused = writer.append(body("y")).unwrap_err();
    assert!(matches!(refused.why, RefusedWhy::Backpressure { .. }));
    bench.replicas[0].resume_appends();
    writer.wait_committed(writer.next_lsn()).await.unwrap();
    writer.append(refused.body).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fence_ends_the_writer_and_a_lost_replica_only_below_the_quorum() {
    let bench = Bench::new(3, 2).await;
    let writer = bench.writer(WriterOptions::default());
    bench.replicas[0].set_reachable(false);
    writer.append(body("a")).unwrap();
    writer.wait_committed(Lsn(11)).await.unwrap();
    assert_eq!(writer.lost_replicas(), [NodeId(1)]);
    let fence = Fence {
        extent: bench.extent.id,
        epoch: Epoch(6),
    };
    bench.replicas[1].fence(fence).await.unwrap();
    writer.append(body("b")).unwrap();
    let ended = writer.wait_committed(Lsn(12)).await.unwrap_err();
    assert_eq!(ended, WriterEnd::Fenced { fence: Epoch(6) });
}

/// Answers appends as if they had been another epoch's.
#[derive(Debug)]
struct OtherEpoch(MemoryReplica);

#[async_trait]
impl Replica for OtherEpoch {
    fn node(&self) -> NodeId {
        self.0.node()
    }
    async fn open(&self, request: OpenExtent) -> Result<(), ReplicaError> {
        self.0.open(request).await
    }
    fn append(&self, request: Append) -> BoxFuture<'static, Result<Appended, ReplicaError>> {
        let answer = self.0.append(request);
        let epoch = Epoch(EPOCH.0 - 1);
        async move {
            Ok(Appended {
                epoch,
                ..answer.await?
            })
        }
        .boxed()
    }
    async fn fence(&self, request: Fence) -> Result<Fenced, ReplicaError> {
        self.0.fence(request).await
    }
    async fn probe(&self, request: Probe) -> Result<Probed, ReplicaError> {
        self.0.probe(request).await
    }
    async fn read(&self, request: ReadFrames) -> Result<Vec<Frame>, ReplicaError> {
        self.0.read(request).await
    }
    async fn release(&self, request: Release) -> Result<(), ReplicaError> {
        self.0.release(request).await
    }
    async fn extents(&self) -> Result<Vec<ExtentInfo>, ReplicaError> {
        self.0.extents().await
    }
}

#[tokio::test(start_paused = true)]
async fn acks_of_another_epoch_are_not_counted() {
    for (mutation, commits) in [(None, false), (Some(Mutation::AnyEpochAck), true)] {
        let bench = Bench::new(1, 1).await;
        bench
            .nodes
            .insert(Arc::new(OtherEpoch(bench.replicas[0].clone())));
        let writer = bench.writer(WriterOptions {
            mutation,
            ..WriterOptions::default()
        });
        writer.append(body("a")).unwrap();
        let committed = writer.wait_committed(Lsn(11)).await;
        assert_eq!(committed.is_ok(), commits, "J3");
    }
}

/// J6: what a replica holds above the given end is not returned, whatever the replica answers.
#[tokio::test(start_paused = true)]
async fn a_reader_never_passes_the_end_and_falls_back_to_another_replica() {
    let bench = Bench::new(3, 2).await;
    let writer = bench.writer(WriterOptions::default());
    for _ in 0..6 {
        writer.append(body("x")).unwrap();
    }
    writer.wait_committed(Lsn(16)).await.unwrap();
    let reader = Reader::new(bench.nodes.clone());
    bench.replicas[0].set_reachable(false);
    bench.replicas[1].rot(bench.extent.id, Lsn(12));
    for (from, end) in [(10, 14), (12, 13), (15, 16), (13, 13), (14, 12)] {
        let (from, end) = (Lsn(from), Lsn(end));
        let mut at = from;
        while at < end {
            let frames = reader.read(&bench.extent, at, end, 100).await.unwrap();
            assert!(frames.iter().all(|f| f.lsn < end));
            at = frames.last().unwrap().lsn.next();
        }
        assert_eq!(at, from.max(end.min(at)));
    }
    let broken = Reader::mutated(bench.nodes.clone(), Some(Mutation::ReadBeyondEnd));
    let frames = broken.read(&bench.extent, Lsn(14), Lsn(15), 1000).await;
    assert!(frames.unwrap().len() > 1, "the mutation is real");
}
