//! Readers beside writers that roll segments and release extents, on real files and threads.
#![allow(
    clippy::disallowed_methods,
    reason = "a reader's panic must reach its test"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tidemark_journal::{ExtentId, Frame, ReadFrames, Release, Replica, ReplicaError};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, Lsn};

use crate::rig::{Pen, append, extent, open};

const EXTENTS: u64 = 14;
const FRAMES: usize = 8;

/// What was acked and not yet released.
type Held = Arc<Mutex<BTreeMap<ExtentId, Vec<Frame>>>>;

/// Fills extent after extent of a shard and releases the one before last.
async fn write(node: Arc<LogNode>, held: Held, shard: u32, frame_bytes: usize) {
    for index in 0..EXTENTS {
        let e = extent(shard, index);
        open(&node, e, 1, 0).await.unwrap();
        let mut pen = Pen::new(e, 1);
        pen.salt = shard as u8 ^ (index as u8) << 3;
        for _ in 0..FRAMES {
            let frame = pen.frame(frame_bytes);
            append(&node, e, 1, vec![frame.clone()]).await.unwrap();
            held.lock().entry(e).or_default().push(frame);
        }
        if let Some(old) = index.checked_sub(2) {
            let (extent, epoch) = (extent(shard, old), Epoch(1));
            held.lock().remove(&extent);
            node.release(Release { extent, epoch }).await.unwrap();
        }
    }
}

/// Reads what is held in small pieces, from anywhere, until the writers are done.
async fn read(
    node: Arc<LogNode>,
    held: Held,
    seed: u64,
    done: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
) {
    let entropy = Entropy::seeded(seed);
    while !done.load(Ordering::Acquire) {
        let picked = {
            let held = held.lock();
            let nth = entropy.below(held.len().max(1) as u64) as usize;
            held.iter().nth(nth).map(|(e, frames)| (*e, frames.clone()))
        };
        let Some((e, expected)) = picked else {
            tokio::task::yield_now().await;
            continue;
        };
        let from = entropy.below(expected.len() as u64) as usize;
        let request = ReadFrames {
            extent: e,
            from: Lsn(from as u64),
            end: Lsn(expected.len() as u64),
            bytes_max: expected[0].encoded_len() * 5 / 2,
        };
        match node.read(request).await {
            Ok(frames) => {
                assert!(!frames.is_empty(), "{e} from {from}");
                assert_eq!(
                    frames,
                    expected[from..from + frames.len()],
                    "{e} from {from}"
                );
                reads.fetch_add(1, Ordering::Relaxed);
            }
            // Only what was released meanwhile, never damage: a recycled file is told from a rotten one.
            Err(ReplicaError::NoSuchExtent(_)) => assert!(!held.lock().contains_key(&e)),
            Err(error) => panic!("{e} from {from}: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_exact_frames_while_segments_roll_and_extents_go() {
    while_segments_roll(2, 60_000, 256 << 10).await;
}

/// Blocks this large, of this many shards, are read in parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_readers_of_frames_that_lie_apart() {
    while_segments_roll(4, 140_000, 1 << 20).await;
}

/// Of frames too small for a point of their own, the heads of blocks are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_do_readers_that_look_at_the_heads_of_blocks() {
    while_segments_roll(6, 60_000, 1 << 20).await;
}

async fn while_segments_roll(shards: u32, frame_bytes: usize, segment_bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let disk = Arc::new(FileDisk::open(folder.path()).unwrap());
    let config = LogNodeConfig {
        segment_bytes,
        disk_bytes_max: segment_bytes * 32,
        ..LogNodeConfig::default()
    };
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let node = LogNode::open(disk, config, &clock, &entropy, &tasks);
    let node = node.await.unwrap();
    let (held, done, reads) = (
        Held::default(),
        Arc::new(AtomicBool::new(false)),
        Arc::default(),
    );
    let readers: Vec<_> = (0..3)
        .map(|seed| {
            read(
                node.clone(),
                held.clone(),
                seed,
                Arc::clone(&done),
                Arc::clone(&reads),
            )
        })
        .map(tokio::spawn)
        .collect();
    let writers = (0..shards).map(|shard| write(node.clone(), held.clone(), shard, frame_bytes));
    futures_util::future::join_all(writers).await;
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(reads.load(Ordering::Relaxed) > 0);
    let written = u64::from(shards) * EXTENTS * (FRAMES * frame_bytes) as u64;
    let stats = node.stats();
    assert!(stats.bytes_written > written, "{stats:?}");
    assert!(
        stats.disk_held_bytes <= segment_bytes * 32,
        "segments were recycled: {stats:?}"
    );
    node.close().await;
}
