//! Reading pages and single records.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::world::{START_MS, World, request};

const RECORDS: &str = "/v1/topics/t/partitions/0/records";

/// A topic with one partition of `n` records `v0`, `v1`, … with timestamps 1000, 1010, …
async fn filled(n: usize) -> World {
    let world = World::with_topic(1).await;
    let records: Vec<_> = (0..n)
        .map(|i| json!({"key": format!("k{i}"), "value": format!("v{i}"), "timestamp": START_MS + 10 * i as i64}))
        .collect();
    for chunk in records.chunks(3) {
        world
            .produce("", &json!({"records": chunk}).to_string())
            .await
            .ok();
    }
    world
}

fn values(page: &serde_json::Value) -> Vec<&str> {
    let records = page["records"].as_array().unwrap();
    records
        .iter()
        .map(|r| r["value"].as_str().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn pages_follow_each_other() {
    let world = filled(8).await;
    let page = world.get(&format!("{RECORDS}?limit=5")).await.ok();
    assert_eq!(values(&page), ["v0", "v1", "v2", "v3", "v4"]);
    assert_eq!(page["next_offset"], 5);
    assert_eq!(page["high_watermark"], 8);
    assert_eq!(page["log_start"], 0);
    let record = &page["records"][1];
    let expected = json!({
        "offset": 1, "timestamp": START_MS + 10, "key": "k1", "key_encoding": "utf8",
        "value": "v1", "value_encoding": "utf8",
    });
    assert_eq!(*record, expected);
    // Offset 5 lies inside a batch.
    let page = world.get(&format!("{RECORDS}?offset=5")).await.ok();
    assert_eq!(values(&page), ["v5", "v6", "v7"]);
    let end = world.get(&format!("{RECORDS}?offset=8")).await.ok();
    assert_eq!(end["records"], json!([]));
    assert_eq!(end["next_offset"], 8);
    let small = world.get(&format!("{RECORDS}?max_bytes=1")).await.ok();
    assert_eq!(
        values(&small),
        ["v0"],
        "one record is given whatever its size"
    );
}

#[tokio::test(start_paused = true)]
async fn reads_begin_by_time_or_at_an_end() {
    let world = filled(8).await;
    let since = START_MS + 41;
    let page = world
        .get(&format!("{RECORDS}?timestamp={since}"))
        .await
        .ok();
    assert_eq!(page["records"][0]["offset"], 5);
    let future = START_MS + 1_000_000;
    let page = world
        .get(&format!("{RECORDS}?timestamp={future}"))
        .await
        .ok();
    assert_eq!(page["next_offset"], 8, "nothing that late: the end");
    let page = world.get(&format!("{RECORDS}?from=latest")).await.ok();
    assert_eq!(page["next_offset"], 8);
    let page = world
        .get(&format!("{RECORDS}?from=earliest&limit=1"))
        .await
        .ok();
    assert_eq!(values(&page), ["v0"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_a_problem() {
    let world = filled(2).await;
    let beyond = world.get(&format!("{RECORDS}?offset=3")).await;
    beyond.problem(416, "offset_out_of_range");
    assert_eq!(beyond.json()["log_start"], 0);
    assert_eq!(beyond.json()["high_watermark"], 2);
    for path in [
        "/v1/topics/t/partitions/1/records",
        "/v1/topics/t/partitions/-1/records",
        "/v1/topics/none/partitions/0/records",
    ] {
        world
            .get(path)
            .await
            .problem(404, "unknown_topic_or_partition");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_for_the_first_record() {
    let world = filled(1).await;
    let path = format!("{RECORDS}?offset=1&wait_ms=30000");
    let (page, _) = tokio::join!(world.get(&path), async {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        world
            .produce("", r#"{"records":[{"value":"late"}]}"#)
            .await
            .ok();
    });
    assert_eq!(values(&page.ok()), ["late"]);
    let page = world
        .get(&format!("{RECORDS}?offset=2&wait_ms=500"))
        .await
        .ok();
    assert_eq!(page["records"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn lines_are_the_same_records() {
    let world = filled(4).await;
    let answer = world
        .get_as(&format!("{RECORDS}?limit=3"), "application/x-ndjson")
        .await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.header("tidemark-next-offset"), "3");
    let page = world.get(&format!("{RECORDS}?limit=3")).await.ok();
    assert_eq!(json!(answer.lines()), page["records"]);
}

#[tokio::test(start_paused = true)]
async fn single_records_are_bare() {
    let world = World::with_topic(1).await;
    let kind = "application/octet-stream";
    let headers = [
        ("content-type", kind),
        ("tidemark-key", "AP8="),
        ("tidemark-header", "a%20b=AQI="),
        ("tidemark-header", "null"),
        ("tidemark-header", "empty="),
    ];
    let path = "/v1/topics/t/records?timestamp=1699999999999";
    world
        .call(request(
            Method::POST,
            path,
            &headers,
            Body::from(&b"\x00\xff\n"[..]),
        ))
        .await
        .ok();
    let gone = [("content-type", kind), ("tidemark-tombstone", "true")];
    world
        .call(request(
            Method::POST,
            "/v1/topics/t/records",
            &gone,
            Body::empty(),
        ))
        .await
        .ok();

    let first = world.get_as(RECORDS, kind).await;
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(&first.body[..], b"\x00\xff\n");
    assert_eq!(first.header("tidemark-key"), "AP8=");
    assert_eq!(first.header("tidemark-offset"), "0");
    assert_eq!(first.header("tidemark-timestamp"), "1699999999999");
    assert_eq!(first.header("tidemark-next-offset"), "1");
    let record_headers: Vec<_> = first.headers.get_all("tidemark-header").iter().collect();
    assert_eq!(record_headers, ["a%20b=AQI=", "null", "empty="]);
    let second = world.get_as(&format!("{RECORDS}?offset=1"), kind).await;
    assert_eq!(second.header("tidemark-tombstone"), "true");
    assert!(second.body.is_empty());
    let none = world.get_as(&format!("{RECORDS}?offset=2"), kind).await;
    assert_eq!(none.status, StatusCode::NO_CONTENT);
}
