//! What an owner that was replaced must not say (K1).

use tidemark_log::AppendOptions;
use tidemark_types::{Coded, ErrorCode, Offset};

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
