use tidemark_wire::KafkaString;
use tidemark_wire::messages::*;

use crate::handlers::data_path::{batch, produced, topic};
use crate::testing::{call, ctx};

/// K3: what is deleted stays deleted, and offsets outside of the log change nothing.
#[tokio::test(start_paused = true)]
async fn deleted_records_move_where_the_partition_begins() {
    let ctx = ctx().await;
    let t = topic(&ctx, "t").await;
    for _ in 0..3 {
        produced(&ctx, &t.produce(9, Some(batch(b"x"))), 9).await;
    }
    let request = |name: &KafkaString, partition_index, offset| DeleteRecordsRequestData {
        topics: vec![delete_records_request::DeleteRecordsTopic {
            name: name.clone(),
            partitions: vec![delete_records_request::DeleteRecordsPartition {
                partition_index,
                offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let absent = KafkaString::from_static("absent");
    for (name, index, offset, code, low) in [
        (&t.name, 0, 2, 0, 2),
        (&t.name, 0, 1, 0, 2),
        (&t.name, 0, 4, 1, -1),
        (&t.name, 0, -2, 1, -1),
        (&t.name, 7, 0, 3, -1),
        (&absent, 0, 0, 3, -1),
        (&t.name, 0, -1, 0, 3),
    ] {
        for version in 0..=2 {
            let answer = call(&ctx, &request(name, index, offset), version).await;
            let found = &answer.topics[0].partitions[0];
            assert_eq!(
                (found.error_code, found.low_watermark),
                (code, low),
                "{name:?} {index} below {offset}, version {version}"
            );
        }
    }
}
