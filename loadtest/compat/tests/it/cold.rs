//! Real clients read what lies in the object store, by offset, by timestamp and from the beginning.

use std::process::Command;

use tidemark_compat::{Server, eventually, get, tools};

/// 32 MiB in all: twice what the write-ahead log may take.
const RECORDS: u64 = 4_000;
const BASE_MS: u64 = 1_600_000_000_000;
const TOPIC: &str = "cold";

/// Standard output of a client, which must succeed.
fn run(mut command: Command) -> String {
    let output = command.output().expect("the client starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn python(interpreter: &std::path::Path, what: &str, server: &Server) {
    let mut command = Command::new(interpreter);
    command.arg(tools::python_client("cold.py"));
    command.args([what, &server.bootstrap(), TOPIC, &RECORDS.to_string()]);
    run(command);
}

fn kcat(server: &Server, from: &str) -> String {
    let mut command = Command::new("kcat");
    command.args(["-C", "-e", "-q", "-b", &server.bootstrap(), "-t", TOPIC]);
    command.args(["-p", "0", "-o", from, "-c", "2", "-f", "%o %T\n"]);
    run(command)
}

#[test]
fn clients_read_tiered_records_by_offset_and_by_timestamp() {
    let tools = || {
        let interpreter = tools::python()?;
        tools::program("kcat", "kcat", "-V")?;
        Ok((interpreter, tools::java()?))
    };
    tools::with(tools, |(interpreter, class_path)| {
        let data = tempfile::tempdir().unwrap();
        let flags = [
            ["--wal-segment-size", "1MiB"],
            ["--wal-disk-budget", "16MiB"],
            ["--cold-object-size", "2MiB"],
            ["--cold-read-cache", "2MiB"],
            ["--log-tail-cache", "1MiB"],
            ["--log-shards", "1"],
        ];
        let mut server = Server::start(data.path(), &flags.concat());
        // The records are years old.
        let config = serde_json::json!({ "retention.ms": "-1" });
        ureq::post(server.url("/v1/topics"))
            .send_json(serde_json::json!({ "name": TOPIC, "partitions": 1, "config": config }))
            .expect("the topic is created");
        python(&interpreter, "write", &server);
        eventually("the oldest extents are given up", || {
            let metrics = get(&server.url("/metrics")).expect("metrics are served");
            let released = |line: &str| {
                line.starts_with("tidemark_tier_extents_released") && !line.ends_with(" 0")
            };
            metrics.lines().any(released)
        });
        for _ in 0..2 {
            python(&interpreter, "read", &server);
            for offset in [0, RECORDS / 3] {
                let ms = |n: u64| BASE_MS + 1000 * n;
                let expected = format!(
                    "{offset} {}\n{} {}\n",
                    ms(offset),
                    offset + 1,
                    ms(offset + 1)
                );
                assert_eq!(kcat(&server, &offset.to_string()), expected);
                assert_eq!(kcat(&server, &format!("s@{}", ms(offset))), expected);
            }
            let mut java = Command::new("java");
            java.args(["-cp", &class_path, "Cold", &server.bootstrap(), TOPIC]);
            java.arg(RECORDS.to_string());
            run(java);
            server.kill();
            server.restart();
        }
    });
}
