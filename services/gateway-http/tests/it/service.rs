//! Health, status, metrics, the API's description.

use axum::http::StatusCode;
use tidemark_gateway_http::HttpConfig;

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn readiness_gives_reasons_until_all_shards_serve() {
    let world = World::start(HttpConfig::default()).await;
    let early = world.get("/readyz").await;
    early.problem(503, "leader_not_available");
    assert!(!early.json()["reasons"].as_array().unwrap().is_empty());
    assert_eq!(early.header("retry-after"), "1");
    assert_eq!(world.get("/livez").await.ok()["status"], "ok");
    let ready = World::ready().await;
    assert_eq!(ready.get("/readyz").await.ok()["status"], "ok");
    let status = ready.get("/v1/status").await.ok();
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["cluster_id"], "cluster");
    assert_eq!(status["ready"], true);
    let shards = status["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    assert!(
        shards
            .iter()
            .all(|s| s["state"] == "serving" && s["epoch"].is_u64())
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_are_what_the_process_renders() {
    let world = World::start(HttpConfig::default()).await;
    let answer = world.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    assert_eq!(answer.text(), "tidemark_up 1\n");
}

#[tokio::test(start_paused = true)]
async fn the_description_is_served() {
    let world = World::start(HttpConfig::default()).await;
    let api = world.get("/openapi.json").await.ok();
    assert_eq!(api["openapi"], "3.1.0");
    assert!(api["paths"]["/v1/topics/{topic}/records"]["post"].is_object());
}

#[tokio::test(start_paused = true)]
async fn the_root_names_the_service_and_routes_that_answer() {
    let world = World::ready().await;
    let index = world.get("/").await.ok();
    assert_eq!(index["service"], "tidemark");
    assert_eq!(index["version"], "1.2.3");
    let routes = index["routes"].as_object().unwrap();
    assert_eq!(routes["api"], "/openapi.json");
    for route in routes.values() {
        let answer = world.get(route.as_str().unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{route}");
    }
}

#[tokio::test(start_paused = true)]
async fn notes_are_told_beside_readiness_and_change_nothing_of_it() {
    let world = World::ready().await;
    assert!(world.get("/readyz").await.ok().get("notes").is_none());
    let _noted = world.ctx.clone().noting(std::sync::Arc::new(|| {
        Some("object store: away".to_owned())
    }));
    let ready = world.get("/readyz").await.ok();
    assert_eq!(ready["status"], "ok");
    assert_eq!(ready["notes"][0], "object store: away");
    let status = world.get("/v1/status").await.ok();
    assert_eq!(status["ready"], true);
    assert_eq!(status["notes"], ready["notes"]);
}
