//! The log nodes' disks are gone: what was tiered is served again, once an operator says so, and only then.

use std::sync::Arc;
use std::time::Duration;

use tidemark_lease::{TakeError, silent_nodes};
use tidemark_log::{AppendError, AppendOptions, ShardState};
use tidemark_meta::keys::extent::ExtentRow;
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_meta::{MetaStore, keys};
use tidemark_runtime::Tasks;
use tidemark_topics::Topic;
use tidemark_types::{LeaderEpoch, Lsn, PartitionIndex, ShardId};

use crate::tiering::{audit, bytes, fill, pause, state, tiered};
use crate::world::{P0, Process, TENANT, World, idempotent};

async fn epoch_end(p: &Process, topic: &Arc<Topic>, epoch: LeaderEpoch) -> (i32, i64) {
    let end = p
        .log
        .leader_epoch_end(&TENANT, topic, P0, None, epoch)
        .await;
    let end = end.unwrap();
    (end.epoch.0, end.end.0)
}

/// The values' offsets and whether each was known.
async fn send(p: &Process, topic: &Arc<Topic>, sequence: i32) -> Result<(i64, bool), AppendError> {
    let batch = idempotent(7, 0, sequence, 2);
    let sent = p
        .log
        .append(&TENANT, topic, P0, batch, AppendOptions::default());
    sent.await.map(|ack| (ack.base_offset.0, ack.duplicate))
}

async fn closed(p: &Process) -> String {
    for _ in 0..10_000 {
        let closed = p
            .log
            .status()
            .shards
            .into_iter()
            .find_map(|s| match s.state {
                ShardState::Closed { why } => Some(why),
                _ => None,
            });
        if let Some(why) = closed {
            return why;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no shard is closed");
}

/// A stop leaves an exact state behind: producers go on as if nothing had happened, and so does everything else.
#[tokio::test(start_paused = true)]
async fn a_drained_service_loses_nothing_with_its_disks() {
    let mut world = World::tiered(60);
    let p = world.start().await;
    let topic = p.topic("t", 2).await;
    fill(&p, &topic, 0, 40).await;
    for batch in 0..8 {
        send(&p, &topic, 2 * batch).await.unwrap();
    }
    let before = [
        bytes(&p, &topic, P0).await,
        bytes(&p, &topic, PartitionIndex(1)).await,
    ];
    let shard = topic.partition(P0).unwrap().shard;
    let acked = p.append(&topic, &["last"]).await.unwrap();
    assert_eq!(acked.base_offset.0, 96);
    let epochs = epoch_end(&p, &topic, acked.leader_epoch).await;
    p.stop().await;
    let saved = state(&world, shard).await.unwrap();
    audit(&world).await;

    world.wipe();
    let gone = world.gone().await;
    assert!(
        !gone.is_empty() && gone.iter().all(|g| g.is_tiered()),
        "{gone:?}"
    );
    let of_shard = gone.iter().find(|g| g.shard == shard).unwrap();
    assert_eq!(
        of_shard.tiered, saved.lsn,
        "the state is the one at the end"
    );

    // Without the operator's word nothing is served.
    let p = world.start_unready().await;
    pause(60).await;
    assert!(!p.log.status().is_ready());
    p.stop().await;
    assert_eq!(world.gone().await.len(), gone.len());

    world.give_up().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    let after = bytes(&p, &topic, P0).await;
    assert_eq!(after[..before[0].len()], before[0]);
    assert_eq!(bytes(&p, &topic, PartitionIndex(1)).await, before[1]);
    assert_eq!(epoch_end(&p, &topic, acked.leader_epoch).await, epochs);
    // The last five are remembered, the sixth is not.
    for (sequence, offset) in [(14, 94), (12, 92), (6, 86)] {
        assert_eq!(send(&p, &topic, sequence).await, Ok((offset, true)));
    }
    send(&p, &topic, 20).await.unwrap_err();
    assert_eq!(send(&p, &topic, 16).await, Ok((97, false)));
    let next = p.append(&topic, &["next"]).await.unwrap();
    assert_eq!(next.base_offset.0, 99);
    assert!(next.leader_epoch > acked.leader_epoch, "K6");
    audit(&world).await;
    p.stop().await;
    // From here on it is a service like any other.
    let p = world.start().await;
    let topic = p.find("t").await;
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 100);
    audit(&world).await;
}

/// An owner that died had acked more than was tiered: that is lost and named, the rest is served.
#[tokio::test(start_paused = true)]
async fn what_was_not_tiered_is_named_and_lost_and_no_more() {
    for seed in 61..65 {
        let mut world = World::tiered(seed);
        world.fill_disks(0);
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        fill(&p, &topic, 0, 60).await;
        pause(20).await;
        let cold = world.cold.clone().unwrap();
        cold.store
            .begin_outage(tidemark_blob::faulty::Outage::Unreachable, None);
        fill(&p, &topic, 60, 40).await;
        let before = p.read_all(&topic, P0, 0).await;
        let acked = p.append(&topic, &["lost"]).await.unwrap();
        let shard = topic.partition(P0).unwrap().shard;
        let rows = tiered(&world, shard).await.rows;
        let at = rows.last().unwrap().0.end;
        // The process goes without a word, and its disk with it.
        cold.store.heal();
        world.wipe();
        let gone = world.gone().await;
        let of_shard = gone.iter().find(|g| g.shard == shard).unwrap();
        let untiered = of_shard.untiered();
        assert!(!of_shard.is_tiered());
        assert!(untiered[0].0 >= at, "{untiered:?}");
        assert_eq!(
            untiered.last().unwrap().1,
            None,
            "of an open extent nobody knows"
        );

        world.give_up().await;
        let p = world.start().await;
        let topic = p.find("t").await;
        let read = p.read_all(&topic, P0, 0).await;
        let end = read.len();
        assert!((100..200).contains(&end), "{end}");
        assert_eq!(read, before[..end]);
        let next = p.append(&topic, &["next"]).await.unwrap();
        assert_eq!(next.base_offset.0, i64::try_from(end).unwrap());
        assert!(next.leader_epoch > acked.leader_epoch);
        // Whoever read what is lost learns that the log went back.
        let (_, diverged) = epoch_end(&p, &topic, acked.leader_epoch).await;
        assert_eq!(diverged, i64::try_from(end).unwrap());
        fill(&p, &topic, 200, 60).await;
        world.fill_disks(700);
        pause(20).await;
        assert_eq!(p.read_all(&topic, P0, 0).await.len(), end + 121);
        audit(&world).await;
        p.stop().await;
    }
}

/// With no state object at all, headers alone say what producers sent and where epochs began.
#[tokio::test(start_paused = true)]
async fn headers_alone_give_offsets_epochs_and_sequences() {
    let mut world = World::tiered(66);
    let mut epochs = Vec::new();
    for life in 0..3 {
        let p = world.start().await;
        let topic = match life {
            0 => p.topic("t", 1).await,
            _ => p.find("t").await,
        };
        for batch in 0..3 {
            send(&p, &topic, 6 * life + 2 * batch).await.unwrap();
        }
        epochs.push(p.append(&topic, &["v"]).await.unwrap().leader_epoch);
        p.stop().await;
    }
    for shard in [ShardId(0), ShardId(1)] {
        let mut tx = world.store.begin();
        keys::clear(tx.as_mut(), &StateKey(shard));
        tx.commit().await.unwrap();
    }
    world.wipe();
    world.give_up().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 21);
    for (life, epoch) in (1..).zip(&epochs) {
        let expected = (epoch.0, 7 * life);
        assert_eq!(epoch_end(&p, &topic, *epoch).await, expected);
    }
    assert_eq!(send(&p, &topic, 16).await, Ok((18, true)));
    assert_eq!(send(&p, &topic, 18).await, Ok((21, false)));
}

/// Whatever step the rebuild dies at, the same again goes on, and only the operator's part needs its word again.
#[tokio::test(start_paused = true)]
async fn a_rebuild_that_dies_at_any_step_is_gone_on_with() {
    use tidemark_meta::faulty::Fault;
    for commit in 0..14 {
        let mut world = World::tiered(70 + commit);
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        fill(&p, &topic, 0, 50).await;
        let before = bytes(&p, &topic, P0).await;
        p.stop().await;
        world.wipe();
        // Each commit fails, or its reply is lost, from one on.
        let fault = if commit % 2 == 0 {
            Fault::LostReply
        } else {
            Fault::Unavailable
        };
        let tasks = Tasks::new();
        let leases = world.leases(&tasks).await;
        for gone in world.gone().await {
            let nodes = gone.nodes();
            let silent = silent_nodes(&world.store, &world.clock, &nodes, Duration::ZERO);
            let silent = silent.await.unwrap();
            world.store.plan(fault);
            // Dropped in the middle: nothing of it matters to the one that follows.
            let here = world.here();
            let give_up = leases.give_up_gone(gone.shard, &here, &silent);
            let _ = tokio::time::timeout(Duration::from_millis(commit), give_up).await;
        }
        world.give_up().await;
        // And a process that dies before its checkpoint is committed.
        let q = world.start_unready().await;
        tokio::time::sleep(Duration::from_millis(commit / 2)).await;
        let p = world.start().await;
        let topic = p.find("t").await;
        assert_eq!(bytes(&p, &topic, P0).await, before, "commit {commit}");
        p.append(&topic, &["next"]).await.unwrap();
        audit(&world).await;
        p.stop().await;
        q.stop().await;
    }
}

/// A retained extent always has a checkpoint. Should none have one without anyone having given it up, nothing is invented.
#[tokio::test(start_paused = true)]
async fn nothing_is_rebuilt_without_the_operators_word() {
    let mut world = World::tiered(90);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 50).await;
    let shard = topic.partition(P0).unwrap().shard;
    p.stop().await;
    world.wipe();
    world.give_up().await;
    // The rows forget that they were given up.
    let rows = world.extents(shard).await;
    let mut tx = world.store.begin();
    for (key, row) in &rows {
        let emptied = ExtentRow {
            first: row.first,
            lost: None,
            state: tidemark_meta::keys::extent::ExtentState::Sealed(row.first),
            ..row.clone()
        };
        keys::put(tx.as_mut(), key, &emptied);
    }
    tx.commit().await.unwrap();
    let p = world.start_unready().await;
    let why = closed(&p).await;
    assert!(why.contains("serve --rebuild"), "{why}");
    p.stop().await;
}

/// What an unclean seal gives up of an extent that was tiered is not lost: offsets, sequences and readers go on behind it.
#[tokio::test(start_paused = true)]
async fn an_unclean_seal_loses_nothing_that_was_tiered() {
    let world = World::tiered(93);
    world.fill_disks(0);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 30).await;
    for batch in 0..4 {
        send(&p, &topic, 2 * batch).await.unwrap();
    }
    let before = bytes(&p, &topic, P0).await;
    let shard = topic.partition(P0).unwrap().shard;
    p.stop().await;
    let rows = world.extents(shard).await;
    let (key, row) = rows.last().unwrap();
    let newest = tidemark_journal::ExtentId {
        shard,
        index: key.index,
    };
    // Its checkpoint takes two frames; of its data, one frame is left.
    world.replicas[0].rot(newest, Lsn(row.first.0 + 3));
    let p = world.start_unready().await;
    closed(&p).await;
    let sealed = p.leases.unclean_seal(shard).await.unwrap();
    assert_eq!(sealed.lost.len(), 1, "{sealed:?}");
    p.log.reopen(shard);
    p.log.serving().await;
    let topic = p.find("t").await;
    assert_eq!(bytes(&p, &topic, P0).await, before);
    assert_eq!(send(&p, &topic, 6).await, Ok((66, true)));
    assert_eq!(send(&p, &topic, 8).await, Ok((68, false)));
    p.stop().await;
    let p = world.start().await;
    let topic = p.find("t").await;
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 70);
    for from in 0..70 {
        let read = p.read_all(&topic, P0, from).await;
        assert_eq!(read[0].0, from);
    }
    audit(&world).await;
}

/// A state that cannot be read is no state: the shard stays closed rather than forget its producers.
#[tokio::test(start_paused = true)]
async fn a_damaged_state_object_keeps_the_shard_closed() {
    let mut world = World::tiered(91);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    fill(&p, &topic, 0, 20).await;
    let shard = topic.partition(P0).unwrap().shard;
    p.stop().await;
    let objects = world.cold.as_ref().unwrap().objects.clone();
    let name = format!("/{}", state(&world, shard).await.unwrap().object);
    let held = objects.snapshot();
    let (key, bytes) = held
        .iter()
        .find(|(k, _)| k.as_str().ends_with(&name))
        .unwrap();
    assert!(objects.rot(key, bytes.len() / 2, 0x04));
    let found = tidemark_log::audit(&world.store, &objects, &world.clock, i64::MAX)
        .await
        .unwrap();
    let bad: Vec<_> = found.bad.iter().map(|bad| bad.key.as_str()).collect();
    assert_eq!(bad, [key.as_str()]);
    world.wipe();
    world.give_up().await;
    let p = world.start_unready().await;
    let why = closed(&p).await;
    assert!(why.contains("rebuild"), "{why}");
    assert!(objects.rot(key, bytes.len() / 2, 0x04));
    p.log.reopen(shard);
    p.log.serving().await;
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 40);
    assert_ne!(state(&world, shard).await.unwrap().lsn, Lsn(0));
}

/// Nothing restores the state object: an operator gives it up, and headers say what they can.
#[tokio::test(start_paused = true)]
async fn a_state_object_that_is_given_up_is_done_without() {
    let mut world = World::tiered(94);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    for batch in 0..4 {
        send(&p, &topic, 2 * batch).await.unwrap();
    }
    fill(&p, &topic, 0, 20).await;
    let acked = p.append(&topic, &["last"]).await.unwrap();
    let before = bytes(&p, &topic, P0).await;
    let shard = topic.partition(P0).unwrap().shard;
    p.stop().await;
    let objects = world.cold.as_ref().unwrap().objects.clone();
    let row = state(&world, shard).await.unwrap();
    let name = format!("/{}", row.object);
    let held = objects.snapshot();
    let (key, stored) = held
        .iter()
        .find(|(k, _)| k.as_str().ends_with(&name))
        .unwrap();
    let whole = tidemark_log::audit_state(&objects, &row).await.unwrap();
    assert_eq!(whole, None);
    assert!(objects.rot(key, stored.len() / 2, 0x04));
    let wrong = tidemark_log::audit_state(&objects, &row).await.unwrap();
    assert!(wrong.is_some());
    world.wipe();
    world.give_up().await;
    let p = world.start_unready().await;
    let why = closed(&p).await;
    assert!(why.contains("unclean-seal --without-state"), "{why}");
    p.stop().await;

    let leases = world.leases(&Tasks::new()).await;
    let now_ms = world.clock.wall_ms();
    let other = StateRow {
        lsn: row.lsn.next(),
        ..row
    };
    let refused = leases.give_up_state(shard, other, now_ms).await;
    assert!(matches!(refused, Err(TakeError::Lost(_))), "{refused:?}");
    assert_eq!(state(&world, shard).await, Some(row));
    let garbage = tiered(&world, shard).await.garbage;
    world.store.plan(tidemark_meta::faulty::Fault::LostReply);
    leases.give_up_state(shard, row, now_ms).await.unwrap();
    assert_eq!(state(&world, shard).await, None);
    assert_eq!(tiered(&world, shard).await.garbage, garbage + 1);

    let p = world.start().await;
    let topic = p.find("t").await;
    assert_eq!(bytes(&p, &topic, P0).await, before);
    assert_eq!(send(&p, &topic, 6).await, Ok((6, true)));
    assert_eq!(send(&p, &topic, 8).await, Ok((49, false)));
    let next = p.append(&topic, &["next"]).await.unwrap();
    assert!(next.leader_epoch > acked.leader_epoch, "K6");
    audit(&world).await;
    pause(3_000).await;
    assert!(!objects.snapshot().contains_key(key), "it is collected");
    p.stop().await;
    assert!(state(&world, shard).await.unwrap().lsn > row.lsn);
    audit(&world).await;
}

/// States are few: one per extent with data and per stop, none for a shard that rests, and one is kept.
#[tokio::test(start_paused = true)]
async fn states_are_written_once_per_extent_and_stop_and_one_is_kept() {
    let world = World::tiered(92);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let shard = topic.partition(P0).unwrap().shard;
    fill(&p, &topic, 0, 100).await;
    pause(20).await;
    let counters = p.log.tier_counters();
    assert!(
        (2..=counters.objects).contains(&counters.states),
        "{counters:?}"
    );
    let first = state(&world, shard).await.unwrap();
    pause(600).await;
    assert_eq!(p.log.tier_counters().states, counters.states, "it rests");
    p.append(&topic, &["v"]).await.unwrap();
    p.stop().await;
    let second = state(&world, shard).await.unwrap();
    assert!(second.lsn > first.lsn);
    // Nothing new: nothing is put, however often it starts and stops.
    for _ in 0..3 {
        let p = world.start().await;
        pause(20).await;
        assert_eq!(p.log.tier_counters().states, 0);
        p.stop().await;
        assert_eq!(state(&world, shard).await, Some(second));
    }
    // What was replaced is collected.
    let p = world.start().await;
    pause(3_000).await;
    let left = tiered(&world, shard).await;
    assert_eq!((left.pending, left.garbage), (0, 0));
    assert_eq!(crate::tiering::held(&world).await, left.rows.len());
    p.stop().await;
}
