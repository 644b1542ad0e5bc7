//! What reading frames takes: off the disk, and in memory for as long as they are held.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use tidemark_journal::{Frame, ReadFrames, Replica, read_memory_bytes_max};
use tidemark_lognode::sim::SimDisk;
use tidemark_lognode::{Disk, DiskFile, LogNode, LogNodeConfig};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::Lsn;

use crate::rig::{Pen, append, extent, open};

/// A disk whose reads are counted: in all, and for as long as anybody holds their bytes.
#[derive(Clone, Debug)]
struct Counting<T> {
    inner: T,
    read: Arc<AtomicUsize>,
    live: Arc<AtomicUsize>,
}

impl<T> Counting<T> {
    fn new(inner: T) -> Self {
        let (read, live) = Default::default();
        Self { inner, read, live }
    }

    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let (read, live) = (Arc::clone(&self.read), Arc::clone(&self.live));
        Arc::new(Counting { inner, read, live })
    }
}

impl Disk for Counting<SimDisk> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.inner.create(name, bytes)?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.inner.open(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync_dir(&self) -> io::Result<()> {
        self.inner.sync_dir()
    }
    fn blocks(&self) -> bool {
        false
    }
    fn folder(&self) -> String {
        self.inner.folder()
    }
}

impl DiskFile for Counting<Arc<dyn DiskFile>> {
    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }
    fn grow(&self, bytes: u64) -> io::Result<()> {
        self.inner.grow(bytes)
    }
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        self.inner.write_at(offset, slices)
    }
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let bytes = self.inner.read_at(offset, len)?;
        self.read.fetch_add(bytes.len(), Ordering::Relaxed);
        self.live.fetch_add(bytes.len(), Ordering::Relaxed);
        let live = Arc::clone(&self.live);
        Ok(Bytes::from_owner(Read { bytes, live }))
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

struct Read {
    bytes: Bytes,
    live: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        self.live.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// Appends of two shards: which one, and the frame's bytes.
fn appends() -> impl Strategy<Value = Vec<(u32, usize)>> {
    let bytes = prop_oneof![3 => 0..3_000_usize, 1 => 20_000..200_000_usize];
    prop::collection::vec((0..2_u32, bytes), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However little of what was read is the answer, and wherever it lies: that much is all that is held.
    #[test]
    fn frames_hold_little_beside_themselves(appends in appends(), bytes_max in 0..400_000_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let (held, bytes, read, written) = runtime.block_on(read_back(&appends, bytes_max));
        prop_assert!(held <= read_memory_bytes_max(bytes), "{held} held for {bytes} bytes");
        prop_assert!(read == written, "copies are the frames");
    }
}

/// Writes, reads the first shard's frames at once, and gives what they hold, their bytes, and both sides.
async fn read_back(
    appends: &[(u32, usize)],
    bytes_max: usize,
) -> (usize, usize, Vec<Frame>, Vec<Frame>) {
    let disk = Counting::new(SimDisk::new(&Entropy::seeded(7)));
    let live = Arc::clone(&disk.live);
    let (node, mut pens) = shards_on::<2>(disk, 1 << 20).await;
    let mut written = Vec::new();
    for (shard, bytes) in appends {
        let pen = &mut pens[*shard as usize];
        let frame = pen.frame(*bytes);
        if *shard == 0 {
            written.push(frame.clone());
        }
        append(&node, pen.extent, 1, vec![frame]).await.unwrap();
    }
    let before = live.load(Ordering::Relaxed);
    let request = ReadFrames {
        extent: pens[0].extent,
        from: Lsn(0),
        end: Lsn(written.len() as u64),
        bytes_max,
    };
    let read = node.read(request).await.unwrap();
    let held = live.load(Ordering::Relaxed) - before;
    let bytes = read.iter().map(Frame::encoded_len).sum();
    written.truncate(read.len());
    (held, bytes, read, written)
}

async fn node_on(disk: Counting<SimDisk>, segment_bytes: u64) -> Arc<LogNode> {
    let config = LogNodeConfig {
        segment_bytes,
        ..LogNodeConfig::small()
    };
    let (clock, entropy, tasks) = (Clock::system(), Entropy::seeded(7), Tasks::new());
    let node = LogNode::open(Arc::new(disk), config, &clock, &entropy, &tasks);
    node.await.unwrap()
}

/// A node with an open extent per shard, and who writes it.
async fn shards_on<const N: usize>(
    disk: Counting<SimDisk>,
    segment_bytes: u64,
) -> (Arc<LogNode>, [Pen; N]) {
    let node = node_on(disk, segment_bytes).await;
    let pens = std::array::from_fn(|shard| Pen::new(extent(shard as u32, 0), 1));
    for pen in &pens {
        open(&node, pen.extent, 1, 0).await.unwrap();
    }
    (node, pens)
}

/// Four shards that are written to at the same time share blocks; whoever reads one leaves the others' frames on the disk, and
/// does not even look at the blocks' heads. A restart finds frames of closed segments by the heads.
#[tokio::test(start_paused = true)]
async fn one_shards_frames_are_read_out_of_blocks_of_many() {
    const SEGMENT_BYTES: u64 = 4 << 20;
    let disk = Counting::new(SimDisk::new(&Entropy::seeded(7)));
    let (node, mut pens) = shards_on::<4>(disk.clone(), SEGMENT_BYTES).await;
    let mut written = Vec::new();
    for round in 0..16 {
        let frames = pens.each_mut().map(|pen| pen.frame(130_000 + round));
        written.push(frames[0].clone());
        let sent = pens.iter().zip(frames);
        let sent = sent.map(|(pen, frame)| append(&node, pen.extent, 1, vec![frame]));
        futures_util::future::try_join_all(sent).await.unwrap();
    }
    let bytes: usize = written.iter().map(Frame::encoded_len).sum();
    for bytes_max in [300_000, 1 << 20] {
        let read = read_all(&node, &disk, &written, bytes_max).await;
        assert_eq!(read, bytes);
    }
    node.close().await;
    let node = node_on(disk.clone(), SEGMENT_BYTES).await;
    for bytes_max in [300_000, 1 << 20] {
        let read = read_all(&node, &disk, &written, bytes_max).await;
        assert!(bytes < read && read < bytes * 5 / 4, "{read} for {bytes}");
    }
}

/// Reads an extent from its start until all that was written is back, and gives the bytes that were read for it.
async fn read_all(
    node: &LogNode,
    disk: &Counting<SimDisk>,
    written: &[Frame],
    bytes_max: usize,
) -> usize {
    disk.read.store(0, Ordering::Relaxed);
    let mut back: Vec<Frame> = Vec::new();
    while back.len() < written.len() {
        let request = ReadFrames {
            extent: written[0].extent,
            from: Lsn(back.len() as u64),
            end: Lsn(written.len() as u64),
            bytes_max,
        };
        back.extend(node.read(request).await.unwrap());
    }
    assert!(back == written);
    disk.read.load(Ordering::Relaxed)
}

/// Small blocks between large ones (commits of offsets, marks) do not make the large ones' readers read all that lies around.
#[tokio::test(start_paused = true)]
async fn small_blocks_between_large_ones_cost_little() {
    let disk = Counting::new(SimDisk::new(&Entropy::seeded(8)));
    let (node, mut pens) = shards_on::<4>(disk.clone(), 32 << 20).await;
    let mut written = Vec::new();
    for round in 0..16 {
        for (shard, pen) in pens.iter_mut().enumerate() {
            let bytes = [140_000 + round, 500];
            for frame in bytes.map(|bytes| pen.frame(bytes)) {
                append(&node, pen.extent, 1, vec![frame.clone()])
                    .await
                    .unwrap();
                if shard == 0 {
                    written.push(frame);
                }
            }
        }
    }
    let bytes: usize = written.iter().map(Frame::encoded_len).sum();
    let read = read_all(&node, &disk, &written, 8 << 20).await;
    assert!(read < bytes * 3 / 2, "{read} bytes read for {bytes}");
}

/// What a single shard writes is read through, however large and small frames follow one another.
#[tokio::test(start_paused = true)]
async fn mixed_frames_of_one_shard_are_read_once() {
    let disk = Counting::new(SimDisk::new(&Entropy::seeded(9)));
    let (node, [mut pen]) = shards_on::<1>(disk.clone(), 32 << 20).await;
    let mut written = Vec::new();
    for round in 0..96 {
        let frame = pen.frame([140_000, 500, 70_000][round % 3]);
        append(&node, pen.extent, 1, vec![frame.clone()])
            .await
            .unwrap();
        written.push(frame);
    }
    let bytes: usize = written.iter().map(Frame::encoded_len).sum();
    let read = read_all(&node, &disk, &written, 8 << 20).await;
    assert!(read < bytes * 5 / 4, "{read} bytes read for {bytes}");
}
