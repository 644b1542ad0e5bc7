//! What an owner that was replaced must not say (K1).

use tidemark_journal::{ExtentId, Fence, Replica};
use tidemark_log::AppendOptions;
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_types::{Coded, Epoch, ErrorCode, LeaderEpoch, Offset};

use crate::world::{P0, TENANT, World, idempotent};

/// A refusal that names the end of the log, or a producer's last sequence number, is the owner's to give. Found by
/// the simulator: a zombie answered a condition that held with "the next offset is" its own, older end.
#[tokio::test(start_paused = true)]
async fn refuses_no_condition_and_no_sequence() {
    let world = World::new(66);
    let zombie = world.start().await;
    let topic = zombie.topic("t", 1).await;
    zombie.send(&topic, idempotent(5, 0, 0, 2)).await.unwrap();
    let next = world.start().await;
    next.send(&topic, idempotent(5, 0, 2, 2)).await.unwrap();
    let options = AppendOptions {
        expected_offset: Some(Offset(4)),
        ..AppendOptions::default()
    };
    let batch = zombie.batch(&["at the end"]);
    let refused = zombie
        .log
        .append(&TENANT, &topic, P0, batch.clone(), options.clone());
    assert_eq!(refused.await.unwrap_err().code(), ErrorCode::NotLeader);
    let refused = zombie.send(&topic, idempotent(5, 0, 4, 1));
    assert_eq!(refused.await.unwrap_err().code(), ErrorCode::NotLeader);
    // The owner itself still says it.
    let refused = next.send(&topic, idempotent(5, 0, 9, 1)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OutOfOrderSequence);
    let acked = next.log.append(&TENANT, &topic, P0, batch, options).await;
    assert_eq!(acked.unwrap().base_offset, Offset(4));
}

/// Where its own epoch ends, and that a later one is not there, it does not know; where an older one ended is a fact.
#[tokio::test(start_paused = true)]
async fn claims_no_end_of_its_epoch() {
    let world = World::new(67);
    let first = world.start().await;
    let topic = first.topic("t", 1).await;
    let old = first.append(&topic, &["a"]).await.unwrap().leader_epoch;
    let zombie = world.start().await;
    let own = zombie.append(&topic, &["b"]).await.unwrap().leader_epoch;
    let end = async |p: &crate::world::Process, epoch: LeaderEpoch| {
        let asked = p.log.leader_epoch_end(&TENANT, &topic, P0, None, epoch);
        let found = asked.await;
        found.map(|e| (e.epoch, e.end.0)).map_err(|e| e.code())
    };
    // A newer owner has fenced the log nodes; this one has not heard of it yet.
    let shard = topic.partition(P0).unwrap().shard;
    let mut tx = world.store.begin();
    let row = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot).await;
    let row = row.unwrap().unwrap();
    let index = row.newest.unwrap();
    let fence = Fence {
        extent: ExtentId { shard, index },
        epoch: Epoch(row.epoch.0 + 1),
    };
    assert_eq!(end(&zombie, own).await, Ok((own, 2)));
    world.replicas[0].fence(fence).await.unwrap();
    assert_eq!(end(&zombie, old).await, Ok((old, 1)));
    assert_eq!(end(&zombie, own).await, Err(ErrorCode::NotLeader));
    let later = LeaderEpoch(own.0 + 1);
    assert_eq!(end(&zombie, later).await, Err(ErrorCode::NotLeader));
    let next = world.start().await;
    let newest = next.append(&topic, &["c"]).await.unwrap().leader_epoch;
    assert_eq!(end(&next, own).await, Ok((own, 2)));
    assert_eq!(end(&next, newest).await, Ok((newest, 3)));
}
