//! Bodies that are nearly right, or noise, in any pieces: always an answer, never a 500.

use axum::body::Body;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::world::{Answer, World};

const RECORD: &str = r#"{"key":"k","value":{"a":[1,null]},"value_encoding":"json","headers":[{"key":"h","value":"dg==","value_encoding":"base64"}],"partition":0,"timestamp":1}"#;

/// A right body with some bytes replaced, or any bytes.
fn body(right: String) -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let edited =
        (edits, any::<prop::sample::Index>(), any::<bool>()).prop_map(move |(edits, end, cut)| {
            let mut bytes = right.clone().into_bytes();
            for (at, byte) in edits {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        });
    prop_oneof![4 => edited, 1 => vec(any::<u8>(), 0..100)]
}

/// A stream that gives `bytes` in pieces of `size`.
fn in_pieces(bytes: &[u8], size: usize) -> Body {
    let pieces: Vec<_> = bytes
        .chunks(size.max(1))
        .map(|c| Ok::<_, std::io::Error>(bytes::Bytes::copy_from_slice(c)))
        .collect();
    Body::from_stream(futures_util::stream::iter(pieces))
}

fn check(answer: &Answer) {
    let status = answer.status.as_u16();
    assert!(status < 500, "{status}: {}", answer.text());
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok() || status == 200);
}

fn run<S: Strategy>(strategy: S, case: impl AsyncFn(&World, S::Value)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let world = runtime.block_on(World::with_topic(2));
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |value| {
        runtime.block_on(case(&world, value));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn any_json_body_gets_an_answer() {
    let right = format!(r#"{{"records":[{RECORD},{RECORD}]}}"#);
    run((body(right), 1..200_usize), async |world, (bytes, size)| {
        let kind = "application/json";
        let produced = world
            .post("/v1/topics/t/records", kind, in_pieces(&bytes, size))
            .await;
        check(&produced);
        let created = world
            .post("/v1/topics?validate_only=true", kind, bytes)
            .await;
        check(&created);
    });
}

#[test]
fn lines_mean_the_same_in_any_pieces() {
    let right = format!("{RECORD}\n\n{RECORD}\r\n{RECORD}");
    run((body(right), 1..200_usize), async |world, (bytes, size)| {
        let path = "/v1/topics/t/records?partition=1";
        let kind = "application/x-ndjson";
        let whole = world.post(path, kind, bytes.clone()).await.lines();
        let pieces = world
            .post(path, kind, in_pieces(&bytes, size))
            .await
            .lines();
        assert_eq!(whole.last(), pieces.last());
        let failed = |lines: &[serde_json::Value]| {
            let failed = lines.iter().filter(|l| l["error"].is_object());
            failed.map(|l| l["line"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(failed(&whole), failed(&pieces));
        assert_eq!(whole.len(), pieces.len());
    });
}
