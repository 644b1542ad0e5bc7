//! What must hold for any damage to a WAL; shared by the fuzz target and the tests that replay its corpus.
//!
//! An input's first byte says what it is: 0xff, a segment file's content; an odd one, edits of a genuine WAL
//! whose sums are made right afterwards, or they would hide the rest of the decoder; an even one, edits alone.
//! An edit is six bytes: file, offset (two, big-endian), operation, value (two).

use std::io::IoSlice;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tidemark_journal::{
    Append, ExtentId, ExtentInfo, Fence, Frame, FrameBody, FrameKind, Inventory, OpenExtent, Part,
    ReadFrames, Release, Replica,
};
use tidemark_lognode::sim::{Crash, SimDisk};
use tidemark_lognode::{Disk, LogNode, LogNodeConfig, OpenError};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, ExtentIdx, Lsn, ShardId};

const SEGMENT_BYTES: usize = 32 << 10;
const PAGE: usize = 4096;
const HEADER: usize = 80;
const ENTRY: usize = 40;

/// Damages a WAL as `data` says and recovers it twice. Nothing may panic; what the node says it holds is read
/// or refused; the second start finds what the first one found, and the node goes on.
pub(crate) fn recovery(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(check(data));
}

async fn check(data: &[u8]) {
    let (mode, edits) = data.split_first().unwrap_or((&0, &[]));
    let mut files = genuine().await.clone();
    match mode {
        0xff => raw(&mut files, edits),
        _ => edits
            .chunks_exact(6)
            .for_each(|edit| apply(&mut files, edit)),
    }
    let forged = mode % 2 == 1;
    if forged {
        files.iter_mut().for_each(|(_, content)| resum(content));
    }
    let disk = on_disk(&files);
    let report = LogNode::verify_disk(&disk);
    let Ok(node) = start(&disk).await else {
        return;
    };
    assert!(report.is_ok(), "what opens can be verified");
    let first = node.extents().await.expect("extents");
    for info in &first {
        read(&node, info).await;
    }
    drop(node);
    let disk = disk.crash(Crash::Process);
    let node = start(&disk).await.expect("what opened once opens again");
    let again = node.extents().await.expect("extents");
    if !forged {
        let ends = |infos: &[ExtentInfo]| -> Vec<_> { infos.iter().map(end).collect() };
        assert_eq!(ends(&first), ends(&again), "recovery changes nothing");
    }
    goes_on(&node).await;
}

fn end(info: &ExtentInfo) -> (ExtentId, bool, Lsn) {
    match &info.inventory {
        Inventory::Held { end, .. } => (info.extent, true, *end),
        Inventory::Limbo { from, .. } => (info.extent, false, *from),
        Inventory::Absent => panic!("{} is listed and absent", info.extent),
    }
}

/// Reads what an extent is said to hold: the next frames, or an error, and an end in any case.
async fn read(node: &LogNode, info: &ExtentInfo) {
    let (extent, _, end) = end(info);
    let Inventory::Held { first, .. } = info.inventory else {
        return;
    };
    let mut next = first;
    while next < end {
        let request = ReadFrames {
            extent,
            from: next,
            end,
            bytes_max: 8 << 10,
        };
        let Ok(frames) = node.read(request).await else {
            return;
        };
        assert!(!frames.is_empty(), "{extent} ends early at {next}");
        for frame in frames {
            assert_eq!((frame.extent, frame.lsn), (extent, next));
            frame.verify_payload().expect("a whole frame");
            next = frame.lsn.next();
        }
    }
}

/// Whatever happened, a takeover with a higher epoch gets a new extent that works.
async fn goes_on(node: &LogNode) {
    let extent = extent(7, 1 << 40);
    let epoch = Epoch(u64::MAX);
    node.fence(Fence { extent, epoch }).await.expect("a fence");
    let (first_lsn, mut pen) = (Lsn(0), Pen::new(extent));
    let opened = node.open(OpenExtent {
        extent,
        epoch,
        first_lsn,
    });
    opened.await.expect("an open");
    let frames = vec![pen.frame(100)];
    let appended = node.append(Append {
        extent,
        epoch,
        frames,
    });
    assert_eq!(appended.await.expect("an append").end, Lsn(1));
}

async fn start(disk: &SimDisk) -> Result<Arc<LogNode>, OpenError> {
    let (clock, tasks) = (Clock::system(), Tasks::new());
    let config = LogNodeConfig {
        segment_bytes: SEGMENT_BYTES as u64,
        disk_bytes_max: 16 << 20,
        group_bytes_max: 16 << 10,
        ..LogNodeConfig::default()
    };
    let disk = Arc::new(disk.clone());
    LogNode::open(disk, config, &clock, &Entropy::seeded(1), &tasks).await
}

type Files = Vec<(String, Vec<u8>)>;

/// The files of a WAL with three extents over some segments, one of them released. The first is the cookie.
async fn genuine() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    if let Some(files) = FILES.get() {
        return files;
    }
    let disk = SimDisk::new(&Entropy::seeded(1));
    let node = start(&disk).await.expect("an empty disk");
    let epoch = Epoch(1);
    let mut pens: Vec<Pen> = (0..3).map(|shard| Pen::new(extent(shard, 0))).collect();
    for pen in &pens {
        let (extent, first_lsn) = (pen.extent, Lsn(0));
        let opened = node.open(OpenExtent {
            extent,
            epoch,
            first_lsn,
        });
        opened.await.expect("an open");
    }
    for bytes in [100, 5000, 9000, 300, 9000, 7000, 20, 9000] {
        for pen in &mut pens {
            let (extent, frames) = (pen.extent, vec![pen.frame(bytes)]);
            let appended = node.append(Append {
                extent,
                epoch,
                frames,
            });
            appended.await.expect("an append");
        }
    }
    let (extent, epoch) = (pens[1].extent, Epoch(2));
    node.fence(Fence { extent, epoch }).await.expect("a fence");
    let released = node.release(Release { extent, epoch });
    released.await.expect("a release");
    node.close().await;
    let files = disk.files().into_iter().map(|(name, bytes)| {
        let content = disk.open(&name).and_then(|f| f.read_at(0, bytes as usize));
        (name, content.expect("a file").to_vec())
    });
    FILES.get_or_init(|| files.collect())
}

fn raw(files: &mut Files, content: &[u8]) {
    files.truncate(1);
    let mut content = content.to_vec();
    content.resize(content.len().next_multiple_of(PAGE).max(PAGE), 0);
    files.push(("wal-000001".to_owned(), content));
}

fn apply(files: &mut Files, edit: &[u8]) {
    let segments = files.len() - 1;
    let content = &mut files[1 + usize::from(edit[0]) % segments].1;
    let at = usize::from(u16::from_be_bytes([edit[1], edit[2]])) % content.len();
    match edit[3] % 5 {
        0 => content[at] ^= edit[4].max(1),
        1 => content[at] = edit[4],
        2 => {
            let sector = at / 512 * 512;
            content[sector..sector + 512].fill(edit[4]);
        }
        3 => {
            let to = content.len().min(at + 4);
            let value = [edit[5], edit[5], edit[5], edit[4]];
            content[at..to].copy_from_slice(&value[..to - at]);
        }
        _ => {
            let to = usize::from(edit[4]) * PAGE % content.len();
            let page = at / PAGE * PAGE;
            content.copy_within(page..page + PAGE, to);
        }
    }
}

/// Makes every sum right that recovery checks before it looks at what was summed.
fn resum(content: &mut [u8]) {
    for page in (0..content.len()).step_by(PAGE) {
        let block = &mut content[page..];
        if !block.starts_with(b"tdwl") {
            continue;
        }
        let entries = u32::from_be_bytes(block[64..68].try_into().expect("four")) as usize;
        let table_end = entries.saturating_mul(ENTRY).saturating_add(HEADER);
        if table_end <= block.len() {
            let mut body_at = table_end;
            for entry in (HEADER..table_end).step_by(ENTRY) {
                let bytes = &block[entry + 32..entry + 36];
                let bytes = u32::from_be_bytes(bytes.try_into().expect("four")) as usize;
                let body_end = body_at.saturating_add(bytes);
                if matches!(block[entry], 5 | 6) && body_end <= block.len() {
                    let crc = crc32c(&block[body_at..body_end]);
                    block[entry + 36..entry + 40].copy_from_slice(&crc.to_be_bytes());
                }
                body_at = body_end;
            }
            let crc = crc32c(&block[HEADER..table_end]);
            block[68..72].copy_from_slice(&crc.to_be_bytes());
        }
        let crc = crc32c(&block[..76]);
        block[76..80].copy_from_slice(&crc.to_be_bytes());
    }
}

fn on_disk(files: &Files) -> SimDisk {
    let disk = SimDisk::new(&Entropy::seeded(1));
    for (name, content) in files {
        let file = disk.create(name, content.len() as u64).expect("a file");
        file.write_at(0, &[IoSlice::new(content)]).expect("a write");
        file.sync().expect("a sync");
    }
    disk.sync_dir().expect("a sync");
    disk
}

fn extent(shard: u32, index: u64) -> ExtentId {
    let (shard, index) = (ShardId(shard), ExtentIdx(index));
    ExtentId { shard, index }
}

/// Writes one extent's frames, chained, with the extent's shard as epoch 1's writer.
struct Pen {
    extent: ExtentId,
    next: u64,
    prev_crc: u32,
}

impl Pen {
    fn new(extent: ExtentId) -> Self {
        let (next, prev_crc) = (0, 0);
        Self {
            extent,
            next,
            prev_crc,
        }
    }

    fn frame(&mut self, payload_bytes: usize) -> Frame {
        let bytes = Bytes::from(vec![self.next as u8; payload_bytes]);
        let crc = crc32c(&bytes);
        let part = Part {
            bytes,
            skip: 0,
            crc,
        };
        let body = FrameBody {
            kind: FrameKind::Data,
            head: Bytes::new(),
            parts: vec![part],
        };
        let frame = Frame::pack(self.extent, Lsn(self.next), Epoch(1), self.prev_crc, body);
        self.next += 1;
        self.prev_crc = frame.crc;
        frame
    }
}

/// CRC32C by the definition, slow and independent of the library under test.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ (0x82f6_3b78 & (c & 1).wrapping_neg())
        })
    })
}
