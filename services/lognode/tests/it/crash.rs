//! A crash at every durable step of a workload that rolls, releases and recycles; after each, everything
//! answered must hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_journal::{ExtentId, Frame, Inventory, Probe, Release, Replica, ReplicaError};
use tidemark_lognode::sim::{Crash, SimDisk};
use tidemark_lognode::{LogNode, LogNodeConfig};
use tidemark_runtime::Entropy;
use tidemark_types::{Epoch, Lsn, ShardId};

use crate::rig::{Pen, append, extent, fence, open, read_all, start};

/// What was asked of the node and what it answered.
#[derive(Default)]
struct Ledger {
    sent: BTreeMap<ExtentId, Vec<Frame>>,
    /// End acked per extent; an entry is an acked open.
    acked: BTreeMap<ExtentId, u64>,
    /// Releases asked for; whether answered.
    released: BTreeMap<ExtentId, bool>,
    fence_asked: BTreeMap<ShardId, u64>,
    fence_acked: BTreeMap<ShardId, u64>,
    bytes_written: u64,
}

fn config() -> LogNodeConfig {
    LogNodeConfig {
        segment_bytes: 96 << 10,
        disk_bytes_max: (96 * 16) << 10,
        ..LogNodeConfig::small()
    }
}

/// Two shards write interleaved; each extent is fenced, followed by the next, and released when it has its data.
async fn work(node: &LogNode, ledger: &mut Ledger) -> Result<(), ReplicaError> {
    for round in 0..6u64 {
        let epoch = round / 2 + 1;
        for shard in 0..2 {
            let e = extent(shard, round);
            ledger.fence_asked.insert(e.shard, epoch);
            fence(node, e, epoch).await?;
            ledger.fence_acked.insert(e.shard, epoch);
            open(node, e, epoch, 0).await?;
            ledger.acked.insert(e, 0);
        }
        let mut pens = [0, 1].map(|s| Pen::new(extent(s, round), epoch));
        for step in 0..6 {
            for pen in &mut pens {
                pen.salt = round as u8;
                let frames = pen.frames(3, 300 + 1_900 * step);
                ledger
                    .sent
                    .entry(pen.extent)
                    .or_default()
                    .extend(frames.clone());
                let end = append(node, pen.extent, epoch, frames).await?.end;
                ledger.acked.insert(pen.extent, end.0);
            }
        }
        if let Some(old) = round.checked_sub(1) {
            for shard in 0..2 {
                let e = extent(shard, old);
                ledger.released.insert(e, false);
                let epoch = Epoch(epoch);
                node.release(Release { extent: e, epoch }).await?;
                ledger.released.insert(e, true);
            }
        }
    }
    Ok(())
}

async fn run(disk: &SimDisk, entropy: &Entropy) -> Ledger {
    let mut ledger = Ledger::default();
    if let Ok(node) = start(disk, &config(), entropy).await {
        let _ = work(&node, &mut ledger).await;
        node.close().await;
        ledger.bytes_written = node.stats().bytes_written;
    }
    ledger
}

async fn check(node: &Arc<LogNode>, ledger: &Ledger, context: &str) {
    for (shard, acked) in &ledger.fence_acked {
        let probe = Probe {
            extent: extent(shard.0, 0),
        };
        let fence = node.probe(probe).await.unwrap().fence.0;
        let asked = ledger.fence_asked[shard];
        assert!(
            (*acked..=asked).contains(&fence),
            "{context}: fence {fence} of shard {shard}"
        );
    }
    let found: BTreeMap<_, _> = node
        .extents()
        .await
        .unwrap()
        .into_iter()
        .map(|info| (info.extent, info.inventory))
        .collect();
    for (e, acked) in &ledger.acked {
        match (found.get(e), ledger.released.get(e)) {
            (None, Some(_)) => {}
            (Some(_), Some(true)) => panic!("{context}: {e} was released and is back"),
            (Some(Inventory::Held { first: Lsn(0), end }), _) => {
                assert!(
                    end.0 >= *acked,
                    "{context}: {e} lost acked frames, ends at {end}"
                );
            }
            other => panic!("{context}: {e} is {other:?}"),
        }
    }
    for (e, inventory) in &found {
        let Inventory::Held { end, .. } = inventory else {
            panic!("{context}: a crash is no damage, {e} is {inventory:?}");
        };
        let sent = ledger.sent.get(e).map_or(&[][..], Vec::as_slice);
        let read = read_all(node, *e, 0, u64::MAX).await.unwrap();
        assert_eq!(read.len() as u64, end.0, "{context}: {e}");
        assert_eq!(
            read,
            sent[..read.len()],
            "{context}: {e} holds what was never sent"
        );
    }
}

/// Frames that an extent takes after a crash: enough to close the segment that the crash left.
const MORE: usize = 16;

/// The node still works: extents begin in the segment that it found, and outgrow it.
async fn goes_on(node: &Arc<LogNode>, context: &str) {
    for shard in 0..2 {
        let e = extent(shard, 99);
        open(node, e, 100, 0).await.unwrap();
        let frames = Pen::new(e, 100).frames(MORE, 5000);
        for frame in &frames {
            append(node, e, 100, vec![frame.clone()]).await.unwrap();
        }
        let read = read_all(node, e, 0, u64::MAX).await.unwrap();
        assert_eq!(read, frames, "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_every_durable_step_loses_nothing_that_was_answered() {
    let entropy = Entropy::seeded(1);
    let whole = SimDisk::new(&entropy);
    let ledger = run(&whole, &entropy).await;
    assert_eq!(ledger.acked.len(), 12, "the workload runs to its end");
    let kept: u64 = whole.files().iter().map(|(_, bytes)| bytes).sum();
    assert!(kept < ledger.bytes_written, "segments are recycled");
    for step in 0..whole.steps() {
        let hows = [Crash::Power, Crash::Process];
        for how in &hows[..if step % 5 == 0 { 2 } else { 1 }] {
            let entropy = Entropy::seeded(step * 7 + 3);
            let disk = SimDisk::new(&entropy);
            disk.crash_at(step);
            let ledger = run(&disk, &entropy).await;
            let context = format!("step {step}, {how:?}");
            // Crashing again right after, or during, recovery changes nothing.
            let again = disk.crash(*how);
            again.crash_at(entropy.below(12));
            let _ = start(&again, &config(), &entropy).await;
            let disk = again.crash(Crash::Power);
            let node = start(&disk, &config(), &entropy).await.unwrap();
            check(&node, &ledger, &context).await;
            goes_on(&node, &context).await;
            let disk = disk.crash(Crash::Power);
            let node = start(&disk, &config(), &entropy).await.unwrap();
            let held = Inventory::Held {
                first: Lsn(0),
                end: Lsn(MORE as u64),
            };
            let infos = node.extents().await.unwrap();
            let new: Vec<_> = infos.iter().filter(|i| i.extent.index.0 == 99).collect();
            assert_eq!(new.len(), 2, "{context}");
            for info in new {
                assert_eq!(info.inventory, held, "{context}: {}", info.extent);
                let read = read_all(&node, info.extent, 0, u64::MAX).await.unwrap();
                assert_eq!(read.len(), MORE, "{context}");
            }
        }
    }
}
