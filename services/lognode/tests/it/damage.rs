//! Rot, and how it differs from a torn tail (J5).

use tidemark_journal::{Inventory, Probe, ReadFrames, Replica, ReplicaError};
use tidemark_lognode::{LogNode, LogNodeConfig};
use tidemark_types::{Epoch, Lsn};

use crate::rig::{Pen, Rig, extent, held, open};

/// Blocks of small frames are one page: the header is at its start.
fn block_of(at: u64) -> u64 {
    at / 4096 * 4096
}

fn limbo_from(inventory: &Inventory) -> (Lsn, String) {
    match inventory {
        Inventory::Limbo { from, why } => (*from, why.clone()),
        other => panic!("expected limbo, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_last_block_without_a_mark_is_a_torn_tail() {
    // The residual risk J5 documents: acked, then rotted before anything proved that it was synced.
    for in_header in [true, false] {
        let mut rig = Rig::new(11).await;
        let e = extent(0, 0);
        let mut pen = Pen::new(e, 1);
        rig.open(e, 1).await.unwrap();
        let frames = pen.frames(2, 500);
        rig.append(e, 1, frames[..1].to_vec()).await.unwrap();
        rig.append(e, 1, frames[1..].to_vec()).await.unwrap();
        let (name, at) = rig.find(&frames[1]);
        let at = if in_header { block_of(at) } else { at + 200 };
        rig.rot(&name, at).await;
        assert_eq!(rig.fence(e, 2).await.unwrap().inventory, held(0, 1));
        assert_eq!(
            rig.append(e, 2, frames[1..].to_vec()).await.unwrap().end,
            Lsn(2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_rotted_below_the_mark_is_limbo_and_names_its_bytes() {
    // J5: without the idle mark, or when the mark is not compared, the acked frame is silently cut.
    let mut rig = Rig::new(12).await;
    let (a, b) = (extent(0, 0), extent(1, 0));
    let (mut pa, mut pb) = (Pen::new(a, 1), Pen::new(b, 1));
    rig.open(a, 1).await.unwrap();
    rig.open(b, 1).await.unwrap();
    let frames = pa.frames(3, 500);
    rig.append(b, 1, pb.frames(2, 500)).await.unwrap();
    for frame in &frames {
        rig.append(a, 1, vec![frame.clone()]).await.unwrap();
    }
    rig.fall_idle().await;
    let (name, at) = rig.find(&frames[2]);
    rig.rot(&name, at + 200).await;
    let (from, why) = limbo_from(&rig.fence(a, 2).await.unwrap().inventory);
    assert_eq!(from, Lsn(2));
    assert!(
        why.contains(&name) && why.contains(&format!("bytes {at}..")),
        "{why}"
    );
    assert_eq!(
        rig.fence(b, 2).await.unwrap().inventory,
        held(0, 2),
        "only what is damaged"
    );
    assert_eq!(rig.read_all(a, 2).await, frames[..2]);
    let refused = rig.append(a, 2, pa.frames(1, 10)).await.unwrap_err();
    assert!(matches!(refused, ReplicaError::Damaged { .. }), "{refused}");
    let report = LogNode::verify_disk(&rig.disk).unwrap();
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
}

#[tokio::test(start_paused = true)]
async fn a_lost_block_puts_whatever_may_have_been_in_it_in_limbo() {
    // J4, J5: the damaged block may have held fences and opens as well as frames.
    let mut rig = Rig::new(13).await;
    let (a, b, c) = (extent(0, 0), extent(1, 0), extent(2, 0));
    let (mut pa, mut pb) = (Pen::new(a, 1), Pen::new(b, 1));
    for e in [a, b, c] {
        rig.open(e, 1).await.unwrap();
    }
    rig.fence(b, 1).await.unwrap();
    let frames = pa.frames(3, 500);
    let others = pb.frames(2, 500);
    rig.append(a, 1, frames[..2].to_vec()).await.unwrap();
    rig.append(b, 1, others[..1].to_vec()).await.unwrap();
    rig.append(a, 1, frames[2..].to_vec()).await.unwrap();
    rig.append(b, 1, others[1..].to_vec()).await.unwrap();
    let (name, at) = rig.find(&frames[2]);
    rig.rot(&name, block_of(at)).await;
    for again in 0..2 {
        let infos = rig.node.extents().await.unwrap();
        let inventory = |e| {
            let info = infos.iter().find(|i| i.extent == e);
            info.map(|i| i.inventory.clone()).unwrap()
        };
        let (from, why) = limbo_from(&inventory(a));
        assert_eq!(from, Lsn(2), "{again}");
        assert!(why.contains(&name), "{why}");
        assert_eq!(
            inventory(b),
            held(0, 2),
            "a later frame proves that none was lost"
        );
        assert_eq!(limbo_from(&inventory(c)).0, Lsn(0));
        rig.crash(tidemark_lognode::sim::Crash::Power).await;
    }
    // The fence may have been raised in the lost block: nothing is accepted before a new one.
    assert!(rig.append(b, 1, pb.frames(1, 10)).await.is_err());
    assert!(open(&rig.node, extent(1, 1), 1, 2).await.is_err());
    assert!(rig.node.probe(Probe { extent: b }).await.is_err());
    let unknown = rig.fence(extent(1, 1), 2).await.unwrap().inventory;
    assert_eq!(
        limbo_from(&unknown).0,
        Lsn(0),
        "it may have been opened there"
    );
    open(&rig.node, extent(1, 2), 2, 2).await.unwrap();
    assert_eq!(
        rig.fence(extent(1, 2), 3).await.unwrap().inventory,
        held(2, 2)
    );
    assert_eq!(
        rig.fence(extent(1, 3), 3).await.unwrap().inventory,
        Inventory::Absent
    );
    let probed = rig.node.probe(Probe { extent: b }).await.unwrap();
    assert_eq!(probed.fence, Epoch(3));
}

#[tokio::test(start_paused = true)]
async fn limbo_is_remembered_when_the_damaged_block_is_no_longer_replayed() {
    let mut rig = Rig::new(14).await;
    let (a, b) = (extent(0, 0), extent(1, 0));
    let (mut pa, mut pb) = (Pen::new(a, 1), Pen::new(b, 1));
    rig.open(a, 1).await.unwrap();
    let frames = pa.frames(2, 500);
    rig.append(a, 1, frames.clone()).await.unwrap();
    rig.fall_idle().await;
    let (name, at) = rig.find(&frames[1]);
    rig.rot(&name, at + 200).await;
    rig.open(b, 1).await.unwrap();
    for _ in 0..8 {
        rig.append(b, 1, pb.frames(1, 60_000)).await.unwrap();
    }
    rig.crash(tidemark_lognode::sim::Crash::Power).await;
    assert_eq!(
        limbo_from(&rig.fence(a, 2).await.unwrap().inventory).0,
        Lsn(1)
    );
}

#[tokio::test(start_paused = true)]
async fn rot_in_a_closed_segment_is_found_by_reads_and_by_verify() {
    let mut rig = Rig::new(15).await;
    rig.config.open_verify_bytes_max = 0;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let frames = pen.frames(12, 60_000);
    for frame in &frames {
        rig.append(e, 1, vec![frame.clone()]).await.unwrap();
    }
    let (name, at) = rig.find(&frames[2]);
    rig.rot(&name, at + 30_000).await;
    assert_eq!(rig.fence(e, 2).await.unwrap().inventory, held(0, 12));
    assert_eq!(rig.read_all(e, 2).await, frames[..2]);
    let read = |from| ReadFrames {
        extent: e,
        from: Lsn(from),
        end: Lsn(12),
        bytes_max: 1 << 20,
    };
    let damaged = rig.node.read(read(2)).await.unwrap_err();
    let text = damaged.to_string();
    assert!(text.contains(&name) && text.contains("bytes"), "{text}");
    assert_eq!(
        rig.node.read(read(3)).await.unwrap(),
        frames[3..],
        "what is whole is read"
    );
    let report = LogNode::verify_disk(&rig.disk).unwrap();
    assert_eq!(limbo_from(&report.extents[0].inventory).0, Lsn(2));
    rig.config.open_verify_bytes_max = u64::MAX;
    rig.crash(tidemark_lognode::sim::Crash::Process).await;
    assert_eq!(
        limbo_from(&rig.fence(e, 3).await.unwrap().inventory).0,
        Lsn(2)
    );
}

/// Frames of a shard that lie far apart are read together; one that rotted takes none of the others with it.
#[tokio::test(start_paused = true)]
async fn rot_among_frames_that_are_read_together_costs_that_frame() {
    // Blocks of one frame that is known by its own point, and of three that are found by the block's head.
    rot_among_frames(&[140_000], |at| at + 100_000, 1).await;
    rot_among_frames(&[60_000; 3], |at| at + 30_000, 1).await;
    rot_among_frames(&[60_000; 3], block_of, 3).await;
}

/// Blocks of these frames; the byte of the first frame of the fourth that rots, and how many frames that costs.
async fn rot_among_frames(bytes: &[usize], rotten: impl Fn(u64) -> u64, costs: usize) {
    let config = LogNodeConfig {
        segment_bytes: 32 << 20,
        open_verify_bytes_max: 0,
        ..LogNodeConfig::small()
    };
    let rig = Rig::with(16, config).await;
    let extents = [0, 1, 2].map(|shard| extent(shard, 0));
    let mut pens = extents.map(|e| Pen::new(e, 1));
    for e in extents {
        rig.open(e, 1).await.unwrap();
    }
    let mut frames = Vec::new();
    for _ in 0..6 {
        for (shard, pen) in pens.iter_mut().enumerate() {
            let block: Vec<_> = bytes.iter().map(|bytes| pen.frame(*bytes)).collect();
            rig.append(extents[shard], 1, block.clone()).await.unwrap();
            if shard == 0 {
                frames.extend(block);
            }
        }
    }
    let bad = 3 * bytes.len();
    let (name, at) = rig.find(&frames[bad]);
    assert!(rig.disk.rot(&name, rotten(at), 0x40));
    let read = |from: usize| ReadFrames {
        extent: extents[0],
        from: Lsn(from as u64),
        end: Lsn(frames.len() as u64),
        bytes_max: 4 << 20,
    };
    assert_eq!(rig.node.read(read(0)).await.unwrap(), frames[..bad]);
    let damaged = rig.node.read(read(bad)).await.unwrap_err();
    let is_there = matches!(damaged, ReplicaError::Damaged { from, .. } if from == Lsn(bad as u64));
    assert!(is_there, "{damaged}");
    let next = bad + costs;
    assert_eq!(rig.node.read(read(next)).await.unwrap(), frames[next..]);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_index_or_first_block_costs_no_frame_that_is_whole() {
    for first in [false, true] {
        let mut rig = Rig::new(16).await;
        let e = extent(0, 0);
        let mut pen = Pen::new(e, 1);
        rig.open(e, 1).await.unwrap();
        let frames = pen.frames(12, 60_000);
        for frame in &frames {
            rig.append(e, 1, vec![frame.clone()]).await.unwrap();
        }
        let (closed, _) = rig.find(&frames[1]);
        let at = if first { 0 } else { index_block(&rig, &closed) };
        rig.rot(&closed, at).await;
        assert_eq!(rig.fence(e, 2).await.unwrap().inventory, held(0, 12));
        assert_eq!(rig.read_all(e, 12).await, frames);
    }
}

/// The last block of a closed segment: its header is the last page with the block magic.
fn index_block(rig: &Rig, name: &str) -> u64 {
    use tidemark_lognode::Disk;
    let file = rig.disk.open(name).unwrap();
    let pages = file.bytes().unwrap() / 4096;
    let is_block = |page: &u64| &file.read_at(page * 4096, 4).unwrap()[..] == b"tdwl";
    (0..pages).rev().find(is_block).unwrap() * 4096
}

#[tokio::test(start_paused = true)]
async fn a_newest_segment_without_its_first_block_is_damage_not_emptiness() {
    let mut rig = Rig::new(17).await;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let frames = pen.frames(6, 60_000);
    for frame in &frames {
        rig.append(e, 1, vec![frame.clone()]).await.unwrap();
    }
    let (newest, _) = rig.find(&frames[5]);
    rig.rot(&newest, 0).await;
    // The frames behind the lost block continue the extent without a gap, so nothing is missing.
    assert_eq!(rig.fence(e, 2).await.unwrap().inventory, held(0, 6));
    assert_eq!(rig.read_all(e, 6).await, frames);
    let unknown = rig.fence(extent(0, 1), 3).await.unwrap().inventory;
    assert_eq!(limbo_from(&unknown).0, Lsn(0));
}

/// Rots the body of every segment's first block, its header stays whole, except of the `spared` one's.
async fn rot_checkpoints(rig: &mut Rig, spared: &str) {
    rig.disk = rig.disk.crash(tidemark_lognode::sim::Crash::Process);
    for (name, _) in rig.disk.files() {
        if name.starts_with("wal-") && name != spared {
            assert!(rig.disk.rot(&name, 80 + 40 + 2, 0x40));
        }
    }
    rig.crash(tidemark_lognode::sim::Crash::Process).await;
}

#[tokio::test(start_paused = true)]
async fn damaged_checkpoints_distrust_what_recycled_segments_held() {
    // J4, J5. Breaks when a gap in the blocks' sequence is ignored: the fence is forgotten silently.
    for recycled in [false, true] {
        let mut rig = Rig::new(18).await;
        let (kept, gone, fenced) = (extent(0, 0), extent(1, 0), extent(2, 0));
        let (mut pk, mut pg) = (Pen::new(kept, 1), Pen::new(gone, 1));
        rig.open(kept, 1).await.unwrap();
        rig.open(gone, 1).await.unwrap();
        let first = pk.frame(500);
        rig.append(kept, 1, vec![first.clone()]).await.unwrap();
        for _ in 0..5 {
            rig.append(gone, 1, pg.frames(1, 60_000)).await.unwrap();
        }
        rig.fence(fenced, 9).await.unwrap();
        for _ in 0..5 {
            rig.append(gone, 1, pg.frames(1, 60_000)).await.unwrap();
        }
        for index in 1..=u64::from(recycled) * 2 {
            // Freed segments are written over by the next extent.
            rig.release(pg.extent, 1).await.unwrap();
            pg = Pen::new(extent(1, index), 1);
            rig.open(pg.extent, 1).await.unwrap();
            for _ in 0..10 {
                rig.append(pg.extent, 1, pg.frames(1, 60_000))
                    .await
                    .unwrap();
            }
        }
        let last = pk.frame(500);
        rig.append(kept, 1, vec![last.clone()]).await.unwrap();
        rig.fall_idle().await;
        let (oldest, _) = rig.find(&first);
        let (newest, _) = rig.find(&last);
        assert_ne!(oldest, newest);
        rot_checkpoints(&mut rig, &oldest).await;
        let answer = rig.fence(fenced, 3).await;
        if recycled {
            let (from, why) = limbo_from(&answer.unwrap().inventory);
            assert_eq!(from, Lsn(0));
            assert!(why.contains("blocks before these are gone"), "{why}");
        } else {
            let refused = answer.unwrap_err();
            assert!(matches!(refused, ReplicaError::Fenced { .. }), "{refused}");
        }
        let report = LogNode::verify_disk(&rig.disk).unwrap();
        assert!(!report.damage.is_empty(), "the checkpoint is named");
    }
}

#[tokio::test(start_paused = true)]
async fn the_start_checks_the_newest_extents_first_and_within_its_budget() {
    let verified = |bytes_max: u64, rotten: usize| async move {
        let mut rig = Rig::new(19).await;
        rig.config.open_verify_bytes_max = bytes_max;
        let (older, newest) = (extent(0, 0), extent(0, 1));
        let (mut po, mut pn) = (Pen::new(older, 1), Pen::new(newest, 1));
        rig.open(older, 1).await.unwrap();
        let mut frames = po.frames(8, 60_000);
        for frame in &frames {
            rig.append(older, 1, vec![frame.clone()]).await.unwrap();
        }
        rig.open(newest, 1).await.unwrap();
        frames.extend(pn.frames(8, 60_000));
        for frame in &frames[8..] {
            rig.append(newest, 1, vec![frame.clone()]).await.unwrap();
        }
        let (name, at) = rig.find(&frames[rotten]);
        rig.rot(&name, at + 30_000).await;
        let infos = rig.node.extents().await.unwrap();
        let limbo =
            |i: &tidemark_journal::ExtentInfo| matches!(i.inventory, Inventory::Limbo { .. });
        infos.iter().any(limbo)
    };
    let segment = LogNodeConfig::small().segment_bytes;
    assert!(
        verified(4 * segment, 9).await,
        "the newest extent's oldest segment"
    );
    assert!(!verified(4 * segment, 0).await, "an older extent");
    assert!(!verified(0, 9).await, "no budget");
}
