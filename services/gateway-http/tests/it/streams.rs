//! Server-sent events and lines that go on.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, StatusCode};
use futures_util::StreamExt;

use crate::world::{World, request};

const RECORDS: &str = "/v1/topics/t/partitions/0/records";

async fn open(world: &World, query: &str, headers: &[(&str, &str)]) -> BodyDataStream {
    let response = world
        .open(request(
            Method::GET,
            &format!("{RECORDS}{query}"),
            headers,
            Body::empty(),
        ))
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().into_data_stream()
}

async fn next(stream: &mut BodyDataStream) -> String {
    let chunk = stream.next().await.expect("the stream goes on").unwrap();
    String::from_utf8(chunk.to_vec()).unwrap()
}

async fn produce(world: &World, value: &str) {
    let body = format!(r#"{{"records":[{{"value":"{value}"}}]}}"#);
    world.produce("", &body).await.ok();
}

#[tokio::test(start_paused = true)]
async fn events_come_as_records_do_and_resume_by_id() {
    let world = World::with_topic(1).await;
    produce(&world, "a").await;
    let events = [("accept", "text/event-stream")];
    let mut stream = open(&world, "", &events).await;
    let first = next(&mut stream).await;
    assert!(first.starts_with("id: 0\ndata: {\"offset\":0,"), "{first}");
    assert!(first.ends_with("}\n\n"), "{first}");
    produce(&world, "b").await;
    let second = next(&mut stream).await;
    assert!(second.starts_with("id: 1\ndata: "), "{second}");
    // Nothing comes: a comment keeps the connection open.
    assert_eq!(next(&mut stream).await, ": heartbeat\n\n");
    drop(stream);
    produce(&world, "c").await;
    let resumed = [("accept", "text/event-stream"), ("last-event-id", "0")];
    let mut stream = open(&world, "?from=latest", &resumed).await;
    let rest = next(&mut stream).await;
    let ids: Vec<_> = rest.lines().filter(|l| l.starts_with("id: ")).collect();
    assert_eq!(ids, ["id: 1", "id: 2"]);
}

#[tokio::test(start_paused = true)]
async fn lines_go_on_when_asked_to() {
    let world = World::with_topic(1).await;
    let mut stream = open(
        &world,
        "?follow=true&from=latest",
        &[("accept", "application/x-ndjson")],
    )
    .await;
    assert_eq!(next(&mut stream).await, "\n");
    produce(&world, "a").await;
    let line: serde_json::Value = serde_json::from_str(&next(&mut stream).await).unwrap();
    assert_eq!(line["value"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_bad_beginning_is_a_problem_not_a_stream() {
    let world = World::with_topic(1).await;
    let events = [("accept", "text/event-stream")];
    let get = request(
        Method::GET,
        &format!("{RECORDS}?offset=9"),
        &events,
        Body::empty(),
    );
    world.call(get).await.problem(416, "offset_out_of_range");
    let limited = request(
        Method::GET,
        &format!("{RECORDS}?limit=9"),
        &events,
        Body::empty(),
    );
    world.call(limited).await.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn streams_and_long_polls_end_at_the_drain() {
    let world = World::with_topic(1).await;
    let mut stream = open(&world, "", &[("accept", "text/event-stream")]).await;
    assert_eq!(next(&mut stream).await, ": heartbeat\n\n");
    let path = format!("{RECORDS}?wait_ms=60000");
    let started = world.clock.now();
    let (page, ended, ()) = tokio::join!(world.get(&path), stream.next(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.ctx.drain();
    });
    assert_eq!(page.ok()["records"].as_array().unwrap().len(), 0);
    // What the stream was waiting for comes empty, then it ends.
    if let Some(chunk) = ended {
        assert_eq!(&chunk.unwrap()[..], b": heartbeat\n\n");
        assert!(stream.next().await.is_none());
    }
    assert!(
        world.clock.now() - started < Duration::from_secs(10),
        "virtual time: nobody waited it out"
    );
    world
        .get("/readyz")
        .await
        .problem(503, "leader_not_available");
}
