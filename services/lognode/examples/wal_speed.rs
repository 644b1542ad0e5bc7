//! Measures the WAL on a real folder: `cargo run --release -p tidemark-lognode --example wal_speed -- DIR`.
//!
//! Prints the throughput of 1024 frames of 128 KiB with 64 in flight, and the latency of 4 KiB appends one
//! after the other, first into reserved blocks and then into recycled ones, and how long a reopen takes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a measurement"
)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tidemark_journal::{
    Append, ExtentId, Frame, FrameBody, FrameKind, OpenExtent, Part, Release, Replica,
};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::{Epoch, ExtentIdx, Lsn, ShardId};

const EPOCH: Epoch = Epoch(1);

async fn start(folder: &str) -> Arc<LogNode> {
    let disk = Arc::new(FileDisk::open(folder).unwrap());
    let (clock, entropy, tasks) = (Clock::system(), Entropy::system(), Tasks::new());
    LogNode::open(disk, LogNodeConfig::default(), &clock, &entropy, &tasks)
        .await
        .unwrap()
}

fn frames(extent: ExtentId, count: u64, bytes: usize) -> Vec<Frame> {
    let payload = Bytes::from(vec![7u8; bytes]);
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &payload) as u32;
    let mut prev_crc = 0;
    let make = |lsn| {
        let part = Part {
            bytes: payload.clone(),
            skip: 0,
            crc,
        };
        let body = FrameBody {
            kind: FrameKind::Data,
            head: Bytes::new(),
            parts: vec![part],
        };
        let frame = Frame::pack(extent, Lsn(lsn), EPOCH, prev_crc, body);
        prev_crc = frame.crc;
        frame
    };
    (0..count).map(make).collect()
}

async fn run(node: &LogNode, index: u64, count: u64, bytes: usize, in_flight: usize) {
    let (shard, index) = (ShardId(0), ExtentIdx(index));
    let extent = ExtentId { shard, index };
    let first_lsn = Lsn(0);
    let epoch = EPOCH;
    node.open(OpenExtent {
        extent,
        epoch,
        first_lsn,
    })
    .await
    .unwrap();
    let (groups, started) = (node.stats().groups, Instant::now());
    let mut waiting = VecDeque::new();
    let mut took_us = Vec::new();
    for frame in frames(extent, count, bytes) {
        let frames = vec![frame];
        waiting.push_back((
            Instant::now(),
            node.append(Append {
                extent,
                epoch,
                frames,
            }),
        ));
        if waiting.len() >= in_flight {
            let (at, answer) = waiting.pop_front().unwrap();
            answer.await.unwrap();
            took_us.push(at.elapsed().as_micros());
        }
    }
    for (at, answer) in waiting {
        answer.await.unwrap();
        took_us.push(at.elapsed().as_micros());
    }
    let seconds = started.elapsed().as_secs_f64();
    took_us.sort_unstable();
    println!(
        "{count} x {bytes} B, {in_flight} in flight: {:.0} MiB/s, p50 {} us, p99 {} us, {} groups",
        (count as usize * bytes) as f64 / seconds / f64::from(1 << 20),
        took_us[took_us.len() / 2],
        took_us[took_us.len() * 99 / 100],
        node.stats().groups - groups,
    );
    node.release(Release { extent, epoch }).await.unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = std::env::args().nth(1).expect("a folder to write to");
    let node = start(&folder).await;
    for round in 0..3 {
        println!("round {round}");
        run(&node, round * 2, 1024, 128 << 10, 64).await;
        run(&node, round * 2 + 1, 2000, 4 << 10, 1).await;
    }
    println!("{:?}", node.stats());
    let (shard, index) = (ShardId(1), ExtentIdx(0));
    let extent = ExtentId { shard, index };
    let (epoch, first_lsn) = (EPOCH, Lsn(0));
    node.open(OpenExtent {
        extent,
        epoch,
        first_lsn,
    })
    .await
    .unwrap();
    for frame in frames(extent, 3000, 1 << 20).chunks(8) {
        let frames = frame.to_vec();
        node.append(Append {
            extent,
            epoch,
            frames,
        })
        .await
        .unwrap();
    }
    node.close().await;
    drop(node);
    let started = Instant::now();
    let node = start(&folder).await;
    println!("reopened 3 GB in {} ms", started.elapsed().as_millis());
    node.close().await;
}
