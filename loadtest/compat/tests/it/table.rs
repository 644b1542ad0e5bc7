//! A consumer builds a table of 10,000 keys from a compacted topic that took a million updates.

use std::process::Command;

use tidemark_compat::{Server, eventually, tools};

const UPDATES: u64 = 1_000_000;
const KEYS: u64 = 10_000;

fn run(server: &Server, class_path: &str, what: &str) -> String {
    let (updates, keys) = (UPDATES.to_string(), KEYS.to_string());
    let output = Command::new("java")
        .args(["-cp", class_path, "Table", what])
        .args([&server.bootstrap(), "table", &updates, &keys])
        .output()
        .expect("java starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {errors}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

#[test]
fn a_consumer_builds_the_table_of_a_compacted_topic() {
    tools::with(tools::java, |class_path| {
        let data = tempfile::tempdir().unwrap();
        // Small extents and objects, memory for fewer keys than there are, and no patience.
        let mut server = Server::start(
            data.path(),
            &[
                "--cold-enabled",
                "true",
                "--log-shards",
                "1",
                "--log-roll-size",
                "1MiB",
                "--cold-object-size",
                "4MiB",
                "--cold-segment-size",
                "4MiB",
                "--cold-compaction-period",
                "500ms",
                "--cold-compaction-memory",
                "256KiB",
                "--cold-compaction-least",
                "64KiB",
            ],
        );
        let body = serde_json::json!({ "name": "table", "partitions": 1, "config": {
            "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1",
        }});
        ureq::post(server.url("/v1/topics"))
            .send_json(body)
            .expect("the topic is created");
        run(&server, &class_path, "write");
        eventually("the topic was compacted", || {
            server.metric("tidemark_compaction_records") > UPDATES * 9 / 10
        });
        // From objects while the write-ahead log still holds all of it, and after a kill.
        for _ in 0..2 {
            let records: u64 = run(&server, &class_path, "read").parse().expect("a count");
            assert!(records < UPDATES / 10, "{records} records were read");
            let records: u64 = run(&server, &class_path, "seek").parse().expect("a count");
            assert!(records < UPDATES / 10, "{records} records were read");
            server.kill();
            server.restart();
        }
    });
}
