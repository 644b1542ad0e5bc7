//! The audit over HTTP, and the extents it goes with.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use http_body_util::BodyExt;
use tidemark_blob::sim::Sim;
use tidemark_gateway_http::HttpConfig;
use tidemark_log::TierConfig;

use crate::world::{World, request};

async fn world() -> World {
    let config = HttpConfig::default();
    let world = World::start_with(config, |clock| {
        Some((Arc::new(Sim::new(clock)) as _, TierConfig::default()))
    });
    let world = world.await;
    world.until_ready().await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_line_per_finding_and_the_last_says_it_is_done() {
    let world = world().await;
    let stray = tidemark_blob::BlobKey::new("cold/00/whatever").unwrap();
    let entropy = tidemark_runtime::Entropy::seeded(7);
    let put = tidemark_blob::Put::new(stray, "anything", &entropy);
    world.objects().put(put).await.unwrap();
    // Younger than the grace, it is left out.
    let young = world.post("/v1/audit", "text/plain", "").await.lines();
    assert_eq!(young.len(), 1, "{young:?}");
    tokio::time::sleep(std::time::Duration::from_secs(3 * 3_600)).await;
    let answer = world
        .post("/v1/audit?bytes_per_s=100", "text/plain", "")
        .await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let lines = answer.lines();
    assert_eq!(lines[0]["kind"], "orphan");
    assert_eq!(lines[0]["object"], "cold/00/whatever");
    assert_eq!(lines[0]["own"], false);
    assert!(lines[0]["repair"].as_str().unwrap().contains("delete it"));
    assert_eq!(lines[1]["kind"], "done");
    assert_eq!(lines[1]["omitted"], 0);
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_one_waits_for_its_turn_and_a_client_that_goes_ends_the_first() {
    let world = world().await;
    let ask = || request(Method::POST, "/v1/audit", &[], Body::empty());
    let first = world.open(ask()).await;
    assert!(first.status().is_success());
    let second = world.post("/v1/audit", "text/plain", "").await;
    second.problem(409, "in_progress");
    drop(first);
    let third = world.post("/v1/audit", "text/plain", "").await.lines();
    assert_eq!(third.last().unwrap()["kind"], "done");
    // A drain ends it, and the answer shows that it was not done.
    let cut = world.open(ask()).await;
    world.ctx.drain();
    let body = cut.into_body().collect().await.unwrap().to_bytes();
    assert!(body.is_empty(), "{body:?}");
}

#[tokio::test(start_paused = true)]
async fn bad_rates_and_services_without_objects_are_told() {
    let world = world().await;
    for query in ["?bytes_per_s=0", "?bytes_per_s=-1", "?rate=1"] {
        let path = format!("/v1/audit{query}");
        let answer = world.post(&path, "text/plain", "").await;
        answer.problem(400, "invalid_request");
    }
    let without = World::ready().await;
    let answer = without.post("/v1/audit", "text/plain", "").await;
    answer.problem(403, "policy_violation");
}

#[tokio::test(start_paused = true)]
async fn extents_are_listed_by_shard() {
    let world = world().await;
    let answer = world.get("/v1/extents").await.ok();
    assert_eq!(answer["node_id"], 1);
    let extents = answer["extents"].as_array().unwrap();
    assert_eq!(extents.len(), 2, "{answer}");
    assert_eq!(extents[1]["shard"], 1);
    assert_eq!(extents[1]["first"], 0);
    assert!(extents[1]["end"].is_null());
    assert_eq!(extents[1]["replicas"], serde_json::json!([101]));
}
