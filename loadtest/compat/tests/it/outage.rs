//! The folder of objects is gone until the disk's budget is reached, and comes back: one process, no restart.
#![allow(
    clippy::disallowed_methods,
    reason = "it moves the objects away, and looks at the disk"
)]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tidemark_compat::{Server, eventually, get, tools};

const BUDGET: u64 = 16 << 20;
const SEGMENT: u64 = 1 << 20;
const RECORD: usize = 64 << 10;
/// Half again the budget: the oldest records are in the object store only.
const BEFORE: u64 = 24 * (1 << 20) / RECORD as u64;
const TOPIC: &str = "through";
/// What a Kafka client sends meanwhile.
const LINES: usize = 2_000;
/// Behind an error that waits for an operator the store is asked every half minute.
const RECOVERS: Duration = Duration::from_secs(90);

/// Bytes no other record has, and no codec makes small.
fn record(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; RECORD];
    fastrand::Rng::with_seed(number).fill(&mut bytes);
    bytes
}

/// Appends a record. `false`: it was refused, with a time to come again.
fn append(server: &Server, number: u64) -> bool {
    let sent = ureq::post(&server.url(&format!("/v1/topics/{TOPIC}/records?partition=0")))
        .config()
        .http_status_as_error(false)
        .build()
        .header("content-type", "application/octet-stream")
        .send(&record(number)[..])
        .expect("the server answers");
    match sent.status().as_u16() {
        200 | 201 => true,
        503 => {
            assert!(sent.headers().contains_key("retry-after"));
            false
        }
        other => panic!("append {number}: {other}"),
    }
}

/// Reads a record. `false`: it is not to be had just now.
fn is_read(server: &Server, number: u64) -> bool {
    let path = format!("/v1/topics/{TOPIC}/partitions/0/records?offset={number}&limit=1");
    let mut read = ureq::get(&server.url(&path))
        .config()
        .http_status_as_error(false)
        .build()
        .header("accept", "application/octet-stream")
        .call()
        .expect("the server answers");
    match read.status().as_u16() {
        200 => {
            let bytes = read.body_mut().read_to_vec().expect("the body is read");
            assert!(bytes == record(number), "record {number} is another");
            true
        }
        503 => {
            assert!(read.headers().contains_key("retry-after"));
            false
        }
        other => panic!("read {number}: {other}"),
    }
}

/// A Kafka client that has some megabytes to send.
fn kcat(server: &Server) -> Child {
    let mut client = Command::new("kcat")
        .args(["-P", "-b", &server.bootstrap(), "-t", TOPIC, "-p", "1"])
        .args([
            "-X",
            "message.timeout.ms=300000",
            "-X",
            "batch.num.messages=1",
            // Without it nobody promises that pipelined batches keep their order when one of them is refused.
            "-X",
            "enable.idempotence=true",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let mut lines = client.stdin.take().expect("it is piped");
    std::thread::spawn(move || {
        for number in 0..LINES {
            let line = format!("{number:08}{}\n", "x".repeat(4_000));
            lines.write_all(line.as_bytes()).expect("it reads");
        }
    });
    client
}

fn consumed(server: &Server) -> Vec<usize> {
    let count = LINES.to_string();
    let read = Command::new("kcat")
        .args(["-C", "-e", "-q", "-b", &server.bootstrap(), "-t", TOPIC])
        .args(["-p", "1", "-o", "beginning", "-c", &count])
        .output()
        .expect("the client starts");
    let text = String::from_utf8(read.stdout).expect("text");
    let number = |line: &str| {
        line.get(..8)
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    text.lines().map(number).collect()
}

#[test]
fn a_process_lives_through_the_loss_of_its_objects_and_goes_on_when_they_are_back() {
    let tools = || tools::program("kcat", "kcat", "-V");
    tools::with(tools, |_| {
        let data = tempfile::tempdir().unwrap();
        let (objects, away) = (data.path().join("cold"), data.path().join("away"));
        let folder = objects.to_string_lossy().into_owned();
        let flags = [
            ["--blob-path", &folder],
            ["--wal-segment-size", "1MiB"],
            ["--wal-disk-budget", "16MiB"],
            ["--cold-object-size", "2MiB"],
            ["--cold-read-cache", "1MiB"],
            ["--log-tail-cache", "1MiB"],
            ["--log-shards", "1"],
        ];
        let server = Server::start(data.path(), &flags.concat())
            .expecting("tiering waits")
            .expecting("fetch: read cold batches");
        server.create_topic(TOPIC, 2);
        for number in 0..BEFORE {
            eventually("there is room", || append(&server, number));
        }
        std::fs::rename(&objects, &away).expect("the objects are moved");
        let mut next = BEFORE;
        while append(&server, next) {
            next += 1;
            assert!(next < 3 * BEFORE, "the budget is never reached");
        }
        let mut client = kcat(&server);
        for _ in 0..10 {
            assert!(is_read(&server, next - 1), "the tail is read");
            assert!(!is_read(&server, 0), "its object is away");
            assert!(!append(&server, next));
            sleep(Duration::from_millis(100));
        }
        let ready = get(&server.url("/readyz")).expect("it is ready all the same");
        assert!(
            ready.contains("object store") && ready.contains("folder's name"),
            "{ready}"
        );
        assert!(
            client.try_wait().unwrap().is_none(),
            "the client goes on trying"
        );

        std::fs::rename(&away, &objects).expect("the objects are back");
        let back = Instant::now();
        for number in next..next + BEFORE {
            while !append(&server, number) {
                assert!(back.elapsed() < RECOVERS, "still refused");
                sleep(Duration::from_millis(50));
            }
        }
        for number in 0..next + BEFORE {
            eventually("it is read", || is_read(&server, number));
        }
        assert!(
            client.wait().unwrap().success(),
            "all that it sent is acked"
        );
        let all: Vec<usize> = (0..LINES).collect();
        assert_eq!(consumed(&server), all);
        let ready = get(&server.url("/readyz")).expect("it is ready");
        assert!(!ready.contains("object store"), "{ready}");
        let files = std::fs::read_dir(data.path().join("wal")).expect("the folder is there");
        let sizes = files.filter_map(|file| file.ok()?.metadata().ok().map(|m| m.len()));
        let held: u64 = sizes.sum();
        assert!(held <= BUDGET + SEGMENT, "the WAL takes {held} bytes");
    });
}
