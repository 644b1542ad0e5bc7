//! Rolls under load.

use std::time::Duration;

use tidemark_meta::faulty::Faults;
use tidemark_types::{Coded, Offset, ShardId};

use crate::world::{P0, World, idempotent};

async fn extents(world: &World, shard: ShardId) -> usize {
    world.extents(shard).await.len()
}

#[tokio::test(start_paused = true)]
async fn rolls_under_load_keep_offsets_order_and_acks() {
    for copies in [1, 3] {
        let mut world = World::replicated(80, copies);
        world.config.roll_bytes = 4_000;
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        let shard = topic.partition(P0).unwrap().shard;
        let mut sent = Vec::new();
        for i in 0..400 {
            sent.push(p.send(&topic, idempotent(1, 0, i * 3, 3)));
            if i % 7 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        for (i, sent) in sent.into_iter().enumerate() {
            let ack = sent.await.unwrap();
            assert_eq!(ack.base_offset, Offset(3 * i as i64));
        }
        let rolled = extents(&world, shard).await;
        assert!(rolled > 5, "{rolled} extents");
        let read = p.read_all(&topic, P0, 0).await;
        assert_eq!(read.len(), 1_200);
        p.stop().await;
        let p = world.start().await;
        assert_eq!(p.read_all(&topic, P0, 0).await, read);
        let again = p.send(&topic, idempotent(1, 0, 399 * 3, 3)).await.unwrap();
        assert!(again.duplicate);
    }
}

#[tokio::test(start_paused = true)]
async fn an_extent_with_data_rolls_at_its_age_and_an_idle_one_does_not() {
    let mut world = World::new(81);
    world.config.roll_age = Duration::from_secs(60);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let shard = topic.partition(P0).unwrap().shard;
    let before = extents(&world, shard).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(extents(&world, shard).await, before);
    p.append(&topic, &["v"]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(extents(&world, shard).await, before + 1);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(extents(&world, shard).await, before + 1);
}

/// J11: a lost replica is a reason to roll at once.
#[tokio::test(start_paused = true)]
async fn a_lost_replica_makes_the_shard_roll_to_the_others() {
    let world = World::replicated(82, 3);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let shard = topic.partition(P0).unwrap().shard;
    p.append(&topic, &["a"]).await.unwrap();
    let before = extents(&world, shard).await;
    world.replicas[2].set_reachable(false);
    p.append(&topic, &["b"]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(extents(&world, shard).await > before);
    p.append(&topic, &["c"]).await.unwrap();
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 3);
}

/// J2, J9: whatever becomes of a roll's transaction and its answer, no ack is wrong and nothing is lost or doubled.
#[tokio::test(start_paused = true)]
async fn rolls_through_a_stormy_metadata_store_lose_and_double_nothing() {
    for seed in 0..10 {
        let mut world = World::replicated(900 + seed, if seed % 2 == 0 { 1 } else { 3 });
        world.config.roll_bytes = 2_000;
        let p = world.start().await;
        let topic = p.topic("t", 1).await;
        let shard = topic.partition(P0).unwrap().shard;
        world.store.set_faults(Faults::stormy());
        for i in 0..150 {
            let sent = p.send(&topic, idempotent(1, 0, i * 2, 2));
            if i % 5 == 0 {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            let offset = match sent.await {
                Ok(ack) => ack.base_offset,
                Err(error) => {
                    assert!(error.code().is_retriable(), "{error}");
                    retry(&p, &topic, i * 2).await
                }
            };
            assert_eq!(offset.0, i64::from(i) * 2, "seed {seed}");
        }
        world.store.set_faults(Faults::default());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(extents(&world, shard).await > 3);
        let next = world.start().await;
        let read = next.read_all(&topic, P0, 0).await;
        let expected: Vec<_> = (0..300).map(|i| (i, format!("1/0/{i}"))).collect();
        assert_eq!(read, expected, "seed {seed}");
    }
}

/// Sends a producer's batch until it is acked, as a client does.
async fn retry(
    p: &crate::world::Process,
    topic: &std::sync::Arc<tidemark_topics::Topic>,
    sequence: i32,
) -> Offset {
    for _ in 0..200 {
        match p.send(topic, idempotent(1, 0, sequence, 2)).await {
            Ok(ack) => return ack.base_offset,
            Err(error) => assert!(error.code().is_retriable(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not acked in 20 s");
}

/// J2: with A replicas left and the metadata store away there is no roll, so acks go on.
#[tokio::test(start_paused = true)]
async fn a_lost_replica_while_the_metadata_store_is_away_does_not_stop_acks() {
    let world = World::replicated(84, 3);
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    let shard = topic.partition(P0).unwrap().shard;
    p.append(&topic, &["a"]).await.unwrap();
    let before = extents(&world, shard).await;
    world.store.set_outage(true);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.replicas[2].set_reachable(false);
    for _ in 0..20 {
        let acked = tokio::time::timeout(Duration::from_secs(2), p.append(&topic, &["b"]));
        acked.await.expect("acked in time").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.store.set_outage(false);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(extents(&world, shard).await > before, "J11: then it rolls");
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), 21);
}

/// DESIGN section 3: produce and reads survive an outage of the metadata store, up to the extent's hard limit.
#[tokio::test(start_paused = true)]
async fn an_extent_that_cannot_roll_takes_appends_up_to_its_hard_limit() {
    let mut world = World::new(85);
    world.config.roll_bytes = 4_000;
    world.config.extent_bytes_max = 40_000;
    let p = world.start().await;
    let topic = p.topic("t", 1).await;
    p.append(&topic, &["a"]).await.unwrap();
    world.store.set_outage(true);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut acked = 1;
    let refused = loop {
        match p.append(&topic, &["x".repeat(1_000).as_str()]).await {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
        assert!(acked < 100, "no limit");
    };
    assert!((35..=40).contains(&acked), "{acked}");
    assert!(refused.code().is_retriable(), "{refused}");
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), acked);
    world.store.set_outage(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    p.append(&topic, &["b"]).await.unwrap();
    assert_eq!(p.read_all(&topic, P0, 0).await.len(), acked + 1);
}
