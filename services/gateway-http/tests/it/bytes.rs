//! Whatever bytes go in come out, through the log, in every encoding.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::world::World;

const RECORDS: &str = "/v1/topics/t/partitions/0/records";

type Header = (Vec<u8>, Option<Vec<u8>>);
type Record = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<Header>);

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..50),
        "\\PC{0,10}".prop_map(String::into_bytes),
        Just(b"{\"a\": [1, 2]}".to_vec()),
        Just(b"null".to_vec()),
        Just(b"[1,\n2]".to_vec()),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let headers = vec((bytes(), option::of(bytes())), 0..3);
    (option::of(bytes()), option::of(bytes()), headers)
}

fn base64(bytes: &Option<Vec<u8>>) -> Value {
    use base64::Engine;
    json!(
        bytes
            .as_ref()
            .map(|b| base64::prelude::BASE64_STANDARD.encode(b))
    )
}

/// The bytes that a field of an answer means by its encoding.
fn decoded(field: &Value, encoding: &Value) -> Option<Vec<u8>> {
    use base64::Engine;
    let text = || field.as_str().unwrap();
    match (field, encoding.as_str().unwrap()) {
        (Value::Null, _) => None,
        (_, "utf8") => Some(text().as_bytes().to_vec()),
        (_, "base64") => Some(base64::prelude::BASE64_STANDARD.decode(text()).unwrap()),
        (_, other) => panic!("encoding {other} of {field}"),
    }
}

fn read(found: &Value) -> Record {
    let headers = found["headers"].as_array().cloned().unwrap_or_default();
    let headers = headers.iter().map(|h| {
        let key = decoded(&h["key"], &h["key_encoding"]).unwrap();
        (key, decoded(&h["value"], &h["value_encoding"]))
    });
    (
        decoded(&found["key"], &found["key_encoding"]),
        decoded(&found["value"], &found["value_encoding"]),
        headers.collect(),
    )
}

#[test]
fn arbitrary_records_survive_the_round_trip() {
    let config = Config {
        cases: 32,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&vec(record(), 1..6), |records| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(round_trip(records));
        Ok(())
    });
    outcome.unwrap();
}

async fn round_trip(records: Vec<Record>) {
    let world = World::with_topic(1).await;
    let body: Vec<_> = records
        .iter()
        .map(|(key, value, headers)| {
            let headers: Vec<_> = headers
                .iter()
                .map(|(k, v)| {
                    json!({
                        "key": base64(&Some(k.clone())), "key_encoding": "base64",
                        "value": base64(v), "value_encoding": "base64",
                    })
                })
                .collect();
            json!({"key": base64(key), "value": base64(value), "headers": headers})
        })
        .collect();
    let body = json!({"records": body}).to_string();
    world.produce("?encoding=base64", &body).await.ok();
    for encoding in ["utf8", "base64"] {
        let page = world
            .get(&format!("{RECORDS}?encoding={encoding}"))
            .await
            .ok();
        let found: Vec<Record> = page["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(read)
            .collect();
        assert_eq!(found, records, "{encoding}");
    }
    // As JSON where it can be: what was read is produced again as it stands and reads the same.
    let page = world.get(&format!("{RECORDS}?encoding=json")).await;
    let text = page.text();
    let mut copy: Value = serde_json::from_str(text).unwrap();
    let again: Vec<Value> = copy["records"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .map(|r| {
            r.as_object_mut().unwrap().remove("offset");
            r.take()
        })
        .collect();
    world
        .produce("", &json!({"records": again}).to_string())
        .await
        .ok();
    let path = format!("{RECORDS}?offset={}&encoding=json", records.len());
    let twin = world.get(&path).await.ok();
    for (a, b) in again.iter().zip(twin["records"].as_array().unwrap()) {
        assert_eq!(a["value"], b["value"]);
        assert_eq!(a["key"], b["key"]);
        assert_eq!(a.get("headers"), b.get("headers"));
    }
}
