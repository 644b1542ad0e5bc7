//! The log outgrows its disk: twenty times the budget is written, and read from the beginning while writing goes on.
#![allow(
    clippy::disallowed_methods,
    reason = "it runs writers, readers and a watcher side by side, and looks at the disk"
)]

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use tidemark_compat::Server;

const BUDGET: u64 = 32 << 20;
const SEGMENT: u64 = 2 << 20;
const RECORD: usize = 128 << 10;
const PARTITIONS: u32 = 2;
/// Records of one partition: twenty budgets in all.
const RECORDS: u64 = 20 * BUDGET / PARTITIONS as u64 / RECORD as u64;

/// Bytes no other record has, and no codec makes small.
fn record(partition: u64, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; RECORD];
    fastrand::Rng::with_seed(partition << 32 | number).fill(&mut bytes);
    bytes
}

fn append(server: &Server, partition: u64, number: u64, refused: &AtomicU64) {
    let url = server.url(&format!("/v1/topics/long/records?partition={partition}"));
    let body = record(partition, number);
    for _ in 0..2_000 {
        let sent = ureq::post(&url)
            .config()
            .http_status_as_error(false)
            .build()
            .header("content-type", "application/octet-stream")
            .send(&body[..])
            .expect("the server answers");
        match sent.status().as_u16() {
            200 | 201 => return,
            // Nothing was appended: it says when to come again.
            503 => {
                assert!(sent.headers().contains_key("retry-after"));
                refused.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(50));
            }
            other => panic!("append {number} to {partition}: {other}"),
        }
    }
    panic!("append {number} to {partition}: refused for too long");
}

fn check(server: &Server, partition: u64, number: u64) {
    let path = format!("/v1/topics/long/partitions/{partition}/records");
    let url = server.url(&format!("{path}?offset={number}&limit=1"));
    for _ in 0..6_000 {
        let mut read = ureq::get(&url)
            .config()
            .http_status_as_error(false)
            .build()
            .header("accept", "application/octet-stream")
            .call()
            .expect("the server answers");
        match read.status().as_u16() {
            200 => {
                let bytes = read.body_mut().read_to_vec().expect("the body is read");
                assert!(
                    bytes == record(partition, number),
                    "record {number} of {partition} is another"
                );
                return;
            }
            // Not written yet.
            204 => sleep(Duration::from_millis(10)),
            other => panic!("read {number} of {partition}: {other}"),
        }
    }
    panic!("record {number} of {partition} never came");
}

fn wal_bytes(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("wal")).expect("the folder is there");
    let sizes = files.filter_map(|file| file.ok()?.metadata().ok().map(|m| m.len()));
    sizes.sum()
}

#[test]
fn twenty_times_the_disks_budget_is_written_and_read_while_writing_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let flags = [
        ["--wal-segment-size", "2MiB"],
        ["--wal-disk-budget", "32MiB"],
        ["--cold-object-size", "4MiB"],
        ["--cold-read-cache", "8MiB"],
        ["--log-tail-cache", "1MiB"],
        ["--log-shards", "2"],
    ];
    let mut server = Server::start(data.path(), &flags.concat());
    server.create_topic("long", PARTITIONS);
    let first = write_and_read(&server, data.path(), 0..RECORDS);
    // All of it is still there after a crash, from its first record on, while more is written.
    server.kill();
    server.restart();
    let more = write_and_read(&server, data.path(), RECORDS..RECORDS * 5 / 4);
    let largest = first.max(more);
    assert!(largest <= BUDGET + SEGMENT, "the WAL took {largest} bytes");
    assert!(server.terminate().success());
}

/// Writes the records of both partitions while everything from the beginning to the last of them is read and compared.
/// Answers the bytes that the WAL took at the most.
fn write_and_read(server: &Server, data: &Path, written: Range<u64>) -> u64 {
    let (refused, largest, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (refused, largest, done) = (&refused, &largest, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                largest.fetch_max(wal_bytes(data), Ordering::Relaxed);
                sleep(Duration::from_millis(20));
            }
        });
        let mut workers = Vec::new();
        for partition in 0..u64::from(PARTITIONS) {
            let (numbers, until) = (written.clone(), written.end);
            workers.push(scope.spawn(move || {
                for number in numbers {
                    append(server, partition, number, refused);
                }
            }));
            workers.push(scope.spawn(move || {
                for number in 0..until {
                    check(server, partition, number);
                }
            }));
        }
        let ended: Vec<_> = workers.into_iter().map(|one| one.join()).collect();
        // The watcher ends before anything is said of the others, or nothing ever would be.
        done.store(true, Ordering::Relaxed);
        for one in ended {
            one.expect("it said why");
        }
    });
    let (refused, largest) = (refused.into_inner(), largest.into_inner());
    println!("refused {refused} times, the WAL took {largest} bytes at the most");
    largest
}
