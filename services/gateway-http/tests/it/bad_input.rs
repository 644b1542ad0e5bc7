//! Every bad request is a problem document that says what is wrong.

use axum::body::Body;
use axum::http::Method;
use tidemark_gateway_http::HttpConfig;

use crate::world::{World, request};

#[tokio::test(start_paused = true)]
async fn unknown_routes_and_methods() {
    let world = World::start(HttpConfig::default()).await;
    let answer = world.get("/v2/nothing").await;
    assert!(answer.problem(404, "not_found").contains("/v2/nothing"));
    for (method, path) in [
        (Method::PUT, "/v1/topics"),
        (Method::POST, "/livez"),
        (Method::DELETE, "/v1/topics/t/records"),
    ] {
        let answer = world
            .call(request(method.clone(), path, &[], Body::empty()))
            .await;
        let detail = answer.problem(405, "method_not_allowed");
        assert!(detail.contains(method.as_str()), "{detail}");
        assert!(!answer.header("allow").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn content_types() {
    let world = World::start(HttpConfig::default()).await;
    for (path, kind) in [
        ("/v1/topics", "text/plain"),
        ("/v1/topics/t/records", "application/xml"),
        ("/v1/topics/t/records", ""),
    ] {
        world
            .post(path, kind, "{}")
            .await
            .problem(415, "unsupported_media_type");
    }
    let bare = request(Method::POST, "/v1/topics", &[], Body::from("{}"));
    world
        .call(bare)
        .await
        .problem(415, "unsupported_media_type");
    let answer = world
        .get_as("/v1/topics/t/partitions/0/records", "image/png")
        .await;
    answer.problem(406, "unsupported_media_type");
}

#[tokio::test(start_paused = true)]
async fn json_errors_have_a_line_and_a_column() {
    let world = World::start(HttpConfig::default()).await;
    let answer = world
        .post("/v1/topics", "application/json", "{\n \"name\": }")
        .await;
    answer.problem(400, "invalid_request");
    assert_eq!(answer.json()["line"], 2);
    assert_eq!(answer.json()["column"], 10);
    for (body, named) in [
        (r#"{"name":"a","partitons":3}"#, "partitons"),
        (r#"{"partitions":3}"#, "name"),
        (r#"{"name":"a"} {"#, "trailing"),
        (r#"{"name":"a","partitions":"x"}"#, "i32"),
        ("", "EOF"),
        ("\u{0}", "value"),
    ] {
        let answer = world
            .post("/v1/topics", "application/json; charset=utf-8", body)
            .await;
        let detail = answer.problem(400, "invalid_request");
        assert!(detail.contains(named), "{detail}");
    }
    let deep = "[".repeat(100_000);
    let answer = world.post("/v1/topics", "application/json", deep).await;
    answer.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn unknown_and_bad_parameters_are_named() {
    let world = World::start(HttpConfig::default()).await;
    let records = "/v1/topics/t/partitions/0/records";
    for (path, named) in [
        ("/v1/topics?all=1".to_owned(), "all"),
        (format!("{records}?ofset=1"), "ofset"),
        (format!("{records}?offset=x"), "invalid digit"),
        (format!("{records}?offset=-1"), "offset"),
        (format!("{records}?offset=1&timestamp=2"), "exclude"),
        (format!("{records}?limit=0"), "limit"),
        (format!("{records}?limit=10001"), "limit"),
        (format!("{records}?max_bytes=99999999"), "max_bytes"),
        (format!("{records}?from=middle"), "middle"),
        (format!("{records}?encoding=latin1"), "latin1"),
        (format!("{records}?follow=true"), "follow"),
        ("/v1/topics/t/partitions/x/records".to_owned(), "path"),
        ("/v1/topics/%ff".to_owned(), "path"),
    ] {
        let detail = world.get(&path).await.problem(400, "invalid_request");
        assert!(detail.contains(named), "{path}: {detail}");
    }
    let events = request(
        Method::GET,
        records,
        &[("accept", "text/event-stream"), ("last-event-id", "-3")],
        Body::empty(),
    );
    let detail = world.call(events).await.problem(400, "invalid_request");
    assert!(detail.contains("Last-Event-ID"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn produce_parameters_fit_their_media_type() {
    let world = World::start(HttpConfig::default()).await;
    for (query, kind, named) in [
        ("?key=a", "application/json", "key"),
        ("?acks=each", "application/json", "acks"),
        ("?expected_offset=-1", "application/json", "expected_offset"),
    ] {
        let path = format!("/v1/topics/t/records{query}");
        let detail = world
            .post(&path, kind, "{}")
            .await
            .problem(400, "invalid_request");
        assert!(detail.contains(named), "{detail}");
    }
    for key in ["", &"k".repeat(101)] {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        let bad = request(
            Method::POST,
            "/v1/topics/t/records",
            &headers,
            Body::from("{}"),
        );
        world.call(bad).await.problem(400, "invalid_request");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_too_large_are_refused_unread() {
    let world = World::start(HttpConfig::default()).await;
    let body = vec![b' '; (1 << 20) + 1];
    let answer = world.post("/v1/topics", "application/json", body).await;
    answer.problem(413, "message_too_large");
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_are_cut_off() {
    let world = World::start(HttpConfig::default()).await;
    // One that stops, and one that trickles a byte a second.
    let stopped =
        Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>());
    let trickle = Body::from_stream(futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        Some((Ok::<_, std::io::Error>(&b" "[..]), ()))
    }));
    for body in [stopped, trickle] {
        let answer = world.post("/v1/topics", "application/json", body).await;
        answer.problem(408, "request_timed_out");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_a_bad_request() {
    let world = World::start(HttpConfig::default()).await;
    let broken = futures_util::stream::iter([
        Ok(&b"{"[..]),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    let answer = world
        .post("/v1/topics", "application/json", Body::from_stream(broken))
        .await;
    answer.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bounds_the_service_says_so() {
    let full = HttpConfig {
        requests_max: 0,
        ..HttpConfig::default()
    };
    let world = World::start(full).await;
    let answer = world.get("/v1/topics").await;
    answer.problem(503, "overloaded");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(
        world.get("/livez").await.status.is_success(),
        "health is always answered"
    );

    let no_memory = HttpConfig {
        memory_bytes_max: 1024,
        ..HttpConfig::default()
    };
    let world = World::start(no_memory).await;
    let answer = world
        .post("/v1/topics", "application/json", vec![b' '; 4096])
        .await;
    answer.problem(503, "overloaded");
    let answer = world.post("/v1/topics", "application/json", "{").await;
    answer.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn request_ids_are_the_clients_if_they_are_plain() {
    let world = World::start(HttpConfig::default()).await;
    let get = |id| {
        request(
            Method::GET,
            "/nowhere",
            &[("x-request-id", id)],
            Body::empty(),
        )
    };
    let answer = world.call(get("my-id.7")).await;
    assert_eq!(answer.header("x-request-id"), "my-id.7");
    answer.problem(404, "not_found");
    let long = "x".repeat(65);
    for bad in ["a b", "<script>", long.as_str(), ""] {
        let answer = world.call(get(bad)).await;
        assert_ne!(answer.header("x-request-id"), bad);
        answer.problem(404, "not_found");
    }
}
