//! Producing in all three media types.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::world::{Answer, START_MS, World, request};

async fn keyed(world: &World, query: &str, key: &str, body: &str) -> Answer {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let path = format!("/v1/topics/t/records{query}");
    world
        .call(request(
            Method::POST,
            &path,
            &headers,
            Body::from(body.to_owned()),
        ))
        .await
}

const ONE: &str = r#"{"records":[{"value":"v"}]}"#;

#[tokio::test(start_paused = true)]
async fn json_records_get_partitions_and_offsets() {
    let world = World::with_topic(3).await;
    // "21" hashes to a negative number, "abc" to a positive one: Kafka's default partitioner.
    let body = r#"{"records":[
        {"key":"21","value":"a"},
        {"key":"abc","value":"b"},
        {"key":"21","value":"c","partition":2,"timestamp":5},
        {"key":null,"value":null}
    ]}"#;
    let answer = world.produce("", body).await;
    let produced = answer.ok();
    assert_eq!(produced["topic"], "t");
    assert_eq!(produced["durability"], "local");
    let records = produced["records"].as_array().unwrap();
    let expected = |hash: i64| (hash & 0x7fff_ffff) % 3;
    assert_eq!(records[0]["partition"], expected(-973_932_308));
    assert_eq!(records[1]["partition"], expected(479_470_107));
    assert_eq!(records[2]["partition"], 2);
    assert_eq!(records.len(), 4);
    let batch = &produced["batches"][0];
    assert_eq!(batch["base_offset"], 0);
    assert!(
        batch["timestamp"].as_i64().unwrap() >= START_MS,
        "now, by the service's clock"
    );
    assert_eq!(batch["duplicate"], false);
    let again = world.produce("?partition=2", ONE).await.ok();
    let before = records.iter().filter(|r| r["partition"] == 2).count();
    assert_eq!(
        again["records"][0],
        json!({"partition": 2, "offset": before})
    );
}

#[tokio::test(start_paused = true)]
async fn keyless_requests_take_turns() {
    let world = World::with_topic(3).await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let two = r#"{"records":[{"value":"a"},{"value":"b"}]}"#;
        let produced = world.produce("", two).await.ok();
        let (a, b) = (&produced["records"][0], &produced["records"][1]);
        assert_eq!(a["partition"], b["partition"], "one request's go together");
        seen.insert(a["partition"].as_i64().unwrap());
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn bad_records_are_named_and_nothing_is_appended() {
    let world = World::with_topic(2).await;
    for (body, code, status, record) in [
        (r#"{"records":[]}"#, "invalid_request", 400, None),
        (
            r#"{"records":[{"value":"a"},{"value":7}]}"#,
            "invalid_request",
            400,
            Some(1),
        ),
        (
            r#"{"records":[{"value":"a"},{"value":"%","value_encoding":"base64"}]}"#,
            "invalid_request",
            400,
            Some(1),
        ),
        (
            r#"{"records":[{"value":"a","partition":0},{"value":"b","partition":2}]}"#,
            "unknown_topic_or_partition",
            404,
            Some(1),
        ),
        (
            r#"{"records":[{"value":"a","partition":-1}]}"#,
            "unknown_topic_or_partition",
            404,
            Some(0),
        ),
        (r#"{"records":[{"key":"k"}]}"#, "invalid_request", 400, None),
        (
            r#"{"records":[{"value":"v","vaule":1}]}"#,
            "invalid_request",
            400,
            None,
        ),
    ] {
        let answer = world.produce("", body).await;
        answer.problem(status, code);
        if let Some(record) = record {
            assert_eq!(answer.json()["record"], record, "{body}");
        }
    }
    let many = format!(
        r#"{{"records":[{}{{"value":""}}]}}"#,
        r#"{"value":""},"#.repeat(10_000)
    );
    let detail = world
        .produce("", &many)
        .await
        .problem(400, "invalid_request");
    assert!(detail.contains("10000"), "{detail}");
    let topic = world.get("/v1/topics/t").await.ok();
    for p in topic["partitions"].as_array().unwrap() {
        assert_eq!(p["high_watermark"], 0);
    }
}

#[tokio::test(start_paused = true)]
async fn batches_over_the_topics_limit_are_split_or_refused() {
    let world = World::with_topic(1).await;
    let value = "x".repeat(700_000);
    let two = json!({"records": [{"value": value}, {"value": value}]}).to_string();
    let produced = world.produce("", &two).await.ok();
    assert_eq!(produced["batches"].as_array().unwrap().len(), 2);
    assert_eq!(produced["records"][1]["offset"], 1);
    let together = world.produce("?expected_offset=2", &two).await;
    together.problem(400, "invalid_request");
    let large = json!({"records": [{"value": "x".repeat(1_100_000)}]}).to_string();
    world
        .produce("", &large)
        .await
        .problem(413, "message_too_large");
}

#[tokio::test(start_paused = true)]
async fn an_expected_offset_is_a_condition() {
    let world = World::with_topic(1).await;
    world.produce("?expected_offset=0", ONE).await.ok();
    let late = world.produce("?expected_offset=0", ONE).await;
    late.problem(412, "expected_offset_mismatch");
    assert_eq!(late.json()["next_offset"], 1);
    world.produce("?expected_offset=1", ONE).await.ok();
    let body = r#"{"records":[{"value":"v"}]}"#;
    let path = "/v1/topics/t/records?expected_offset=2";
    let stream = world.post(path, "application/x-ndjson", body).await;
    stream.problem(400, "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_makes_retries_safe() {
    let world = World::with_topic(5).await;
    let first = keyed(&world, "", "k1", ONE).await.ok();
    let retry = keyed(&world, "", "k1", ONE).await.ok();
    assert_eq!(
        retry["records"], first["records"],
        "keyless, yet the same partition"
    );
    assert_eq!(first["batches"][0]["duplicate"], false);
    assert_eq!(retry["batches"][0]["duplicate"], true);
    let other = keyed(&world, "", "k1", r#"{"records":[{"value":"w"}]}"#).await;
    other.problem(400, "invalid_request");
    // K5: the key is recognised before the expected offset is compared.
    let path = "?partition=4&expected_offset=";
    let at = world.get("/v1/topics/t").await.ok()["partitions"][4]["high_watermark"].clone();
    let first = keyed(&world, &format!("{path}{at}"), "k2", ONE).await.ok();
    let retry = keyed(&world, &format!("{path}{at}"), "k2", ONE).await.ok();
    assert_eq!(retry["records"], first["records"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_one_binary_record() {
    let world = World::with_topic(3).await;
    let kind = "application/octet-stream";
    let value: Vec<u8> = (0..=255).collect();
    let path = "/v1/topics/t/records?key=21&timestamp=42";
    let produced = world.post(path, kind, value.clone()).await.ok();
    assert_eq!(
        produced["records"][0]["partition"],
        (-973_932_308_i64 & 0x7fff_ffff) % 3
    );
    assert_eq!(produced["batches"][0]["timestamp"], 42);
    let both = request(
        Method::POST,
        "/v1/topics/t/records?key=a",
        &[("content-type", kind), ("tidemark-key", "YQ==")],
        Body::empty(),
    );
    world.call(both).await.problem(400, "invalid_request");
    for (name, bad) in [
        ("tidemark-key", "%"),
        ("tidemark-header", "a=%"),
        ("tidemark-header", "%zz=YQ=="),
        ("tidemark-tombstone", "maybe"),
    ] {
        let headers = [("content-type", kind), (name, bad)];
        let answer = world.call(request(
            Method::POST,
            "/v1/topics/t/records",
            &headers,
            Body::empty(),
        ));
        answer.await.problem(400, "invalid_request");
    }
}

#[tokio::test(start_paused = true)]
async fn lines_are_answered_in_order_with_a_summary() {
    let world = World::with_topic(2).await;
    let mut body = String::new();
    for i in 0..2500 {
        body += &format!("{{\"key\":\"k{i}\",\"value\":\"v{i}\"}}\n");
        if i == 1200 {
            body += "\n{\"value\":7}\n";
        }
    }
    body += "{\"value\":\"last, without a line break\"}";
    let path = "/v1/topics/t/records";
    let lines = world.post(path, "application/x-ndjson", body).await.lines();
    assert_eq!(lines.len(), 2503);
    for (i, line) in lines[..2502].iter().enumerate() {
        assert_eq!(line["line"], i + 1);
        if i == 1201 {
            assert_eq!(line["error"]["code"], "invalid_request");
        } else {
            assert!(line["offset"].is_i64(), "{line}");
        }
    }
    let done = json!({"done": true, "lines": 2502, "appended": 2501, "failed": 1});
    assert_eq!(lines[2502], done);
    let topic = world.get("/v1/topics/t").await.ok();
    let ends = topic["partitions"].as_array().unwrap().iter();
    let total: i64 = ends.map(|p| p["high_watermark"].as_i64().unwrap()).sum();
    assert_eq!(total, 2501);
    let quiet = format!("{path}?acks=summary");
    let lines = world
        .post(&quiet, "application/x-ndjson", "{\"value\":\"a\"}\nx\n")
        .await
        .lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["line"], 2);
    assert_eq!(lines[1]["appended"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_line_stream_answers_while_it_is_sent() {
    let world = World::with_topic(1).await;
    let (send, lines) = tokio::sync::mpsc::channel::<&'static str>(1);
    let body = futures_util::stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((Ok::<_, std::io::Error>(line), lines))
    });
    let headers = [("content-type", "application/x-ndjson")];
    let path = "/v1/topics/t/records";
    let response = world
        .open(request(
            Method::POST,
            path,
            &headers,
            Body::from_stream(body),
        ))
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut answers = response.into_body().into_data_stream();
    use futures_util::StreamExt;
    for i in 0..3 {
        send.send("{\"value\":\"a\"}\n").await.unwrap();
        let answer = answers.next().await.unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            line["offset"], i,
            "the ack comes before the next line is sent"
        );
    }
    drop(send);
    let last = answers.next().await.unwrap().unwrap();
    let done: serde_json::Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(done["appended"], 3);
    assert!(answers.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_retried_line_stream_appends_nothing_twice() {
    let world = World::with_topic(2).await;
    let headers = [
        ("content-type", "application/x-ndjson"),
        ("idempotency-key", "s1"),
    ];
    let path = "/v1/topics/t/records";
    let lines = "{\"value\":\"a\"}\n{\"key\":\"k\",\"value\":\"b\"}\n{\"value\":\"c\"}\n";
    let send = |n: usize| {
        let body: String = lines.lines().take(n).flat_map(|l| [l, "\n"]).collect();
        world.call(request(Method::POST, path, &headers, Body::from(body)))
    };
    let part = send(2).await.lines();
    let whole = send(3).await.lines();
    assert_eq!(part[0]["offset"], whole[0]["offset"]);
    assert_eq!(part[1]["offset"], whole[1]["offset"]);
    assert_eq!(whole[3]["appended"], 3);
    let topic = world.get("/v1/topics/t").await.ok();
    let ends = topic["partitions"].as_array().unwrap().iter();
    let total: i64 = ends.map(|p| p["high_watermark"].as_i64().unwrap()).sum();
    assert_eq!(total, 3);
}

#[tokio::test(start_paused = true)]
async fn a_line_stream_that_breaks_off_says_how_far_it_came() {
    let world = World::with_topic(1).await;
    let body = futures_util::stream::iter([
        Ok("{\"value\":\"a\"}\n{\"value\":\"b\"}\n{\"val"),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    let path = "/v1/topics/t/records";
    let lines = world
        .post(path, "application/x-ndjson", Body::from_stream(body))
        .await
        .lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["done"], false);
    assert_eq!(lines[2]["appended"], 2);
    assert_eq!(lines[2]["error"]["code"], "invalid_request");
}

#[tokio::test(start_paused = true)]
async fn topics_are_created_on_demand_as_on_the_kafka_side() {
    let world = World::ready().await;
    let answer = world
        .post("/v1/topics/made/records", "application/json", ONE)
        .await;
    assert_eq!(answer.ok()["topic"], "made");
    let bad = world
        .post("/v1/topics/a%20b/records", "application/json", ONE)
        .await;
    bad.problem(400, "invalid_topic_name");
}

#[tokio::test(start_paused = true)]
async fn batches_take_the_topics_codec_and_read_back() {
    let world = World::ready().await;
    for codec in ["uncompressed", "gzip", "snappy", "lz4", "zstd"] {
        let new = json!({"name": codec, "config": {"compression.type": codec}}).to_string();
        let created = world.post("/v1/topics", "application/json", new).await;
        assert_eq!(created.status, StatusCode::CREATED, "{}", created.text());
        let value = "compressible ".repeat(100);
        let records = json!({"records": [{"value": value}, {"value": value}]}).to_string();
        let path = format!("/v1/topics/{codec}/records");
        world.post(&path, "application/json", records).await.ok();
        let page = world
            .get(&format!("/v1/topics/{codec}/partitions/0/records"))
            .await
            .ok();
        assert_eq!(page["records"][1]["value"], value, "{codec}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_logs_time_is_answered_where_the_log_gives_it() {
    let world = World::ready().await;
    let new = r#"{"name":"t","config":{"message.timestamp.type":"LogAppendTime"}}"#;
    world.post("/v1/topics", "application/json", new).await.ok();
    let body = r#"{"records":[{"value":"v","timestamp":7}]}"#;
    let produced = world.produce("", body).await.ok();
    let given = produced["batches"][0]["timestamp"].as_i64().unwrap();
    assert!(given >= START_MS, "{given}");
    let page = world.get("/v1/topics/t/partitions/0/records").await.ok();
    assert_eq!(page["records"][0]["timestamp"], given);
}

#[tokio::test(start_paused = true)]
async fn a_line_stream_may_pause_but_not_for_ever() {
    let world = World::with_topic(1).await;
    let body = futures_util::stream::unfold(0, |n| async move {
        let pause = [0, 60, 1_000_000];
        tokio::time::sleep(std::time::Duration::from_secs(pause[n])).await;
        Some((Ok::<_, std::io::Error>("{\"value\":\"a\"}\n"), n + 1))
    });
    let path = "/v1/topics/t/records";
    let lines = world
        .post(path, "application/x-ndjson", Body::from_stream(body))
        .await
        .lines();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["appended"], 2);
    assert_eq!(lines[2]["error"]["code"], "request_timed_out");
}

#[tokio::test(start_paused = true)]
async fn a_compacted_topic_takes_no_record_without_a_key() {
    let world = World::ready().await;
    let topic = r#"{"name":"t","partitions":1,"config":{"cleanup.policy":"compact"}}"#;
    world
        .post("/v1/topics", "application/json", topic)
        .await
        .ok();
    let mixed = r#"{"records":[{"key":"k","value":"v"},{"value":"v"}]}"#;
    let refused = world.produce("", mixed).await;
    let detail = refused.problem(400, "invalid_record");
    assert!(detail.contains("topic t"), "{detail}");
    assert_eq!(refused.json()["record"], 1);
    let path = "/v1/topics/t/records";
    let binary = world.post(path, "application/octet-stream", "v").await;
    binary.problem(400, "invalid_record");
    let lines = "{\"value\":\"v\"}\n{\"key\":\"k\",\"value\":null}\n";
    let answered = world
        .post(path, "application/x-ndjson", lines)
        .await
        .lines();
    assert_eq!(
        answered[0]["error"]["code"], "invalid_record",
        "{answered:?}"
    );
    // The line beside it is appended: it is the first in the log.
    assert_eq!(answered[1]["offset"], 0, "{answered:?}");
}
