//! A node on a simulated disk, and frames to feed it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidemark_journal::{
    Append, Appended, ExtentId, Fence, Fenced, Frame, FrameBody, FrameKind, Inventory, OpenExtent,
    Part, ReadFrames, Release, Replica, ReplicaError,
};
use tidemark_lognode::sim::{Crash, SimDisk};
use tidemark_lognode::{Disk, LogNode, LogNodeConfig, OpenError};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, ExtentIdx, Lsn, ShardId};

/// An extent's id.
pub(crate) fn extent(shard: u32, index: u64) -> ExtentId {
    let (shard, index) = (ShardId(shard), ExtentIdx(index));
    ExtentId { shard, index }
}

/// Writes one extent's frames, chained.
#[derive(Clone, Debug)]
pub(crate) struct Pen {
    pub(crate) extent: ExtentId,
    pub(crate) epoch: u64,
    pub(crate) next: u64,
    prev_crc: u32,
    /// Goes into the payload, so that frames of two tests' lives differ.
    pub(crate) salt: u8,
}

impl Pen {
    pub(crate) fn new(extent: ExtentId, epoch: u64) -> Self {
        Self {
            extent,
            epoch,
            next: 0,
            prev_crc: 0,
            salt: 0,
        }
    }

    pub(crate) fn frame(&mut self, payload_bytes: usize) -> Frame {
        self.frame_of(FrameKind::Data, payload_bytes)
    }

    pub(crate) fn frame_of(&mut self, kind: FrameKind, payload_bytes: usize) -> Frame {
        let seed = self.next as u8 ^ self.salt;
        let bytes: Vec<u8> = (0..payload_bytes)
            .map(|i| (i as u8).wrapping_mul(31) ^ seed)
            .collect();
        let bytes = Bytes::from(bytes);
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes) as u32;
        let part = Part {
            bytes,
            skip: 0,
            crc,
        };
        let body = FrameBody {
            kind,
            head: Bytes::copy_from_slice(&self.next.to_be_bytes()),
            parts: vec![part],
        };
        let epoch = Epoch(self.epoch);
        let frame = Frame::pack(self.extent, Lsn(self.next), epoch, self.prev_crc, body);
        self.next += 1;
        self.prev_crc = frame.crc;
        frame
    }

    pub(crate) fn frames(&mut self, count: usize, payload_bytes: usize) -> Vec<Frame> {
        (0..count).map(|_| self.frame(payload_bytes)).collect()
    }
}

/// A node that runs on a simulated disk.
pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) node: Arc<LogNode>,
    pub(crate) config: LogNodeConfig,
    pub(crate) entropy: Entropy,
}

impl Rig {
    pub(crate) async fn new(seed: u64) -> Self {
        Self::with(seed, LogNodeConfig::small()).await
    }

    pub(crate) async fn with(seed: u64, config: LogNodeConfig) -> Self {
        let entropy = Entropy::seeded(seed);
        let disk = SimDisk::new(&entropy);
        let node = start(&disk, &config, &entropy).await.unwrap();
        Self {
            disk,
            node,
            config,
            entropy,
        }
    }

    /// The process dies, bytes rot, the next one starts.
    pub(crate) async fn rot(&mut self, name: &str, at: u64) {
        self.disk = self.disk.crash(Crash::Process);
        assert!(self.disk.rot(name, at, 0x40));
        self.node = start(&self.disk, &self.config, &self.entropy)
            .await
            .unwrap();
    }

    /// File and offset of a frame on the disk.
    pub(crate) fn find(&self, frame: &Frame) -> (String, u64) {
        let needle = frame.chunks().next().unwrap();
        for (name, bytes) in self.disk.files() {
            let file = self.disk.open(&name).unwrap();
            let content = file.read_at(0, bytes as usize).unwrap();
            let at = content.windows(needle.len()).position(|w| w == needle);
            if let Some(at) = at {
                return (name, at as u64);
            }
        }
        panic!("frame {} is not on the disk", frame.lsn);
    }

    /// The machine goes down and comes back.
    pub(crate) async fn crash(&mut self, how: Crash) {
        self.disk = self.disk.crash(how);
        self.node = start(&self.disk, &self.config, &self.entropy)
            .await
            .unwrap();
    }

    pub(crate) async fn open(&self, extent: ExtentId, epoch: u64) -> Result<(), ReplicaError> {
        open(&self.node, extent, epoch, 0).await
    }

    pub(crate) async fn append(
        &self,
        extent: ExtentId,
        epoch: u64,
        frames: Vec<Frame>,
    ) -> Result<Appended, ReplicaError> {
        append(&self.node, extent, epoch, frames).await
    }

    pub(crate) async fn fence(&self, extent: ExtentId, epoch: u64) -> Result<Fenced, ReplicaError> {
        fence(&self.node, extent, epoch).await
    }

    pub(crate) async fn release(&self, extent: ExtentId, epoch: u64) -> Result<(), ReplicaError> {
        let epoch = Epoch(epoch);
        self.node.release(Release { extent, epoch }).await
    }

    pub(crate) async fn read_all(&self, extent: ExtentId, end: u64) -> Vec<Frame> {
        read_all(&self.node, extent, 0, end).await.unwrap()
    }

    /// Lets the idle mark be written.
    pub(crate) async fn fall_idle(&self) {
        Clock::system().sleep(Duration::from_secs(1)).await;
    }
}

pub(crate) async fn start(
    disk: &SimDisk,
    config: &LogNodeConfig,
    entropy: &Entropy,
) -> Result<Arc<LogNode>, OpenError> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    LogNode::open(
        Arc::new(disk.clone()),
        config.clone(),
        &clock,
        entropy,
        &tasks,
    )
    .await
}

pub(crate) async fn open(
    node: &LogNode,
    extent: ExtentId,
    epoch: u64,
    first: u64,
) -> Result<(), ReplicaError> {
    let request = OpenExtent {
        extent,
        epoch: Epoch(epoch),
        first_lsn: Lsn(first),
    };
    node.open(request).await
}

pub(crate) async fn append(
    node: &LogNode,
    extent: ExtentId,
    epoch: u64,
    frames: Vec<Frame>,
) -> Result<Appended, ReplicaError> {
    let epoch = Epoch(epoch);
    let request = Append {
        extent,
        epoch,
        frames,
    };
    node.append(request).await
}

pub(crate) async fn fence(
    node: &LogNode,
    extent: ExtentId,
    epoch: u64,
) -> Result<Fenced, ReplicaError> {
    let epoch = Epoch(epoch);
    node.fence(Fence { extent, epoch }).await
}

/// Reads `[from, end)` in small steps.
pub(crate) async fn read_all(
    node: &LogNode,
    extent: ExtentId,
    from: u64,
    end: u64,
) -> Result<Vec<Frame>, ReplicaError> {
    let mut out: Vec<Frame> = Vec::new();
    loop {
        let from = Lsn(from + out.len() as u64);
        let request = ReadFrames {
            extent,
            from,
            end: Lsn(end),
            bytes_max: 10_000,
        };
        let some = node.read(request).await?;
        if some.is_empty() {
            return Ok(out);
        }
        out.extend(some);
    }
}

pub(crate) fn held(first: u64, end: u64) -> Inventory {
    Inventory::Held {
        first: Lsn(first),
        end: Lsn(end),
    }
}
