//! Appends to the WAL on a real folder, each group durable before the next begins. `TMPDIR` says which disk.
#![allow(missing_docs, reason = "criterion's macros make functions")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use tidemark_journal::{
    Append, ExtentId, Frame, FrameBody, FrameKind, OpenExtent, Part, Release, Replica,
};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, ExtentIdx, Lsn, ShardId};

/// An extent is followed by the next at this size, and released: the disk stays small.
const ROLL_BYTES: usize = 64 << 20;
const EPOCH: Epoch = Epoch(1);

/// One shard's only writer.
struct Pen {
    node: Arc<LogNode>,
    extent: ExtentId,
    next: Lsn,
    prev_crc: u32,
    bytes: usize,
    part: Part,
}

impl Pen {
    async fn new(node: &Arc<LogNode>, shard: u32, payload_bytes: usize) -> Self {
        let bytes = Bytes::from(vec![b'v'; payload_bytes]);
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes);
        let crc = u32::try_from(crc).expect("it has 32 bits");
        let part = Part {
            bytes,
            skip: 0,
            crc,
        };
        let (shard, index) = (ShardId(shard), ExtentIdx(0));
        let pen = Self {
            node: Arc::clone(node),
            extent: ExtentId { shard, index },
            next: Lsn(0),
            prev_crc: 0,
            bytes: 0,
            part,
        };
        pen.open().await;
        pen
    }

    async fn open(&self) {
        let open = OpenExtent {
            extent: self.extent,
            epoch: EPOCH,
            first_lsn: self.next,
        };
        self.node.open(open).await.expect("the extent is opened");
    }

    /// Appends `frames` frames at once and waits until they are durable.
    async fn append(&mut self, frames: usize) {
        let frames = (0..frames).map(|_| self.frame()).collect();
        let append = Append {
            extent: self.extent,
            epoch: EPOCH,
            frames,
        };
        self.node.append(append).await.expect("it is durable");
        if self.bytes > ROLL_BYTES {
            self.roll().await;
        }
    }

    fn frame(&mut self) -> Frame {
        let body = FrameBody {
            kind: FrameKind::Data,
            head: Bytes::from_static(b"head"),
            parts: vec![self.part.clone()],
        };
        let frame = Frame::pack(self.extent, self.next, EPOCH, self.prev_crc, body);
        self.next = self.next.next();
        self.prev_crc = frame.crc;
        self.bytes += frame.encoded_len();
        frame
    }

    async fn roll(&mut self) {
        let extent = self.extent;
        self.extent.index = extent.index.next();
        (self.bytes, self.prev_crc) = (0, 0);
        self.open().await;
        let release = Release {
            extent,
            epoch: EPOCH,
        };
        self.node.release(release).await.expect("it is released");
    }
}

fn appends(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let tasks = Tasks::new();
    let node = runtime.block_on(async {
        let disk = Arc::new(FileDisk::open(folder.path()).expect("the folder is free"));
        let (clock, entropy) = (Clock::system(), Entropy::system());
        LogNode::open(disk, LogNodeConfig::default(), &clock, &entropy, &tasks).await
    });
    let node = node.expect("an empty folder opens");
    let mut group = c.benchmark_group("appended and synced");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(3));
    // Writers side by side share syncs.
    let cases = [
        (1, 1, 1 << 10),
        (64, 1, 1 << 10),
        (1, 1, 128 << 10),
        (4, 4, 128 << 10),
    ];
    for (case, (writers, frames, bytes)) in (0u32..).zip(cases) {
        let mut pens = runtime.block_on(async {
            let shards = (0..writers).map(|w| case * 100 + w);
            join_all(shards.map(|shard| Pen::new(&node, shard, bytes))).await
        });
        let all = u64::from(writers) * (frames * bytes) as u64;
        group.throughput(Throughput::Bytes(all));
        let name = format!("{writers} writers, {frames} frames of {bytes} B each");
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(join_all(pens.iter_mut().map(|pen| pen.append(frames)))));
        });
    }
    group.finish();
    runtime.block_on(node.close());
}

criterion_group!(benches, appends);
criterion_main!(benches);
