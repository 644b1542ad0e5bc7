//! A disk that is full at any step that needs room, for a while: recovery, opens, appends, fences, marks, the switch to
//! the next segment, its preparation, releases.
//!
//! What was answered holds, a refusal is [`ReplicaError::Full`] and nothing else, and the same node goes on when there is
//! room again.

use std::io::ErrorKind;
use std::sync::Arc;

use tidemark_journal::{ExtentId, Frame, Inventory, Release, Replica, ReplicaError};
use tidemark_lognode::sim::{Crash, SimDisk};
use tidemark_lognode::{LogNode, LogNodeConfig, OpenError};
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::Epoch;

use crate::rig::{Pen, append, extent, fence, open, read_all, start};

/// More than any refusal that a test plans: a node that goes on refusing does not go on.
const PATIENCE: usize = 400;
/// Refusals in a row: one step; the few of one request, which also takes back what it began; many requests.
const TIMES: [u64; 3] = [1, 3, 60];

fn config() -> LogNodeConfig {
    LogNodeConfig {
        segment_bytes: 96 << 10,
        disk_bytes_max: (96 * 16) << 10,
        ..LogNodeConfig::small()
    }
}

/// Asks until there is room; how often there was none.
async fn until_room<T>(
    context: &str,
    mut ask: impl AsyncFnMut() -> Result<T, ReplicaError>,
) -> (T, usize) {
    for refused in 0..PATIENCE {
        match ask().await {
            Ok(answer) => return (answer, refused),
            Err(ReplicaError::Full(_)) => {}
            Err(other) => panic!("{context}: {other}"),
        }
    }
    panic!("{context}: still refused");
}

/// As [`until_room`] for a start. The next one finds the disk as the process before left it.
async fn start_until_room(
    disk: &SimDisk,
    entropy: &Entropy,
    context: &str,
) -> (SimDisk, Arc<LogNode>, usize) {
    let mut disk = disk.clone();
    for refused in 0..PATIENCE {
        match start(&disk, &config(), entropy).await {
            Ok(node) => return (disk, node, refused),
            Err(OpenError::Io { source, .. }) => {
                let said = source.to_string();
                assert!(
                    said.contains("space") || said.contains("full"),
                    "{context}: {said}"
                );
            }
            Err(other) => panic!("{context}: {other}"),
        }
        let left = disk.refusals_left();
        disk = disk.crash(Crash::Process);
        disk.refuse_from(0, left, ErrorKind::StorageFull);
    }
    panic!("{context}: never starts");
}

/// What the run leaves behind: the extents that were not released, with all their frames.
struct Done {
    kept: Vec<(ExtentId, Vec<Frame>)>,
    refused: usize,
}

/// Two shards write interleaved; each extent is fenced, followed by the next, and released when it has its data.
async fn work(node: &LogNode, context: &str) -> Done {
    let mut refused = 0;
    let mut kept = Vec::new();
    for round in 0..3u64 {
        let epoch = round + 1;
        let mut pens = [0, 1].map(|s| Pen::new(extent(s, round), epoch));
        let mut sent = [Vec::new(), Vec::new()];
        for pen in &pens {
            let e = pen.extent;
            refused += until_room(context, async || fence(node, e, epoch).await)
                .await
                .1;
            refused += until_room(context, async || open(node, e, epoch, 0).await)
                .await
                .1;
        }
        for step in 0..6 {
            for (pen, sent) in pens.iter_mut().zip(&mut sent) {
                pen.salt = round as u8;
                let frames = pen.frames(3, 300 + 1_900 * step);
                let e = pen.extent;
                let ask = async || append(node, e, epoch, frames.clone()).await;
                refused += until_room(context, ask).await.1;
                sent.extend(frames);
            }
        }
        // An idle WAL writes its mark.
        Clock::system()
            .sleep(std::time::Duration::from_secs(1))
            .await;
        for (e, _) in kept.drain(..) {
            let epoch = Epoch(epoch);
            let ask = async || node.release(Release { extent: e, epoch }).await;
            refused += until_room(context, ask).await.1;
        }
        kept.extend(pens.iter().map(|pen| pen.extent).zip(sent));
    }
    Done { kept, refused }
}

async fn check(node: &Arc<LogNode>, done: &Done, context: &str) {
    assert_eq!(
        node.extents().await.unwrap().len(),
        done.kept.len(),
        "{context}"
    );
    for (e, frames) in &done.kept {
        let read = read_all(node, *e, 0, u64::MAX).await.unwrap();
        assert_eq!(read, *frames, "{context}: {e}");
    }
}

/// The run's steps on a disk that always has room: those of the start, and all of them.
async fn steps() -> (u64, u64) {
    let entropy = Entropy::seeded(1);
    let disk = SimDisk::new(&entropy);
    let node = start(&disk, &config(), &entropy).await.unwrap();
    let started = disk.steps();
    let done = work(&node, "with room").await;
    assert_eq!(done.refused, 0);
    (started, disk.steps())
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_at_any_write_refuses_and_goes_on() {
    let (_, steps) = steps().await;
    let mut refused = 0;
    for times in TIMES {
        // A long outage meets the steps behind its first one too.
        let stride = if times > 3 { 5 } else { 1 };
        for step in (0..steps).step_by(stride) {
            let context = format!("{times} refusals from step {step} on");
            let entropy = Entropy::seeded(step * 5 + times);
            let disk = SimDisk::new(&entropy);
            disk.refuse_from(step, times, ErrorKind::StorageFull);
            let (disk, node, at_start) = start_until_room(&disk, &entropy, &context).await;
            let done = work(&node, &context).await;
            refused += done.refused + at_start;
            check(&node, &done, &context).await;
            assert!(!node.stats().poisoned, "{context}");
            // What it did while there was no room misleads no recovery.
            let disk = disk.crash(Crash::Power);
            let node = start(&disk, &config(), &entropy).await.unwrap();
            check(&node, &done, &context).await;
        }
    }
    assert!(refused > 200, "only {refused} refusals were answered");
}

/// The start after a crash, on a disk that filled up meanwhile: it fails in words, or serves what is there.
#[tokio::test(start_paused = true)]
async fn a_recovery_without_room_loses_nothing() {
    let entropy = Entropy::seeded(2);
    let first = SimDisk::new(&entropy);
    let node = start(&first, &config(), &entropy).await.unwrap();
    let done = work(&node, "before").await;
    for how in [Crash::Power, Crash::Process] {
        for times in TIMES {
            for step in 0..12 {
                let context = format!("{how:?}, {times} refusals from step {step} on");
                let disk = first.crash(how);
                disk.refuse_from(step, times, ErrorKind::QuotaExceeded);
                let (disk, node, _) = start_until_room(&disk, &entropy, &context).await;
                check(&node, &done, &context).await;
                for (e, frames) in &done.kept {
                    let fenced = until_room(&context, async || fence(&node, *e, 50).await).await;
                    let end = frames.len() as u64;
                    assert_eq!(fenced.0.inventory, crate::rig::held(0, end), "{context}");
                }
                let next = extent(0, 99);
                until_room(&context, async || open(&node, next, 50, 0).await).await;
                let disk = disk.crash(Crash::Power);
                let node = start(&disk, &config(), &entropy).await.unwrap();
                let held = node.extents().await.unwrap();
                let of_next = held.iter().find(|info| info.extent == next).unwrap();
                assert!(
                    matches!(of_next.inventory, Inventory::Held { .. }),
                    "{context}"
                );
            }
        }
    }
}

/// A disk that went read-only, or fails, is no full one: it is given up at once and in words, reads go on, and a start on
/// the mended disk serves everything that was answered.
#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_is_not_taken_for_a_full_one() {
    for (kind, words) in [
        (ErrorKind::ReadOnlyFilesystem, "read-only"),
        (ErrorKind::Other, "write wal-"),
    ] {
        let entropy = Entropy::seeded(3);
        let disk = SimDisk::new(&entropy);
        let node = start(&disk, &config(), &entropy).await.unwrap();
        let e = extent(0, 0);
        open(&node, e, 1, 0).await.unwrap();
        let mut pen = Pen::new(e, 1);
        let frames = pen.frames(2, 1_000);
        append(&node, e, 1, frames.clone()).await.unwrap();
        disk.refuse_from(disk.steps(), 1, kind);
        let refused = append(&node, e, 1, pen.frames(1, 1_000)).await.unwrap_err();
        assert!(matches!(refused, ReplicaError::Poisoned(_)), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(read_all(&node, e, 0, 2).await.unwrap(), frames);
        let node = start(&disk.crash(Crash::Power), &config(), &entropy)
            .await
            .unwrap();
        assert_eq!(read_all(&node, e, 0, 2).await.unwrap(), frames);
    }
}
