//! Release of hot extents: only what is sealed, tiered, and older than a committed checkpoint.

use bytes::Bytes;
use tidemark_journal::{ExtentId, FrameKind};
use tidemark_meta::keys::cold::{TierKey, TierRow};
use tidemark_meta::{MetaStore, keys};
use tidemark_types::{ExtentIdx, Lsn};

use crate::owner::{Owner, audit, body};
use crate::shaky::Fault;
use crate::world::{SHARD, World};

const ALL: Option<ExtentIdx> = Some(ExtentIdx(u64::MAX));

async fn tier(world: &World, tiered_lsn: Lsn) {
    let mut tx = world.store.begin();
    keys::put(tx.as_mut(), &TierKey(SHARD), &TierRow { tiered_lsn });
    tx.commit().await.expect("the store is healthy");
}

/// An owner that has rolled three times, with data in each extent. The newest one's checkpoint is not marked.
async fn rolled(world: &World) -> Owner {
    let mut owner = Owner::start(world, &world.start(1))
        .await
        .expect("nothing fails here");
    for _ in 0..3 {
        let extent = owner.writer.extent().id.index;
        let marked = owner.leases.mark_checkpoint(&owner.ownership, extent).await;
        marked.expect("still the owner");
        owner.append().expect("nothing fails here");
        owner.settle().await.expect("nothing fails here");
        assert!(owner.roll().await.expect("nothing fails here"));
        owner.settle().await.expect("nothing fails here");
    }
    owner
}

#[tokio::test(start_paused = true)]
async fn only_what_is_tiered_and_older_than_a_committed_checkpoint_goes() {
    let world = World::new(3, 2, 1);
    let owner = rolled(&world).await;
    let rows = world.extents().await;
    let indexes: Vec<ExtentIdx> = rows.iter().map(|(key, _)| key.index).collect();
    let release = |last| owner.leases.release_extents(&owner.ownership, last);
    assert_eq!(release(ALL).await.unwrap(), indexes[0], "nothing is tiered");
    // One frame short of the second extent's end.
    tier(&world, Lsn(rows[2].1.first.0 - 1)).await;
    assert_eq!(release(ALL).await.unwrap(), indexes[1]);
    assert!(owner.leases.forget_extents(&owner.ownership).await);
    for replica in &world.replicas {
        let id = |index| ExtentId {
            shard: SHARD,
            index,
        };
        assert_eq!(replica.frames(id(indexes[0])), []);
        assert_ne!(replica.frames(id(indexes[1])), []);
    }
    // Everything is tiered, and only as much as was asked for goes.
    tier(&world, Lsn(1 << 40)).await;
    assert_eq!(release(Some(indexes[1])).await.unwrap(), indexes[2]);
    // J1, J12: the newest extent with a committed checkpoint stays, whatever is tiered and asked.
    let newest = world.extents().await;
    let newest = newest
        .iter()
        .rev()
        .find(|(_, row)| row.ckpt)
        .unwrap()
        .0
        .index;
    assert_eq!(release(ALL).await.unwrap(), newest);
    assert_eq!(release(ALL).await.unwrap(), newest);
    let state = owner.state.clone();
    drop(owner);
    let found = audit(&world, 2).await.unwrap();
    assert_eq!(found[..state.len()], state);
}

/// The outcome of a release that nobody heard of is found by the next one; a zombie releases nothing.
#[tokio::test(start_paused = true)]
async fn lost_replies_are_settled_and_a_zombie_releases_nothing() {
    for fault in [
        Fault::Conflict,
        Fault::UnknownCommitted,
        Fault::UnknownNotCommitted,
    ] {
        let world = World::new(1, 1, 2);
        let owner = rolled(&world).await;
        tier(&world, Lsn(1 << 40)).await;
        let before = world.extents().await.len();
        world.store.knobs.lock().script.push_back(Some(fault));
        let first = owner
            .leases
            .release_extents(&owner.ownership, ALL)
            .await
            .unwrap();
        let rows = world.extents().await;
        assert!(rows.len() < before);
        assert_eq!(rows[0].0.index, first, "{fault:?}");
        let taken = Owner::start(&world, &world.start(2)).await.unwrap();
        let rows = world.extents().await.len();
        assert!(
            owner
                .leases
                .release_extents(&owner.ownership, ALL)
                .await
                .is_err()
        );
        assert_eq!(world.extents().await.len(), rows);
        drop(taken);
    }
}

/// What is left of checkpoints that broke off is given up behind the newest one that is marked; a whole one without a mark is
/// not, nor the extent it is in.
#[tokio::test(start_paused = true)]
async fn empty_extents_go_and_those_with_a_checkpoint_stay() {
    let world = World::new(3, 2, 5);
    let owner = rolled(&world).await;
    let state = owner.state.clone();
    let whole = owner.writer.extent().id.index;
    let mut taken = None;
    for incarnation in 2..6 {
        let next = world.start(incarnation).take(SHARD).await.unwrap();
        let half = body(FrameKind::Checkpoint, Bytes::from_static(&[0; 8]));
        let lsn = next.writer.append(half).unwrap();
        next.writer.wait_committed(lsn.next()).await.unwrap();
        taken = Some(next);
    }
    let taken = taken.unwrap();
    let leases = owner.leases.clone();
    let give_up = || leases.give_up_empty(&taken.ownership);
    let open = taken.writer.extent().id.index;
    let sealed: Vec<ExtentIdx> = (0..open.0).map(ExtentIdx).collect();
    assert_eq!(give_up().await.unwrap(), sealed, "nothing is tiered");
    tier(&world, Lsn(1 << 40)).await;
    let (kept, empty) = sealed.split_at(sealed.len() - 3);
    assert_eq!(kept.last(), Some(&whole));
    // Its first answer is lost.
    let lost = Some(Fault::UnknownCommitted);
    world.store.knobs.lock().script.push_back(lost);
    assert_eq!(give_up().await.unwrap(), kept);
    assert_eq!(give_up().await.unwrap(), kept);
    assert!(leases.forget_extents(&taken.ownership).await);
    for replica in &world.replicas {
        let frames = |index| {
            let shard = SHARD;
            replica.frames(ExtentId { shard, index })
        };
        assert!(empty.iter().all(|index| frames(*index).is_empty()));
    }
    let rows = world.extents().await;
    let left: Vec<ExtentIdx> = rows.iter().map(|(key, _)| key.index).collect();
    assert_eq!(left, [kept, &[open]].concat());
    drop((owner, taken));
    let found = audit(&world, 9).await.unwrap();
    assert_eq!(found[..state.len()], state);
}
