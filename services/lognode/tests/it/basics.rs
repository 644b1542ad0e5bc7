//! What a replica promises, without faults.

use tidemark_journal::{Append, Inventory, ReadFrames, Replica, ReplicaError};
use tidemark_lognode::sim::Crash;
use tidemark_types::{Epoch, Lsn};

use crate::rig::{Pen, Rig, extent, held, open};

#[tokio::test(start_paused = true)]
async fn appended_frames_are_read_back_verbatim_also_after_a_crash() {
    for how in [Crash::Process, Crash::Power] {
        let mut rig = Rig::new(1).await;
        let e = extent(3, 7);
        let mut pen = Pen::new(e, 5);
        rig.open(e, 5).await.unwrap();
        let frames = pen.frames(40, 3000);
        for some in frames.chunks(3) {
            rig.append(e, 5, some.to_vec()).await.unwrap();
        }
        assert_eq!(rig.read_all(e, 40).await, frames);
        rig.crash(how).await;
        assert_eq!(rig.read_all(e, 40).await, frames);
        assert_eq!(rig.fence(e, 6).await.unwrap().inventory, held(0, 40));
    }
}

#[tokio::test(start_paused = true)]
async fn queued_appends_share_a_group_and_keep_their_order() {
    let rig = Rig::new(2).await;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let before = rig.node.stats().groups;
    let answers: Vec<_> = (0..20)
        .map(|_| {
            rig.node.append(Append {
                extent: e,
                epoch: Epoch(1),
                frames: pen.frames(1, 100),
            })
        })
        .collect();
    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().end, Lsn(i as u64 + 1));
    }
    assert_eq!(rig.node.stats().groups, before + 1);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_is_not_next_or_breaks_the_chain_is_refused() {
    let rig = Rig::new(3).await;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let frames = pen.frames(4, 100);
    rig.append(e, 1, frames[..1].to_vec()).await.unwrap();
    let gap = rig.append(e, 1, frames[2..].to_vec()).await.unwrap_err();
    let (got, expected) = (Lsn(2), Lsn(1));
    assert_eq!(
        gap,
        ReplicaError::Gap {
            extent: e,
            got,
            expected
        }
    );
    let mut other = Pen::new(e, 1);
    other.salt = 9;
    let others = other.frames(2, 100);
    let broken = rig.append(e, 1, others[1..].to_vec()).await.unwrap_err();
    assert!(matches!(broken, ReplicaError::Gap { .. }), "{broken}");
    let elsewhere = Pen::new(extent(0, 1), 1).frames(1, 10);
    let bad = rig.append(e, 1, elsewhere).await.unwrap_err();
    assert!(matches!(bad, ReplicaError::BadFrame { .. }), "{bad}");
    assert_eq!(
        rig.append(e, 1, frames[1..].to_vec()).await.unwrap().end,
        Lsn(4)
    );
}

#[tokio::test(start_paused = true)]
async fn a_verbatim_reappend_is_idempotent_and_other_bytes_are_refused() {
    // J7: an LSN never gets other bytes.
    let rig = Rig::new(4).await;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let frames = pen.frames(6, 100);
    rig.append(e, 1, frames[..4].to_vec()).await.unwrap();
    for part in [&frames[..2], &frames[1..4], &frames[..4], &frames[3..4]] {
        let end = rig.append(e, 2, part.to_vec()).await.unwrap().end;
        assert_eq!(end, Lsn(4), "nothing new");
    }
    assert_eq!(
        rig.append(e, 2, frames[2..].to_vec()).await.unwrap().end,
        Lsn(6)
    );
    let mut forger = Pen::new(e, 1);
    forger.salt = 1;
    let forged = forger.frames(7, 100);
    for part in [&forged[..2], &forged[5..6], &forged[..7]] {
        let refused = rig.append(e, 2, part.to_vec()).await.unwrap_err();
        assert!(
            matches!(
                refused,
                ReplicaError::BadFrame { .. } | ReplicaError::Gap { .. }
            ),
            "{refused}"
        );
    }
    assert_eq!(rig.read_all(e, 9).await, frames);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_in_the_same_group_is_recognised() {
    let rig = Rig::new(5).await;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let frames = pen.frames(3, 100);
    let send = |frames: &[tidemark_journal::Frame]| {
        rig.node.append(Append {
            extent: e,
            epoch: Epoch(1),
            frames: frames.to_vec(),
        })
    };
    let (all, again) = (send(&frames), send(&frames[..1]));
    assert_eq!(all.await.unwrap().end, Lsn(3));
    assert_eq!(again.await.unwrap().end, Lsn(3));
    assert_eq!(rig.read_all(e, 3).await, frames);
}

#[tokio::test(start_paused = true)]
async fn a_fence_stops_older_epochs_and_outlives_release_and_crash() {
    // J3, J4: drop the fence from the checkpoint, or keep it per extent, and this fails.
    let mut rig = Rig::new(6).await;
    let e = extent(2, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let frames = pen.frames(3, 100);
    rig.append(e, 1, frames[..2].to_vec()).await.unwrap();
    let fenced = rig.fence(e, 4).await.unwrap();
    assert_eq!(fenced.inventory, held(0, 2));
    let late = rig.append(e, 1, frames[2..].to_vec()).await.unwrap_err();
    let fence = Epoch(4);
    let what = "append";
    assert_eq!(late, ReplicaError::Fenced { what, fence });
    assert!(rig.fence(e, 3).await.is_err(), "never lowered");
    assert_eq!(
        rig.append(e, 4, frames[2..].to_vec()).await.unwrap().end,
        Lsn(3)
    );
    rig.release(e, 4).await.unwrap();
    for how in [Crash::Process, Crash::Power] {
        assert!(rig.append(e, 1, frames.clone()).await.is_err());
        assert!(
            rig.open(extent(2, 1), 3).await.is_err(),
            "open below the fence"
        );
        assert!(rig.release(extent(2, 1), 3).await.is_err());
        let probed = rig
            .node
            .probe(tidemark_journal::Probe { extent: e })
            .await
            .unwrap();
        assert_eq!((probed.fence, probed.end), (Epoch(4), None));
        rig.crash(how).await;
    }
    rig.open(extent(3, 0), 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_an_open_makes_an_extent() {
    // J4: a released extent must not look new to a paused old owner.
    let rig = Rig::new(7).await;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    let frames = pen.frames(2, 100);
    let missing = rig.append(e, 1, frames.clone()).await.unwrap_err();
    assert_eq!(missing, ReplicaError::NoSuchExtent(e));
    assert_eq!(rig.fence(e, 1).await.unwrap().inventory, Inventory::Absent);
    rig.open(e, 1).await.unwrap();
    rig.open(e, 1).await.unwrap();
    assert!(open(&rig.node, e, 1, 5).await.is_err(), "another first lsn");
    rig.append(e, 1, frames.clone()).await.unwrap();
    rig.open(e, 1).await.unwrap();
    assert_eq!(
        rig.read_all(e, 2).await,
        frames,
        "opening again lost nothing"
    );
    rig.release(e, 1).await.unwrap();
    rig.release(e, 1).await.unwrap();
    let gone = rig.append(e, 1, frames).await.unwrap_err();
    assert_eq!(gone, ReplicaError::NoSuchExtent(e));
}

#[tokio::test(start_paused = true)]
async fn a_read_never_passes_its_end_and_starts_in_the_middle() {
    // J6
    let rig = Rig::new(8).await;
    let (a, b) = (extent(0, 0), extent(1, 0));
    let (mut pa, mut pb) = (Pen::new(a, 1), Pen::new(b, 1));
    rig.open(a, 1).await.unwrap();
    rig.open(b, 1).await.unwrap();
    let mut frames = Vec::new();
    for _ in 0..300 {
        let some = pa.frames(1, 2000);
        frames.extend(some.clone());
        rig.append(a, 1, some).await.unwrap();
        rig.append(b, 1, pb.frames(1, 500)).await.unwrap();
    }
    for from in [0, 1, 77, 150, 299] {
        for end in [from, from + 1, 200, 300, 1000] {
            let request = ReadFrames {
                extent: a,
                from: Lsn(from),
                end: Lsn(end),
                bytes_max: usize::MAX,
            };
            let expected: Vec<_> = frames
                .iter()
                .filter(|f| f.lsn >= Lsn(from) && f.lsn < Lsn(end))
                .cloned()
                .collect();
            assert_eq!(
                rig.node.read(request).await.unwrap(),
                expected,
                "{from}..{end}"
            );
        }
    }
    let one = ReadFrames {
        extent: a,
        from: Lsn(9),
        end: Lsn(300),
        bytes_max: 0,
    };
    assert_eq!(rig.node.read(one).await.unwrap(), frames[9..10]);
}

#[tokio::test(start_paused = true)]
async fn an_ack_names_its_append_and_an_extent_has_one_writer() {
    // J3, J7
    let rig = Rig::new(8).await;
    let e = extent(0, 0);
    let mut pen = Pen::new(e, 1);
    rig.open(e, 1).await.unwrap();
    let frames = pen.frames(2, 100);
    rig.append(e, 1, frames.clone()).await.unwrap();
    let again = rig.append(e, 2, frames).await.unwrap();
    assert_eq!((again.epoch, again.end), (Epoch(2), Lsn(2)));
    pen.epoch = 2;
    let refused = rig.append(e, 2, pen.frames(1, 100)).await.unwrap_err();
    assert!(
        matches!(refused, ReplicaError::BadFrame { .. }),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_stops_at_its_end_inside_a_block() {
    // J6: the frames above a seal share their block with those below it.
    let rig = Rig::new(9).await;
    let e = extent(0, 0);
    rig.open(e, 1).await.unwrap();
    let frames = Pen::new(e, 1).frames(4, 100);
    rig.append(e, 1, frames.clone()).await.unwrap();
    assert_eq!(rig.read_all(e, 2).await, frames[..2]);
}
