//! Deleting a partition's oldest records.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::world::{Answer, World, request};

const RECORDS: &str = "/v1/topics/t/partitions/0/records";

impl World {
    async fn delete_records(&self, query: &str) -> Answer {
        let path = format!("{RECORDS}{query}");
        self.call(request(Method::DELETE, &path, &[], Body::empty()))
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn what_lies_before_the_offset_is_gone_and_stays_gone() {
    let world = World::with_topic(1).await;
    for _ in 0..10 {
        world
            .produce("", r#"{"records":[{"value":"v"}]}"#)
            .await
            .ok();
    }
    let begins = |log_start: i64| json!({ "topic": "t", "partition": 0, "log_start": log_start });
    assert_eq!(world.delete_records("?before=4").await.ok(), begins(4));
    assert_eq!(
        world.delete_records("?before=2").await.ok(),
        begins(4),
        "never back"
    );
    let page = world.get(RECORDS).await.ok();
    assert_eq!(page["records"][0]["offset"], 4);
    let gone = world.get(&format!("{RECORDS}?offset=3")).await;
    gone.problem(416, "offset_out_of_range");
    assert_eq!(world.delete_records("?all=true").await.ok(), begins(10));
    let page = world.get(RECORDS).await.ok();
    assert_eq!(page["records"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_and_deletes_nothing() {
    let world = World::with_topic(1).await;
    world
        .produce("", r#"{"records":[{"value":"v"}]}"#)
        .await
        .ok();
    for query in ["", "?all=false", "?before=1&all=true", "?before=-1"] {
        let refused = world.delete_records(query).await;
        refused.problem(400, "invalid_request");
    }
    let beyond = world.delete_records("?before=2").await;
    beyond.problem(416, "offset_out_of_range");
    let path = "/v1/topics/t/partitions/7/records?all=true";
    let nowhere = world.call(request(Method::DELETE, path, &[], Body::empty()));
    nowhere.await.problem(404, "unknown_topic_or_partition");
    let body = r#"{"name":"c","partitions":1,"config":{"cleanup.policy":"compact"}}"#;
    world
        .post("/v1/topics", "application/json", body)
        .await
        .ok();
    let path = "/v1/topics/c/partitions/0/records?all=true";
    let compacted = world.call(request(Method::DELETE, path, &[], Body::empty()));
    compacted.await.problem(403, "policy_violation");
    assert_eq!(world.get(RECORDS).await.ok()["records"][0]["offset"], 0);
}
