//! Topics and their configuration.

use axum::body::Body;
use axum::http::{Method, StatusCode};

use crate::world::{Answer, World, request};

async fn patch(world: &World, path: &str, body: &'static str) -> Answer {
    let headers = [("content-type", "application/json")];
    world
        .call(request(Method::PATCH, path, &headers, Body::from(body)))
        .await
}

#[tokio::test(start_paused = true)]
async fn a_topics_life() {
    let world = World::ready().await;
    assert_eq!(
        world.get("/v1/topics").await.ok()["topics"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    let new = r#"{"name":"orders","partitions":3,"config":{"retention.ms":"1000"}}"#;
    let checked = world
        .post("/v1/topics?validate_only=true", "application/json", new)
        .await;
    assert_eq!(checked.status, StatusCode::OK);
    world
        .get("/v1/topics/orders")
        .await
        .problem(404, "unknown_topic_or_partition");

    let created = world.post("/v1/topics", "application/json", new).await;
    assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
    assert_eq!(created.json()["partitions"], 3);
    assert_eq!(created.json()["durability"], "local");
    let again = world.post("/v1/topics", "application/json", new).await;
    again.problem(409, "topic_already_exists");

    let listed = world.get("/v1/topics").await.ok();
    assert_eq!(listed["topics"][0]["name"], "orders");
    assert_eq!(listed["topics"][0]["config"]["retention.ms"], "1000");
    let topic = world.get("/v1/topics/orders").await.ok();
    assert_eq!(topic["id"], created.json()["id"]);
    let partitions = topic["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 3);
    for p in partitions {
        assert_eq!(p["log_start"], 0, "{p}");
        assert_eq!(p["high_watermark"], 0, "{p}");
        assert!(p["leader_epoch"].is_i64(), "{p}");
    }
    assert_eq!(topic["config"]["retention.ms"]["source"], "topic");

    let gone = request(Method::DELETE, "/v1/topics/orders", &[], Body::empty());
    assert_eq!(world.call(gone).await.status, StatusCode::NO_CONTENT);
    world
        .get("/v1/topics/orders")
        .await
        .problem(404, "unknown_topic_or_partition");
    let twice = request(Method::DELETE, "/v1/topics/orders", &[], Body::empty());
    world
        .call(twice)
        .await
        .problem(404, "unknown_topic_or_partition");
}

#[tokio::test(start_paused = true)]
async fn changes_are_checked_as_a_whole_first() {
    let world = World::with_topic(2).await;
    let path = "/v1/topics/t";
    let changed = patch(
        &world,
        path,
        r#"{"partitions":4,"config":{"retention.ms":"77"}}"#,
    )
    .await
    .ok();
    assert_eq!(changed["partitions"].as_array().unwrap().len(), 4);
    assert_eq!(changed["config"]["retention.ms"]["value"], "77");
    // The second part is refused: the first must not happen either.
    let bad = patch(
        &world,
        path,
        r#"{"partitions":1,"config":{"retention.ms":"88"}}"#,
    )
    .await;
    bad.problem(400, "invalid_partitions");
    let topic = world.get(path).await.ok();
    assert_eq!(topic["config"]["retention.ms"]["value"], "77");
    let reset = patch(&world, path, r#"{"config":{"retention.ms":null}}"#)
        .await
        .ok();
    assert_eq!(reset["config"]["retention.ms"]["source"], "default");
    patch(&world, path, r#"{"config":{"no.such":"1"}}"#)
        .await
        .problem(400, "invalid_config");
    patch(&world, path, "{}")
        .await
        .problem(400, "invalid_request");
    let missing = patch(&world, "/v1/topics/none", r#"{"partitions":9}"#).await;
    missing.problem(404, "unknown_topic_or_partition");
    let bad_name = world
        .post("/v1/topics", "application/json", r#"{"name":"a b"}"#)
        .await;
    bad_name.problem(400, "invalid_topic_name");
}
