//! What healthy clients' latency is while others attack. A measurement, no test: it prints and judges nothing.
//!
//! `cargo test -p tidemark-compat --release attack -- --ignored --nocapture`
//!
//! Per round each state is measured once, one after the other, so that drifts of the machine meet all of them; the
//! medians of the rounds' p50 and p99 are printed.
#![expect(
    clippy::disallowed_methods,
    reason = "a measurement of real processes by the real clock"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemark_compat::{Crowd, Server};
use tidemark_records::Compression;

use crate::wire::{Client, batch, produce_frame};

const ROUNDS: usize = 3;
const SAMPLES: usize = 200;
const HALF_OPEN: usize = 10_000;
const DAWDLERS: usize = 200;
const BOMBERS: usize = 2;
/// What a bomb decompresses to, bytes.
const BOMB_BYTES: usize = 8 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Quiet,
    HalfOpen,
    HalfOpenHttp,
    Dawdlers,
    Bombs,
}

/// Attackers at work until dropped.
struct Attack {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _held: Option<Crowd>,
}

impl Attack {
    fn begin(state: State, server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut attack = Self {
            stop: Arc::clone(&stop),
            threads: Vec::new(),
            _held: None,
        };
        let to = server.bootstrap();
        match state {
            State::Quiet => {}
            State::HalfOpen => attack._held = Some(Crowd::gather(&to, HALF_OPEN, &[0, 0])),
            State::HalfOpenHttp => {
                let begun = b"GET /livez HTTP/1.1\r\nx-";
                attack._held = Some(Crowd::gather(&server.http_address(), HALF_OPEN, begun));
            }
            State::Dawdlers => attack
                .threads
                .push(std::thread::spawn(move || dawdle(&to, &stop))),
            State::Bombs => {
                let url =
                    server.url("/v1/topics/bombed/partitions/0/records?from=earliest&limit=1");
                attack.threads = (0..BOMBERS)
                    .map(|_| {
                        let (to, url, stop) = (to.clone(), url.clone(), Arc::clone(&stop));
                        std::thread::spawn(move || bomb(&to, &url, &stop))
                    })
                    .collect();
            }
        }
        std::thread::sleep(Duration::from_millis(500));
        attack
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn begun(to: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("the server accepts");
    let _ = stream.write_all(bytes);
    stream
}

/// Senders of 90 MiB frames who give 70 KiB, then a byte now and then; who is cut comes again.
fn dawdle(to: &str, stop: &AtomicBool) {
    let mut head = (90_i32 << 20).to_be_bytes().to_vec();
    head.extend([0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]);
    head.resize(70 << 10, 0);
    let mut all: Vec<_> = (0..DAWDLERS).map(|_| begun(to, &head)).collect();
    while !stop.load(Ordering::Relaxed) {
        for one in &mut all {
            one.set_nonblocking(true).unwrap();
            let gone = matches!(one.read(&mut [0]), Ok(0))
                || one
                    .write(&[0])
                    .is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock);
            if gone {
                *one = begun(to, &head);
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Produces small batches that decompress to much, and has them decompressed over HTTP.
fn bomb(to: &str, url: &str, stop: &AtomicBool) {
    let frame = produce_frame("bombed", batch(Compression::Zstd, &vec![0; BOMB_BYTES]));
    let mut client = Client::connect(to);
    while !stop.load(Ordering::Relaxed) {
        client.exchange(&frame);
        let _ = tidemark_compat::get(url);
    }
}

/// p50 and p99 of produce and of fetch, µs.
fn measure(server: &Server) -> [u128; 4] {
    let mut client = Client::connect(&server.bootstrap());
    let record = batch(Compression::None, &[7; 1_000]);
    let (mut produced, mut fetched) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let start = Instant::now();
        let offset = client.produce("healthy", record.clone());
        produced.push(start.elapsed().as_micros());
        let start = Instant::now();
        client.fetch("healthy", offset);
        fetched.push(start.elapsed().as_micros());
    }
    produced.sort_unstable();
    fetched.sort_unstable();
    let at = |all: &[u128], percent: usize| all[all.len() * percent / 100];
    [
        at(&produced, 50),
        at(&produced, 99),
        at(&fetched, 50),
        at(&fetched, 99),
    ]
}

#[test]
#[ignore = "a measurement, by hand"]
fn attack() {
    // Both listeners of one process would need more descriptors than many systems allow.
    let (data, http_data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = |data: &std::path::Path, flag: &str| {
        let server = Server::start(data, &[flag, "12000"]).expecting("");
        server.create_topic("healthy", 1);
        server.create_topic("bombed", 1);
        server
    };
    let many_kafka = start(data.path(), "--kafka-connections-max");
    let many_http = start(http_data.path(), "--http-connections-max");
    let states = [
        State::Quiet,
        State::Dawdlers,
        State::Bombs,
        State::HalfOpen,
        State::HalfOpenHttp,
    ];
    let mut seen = vec![Vec::new(); states.len()];
    for _ in 0..ROUNDS {
        for (state, seen) in states.iter().zip(&mut seen) {
            let server = match state {
                State::HalfOpenHttp => &many_http,
                _ => &many_kafka,
            };
            let attack = Attack::begin(*state, server);
            let took = measure(server);
            println!("{state:?}: {took:?}");
            seen.push(took);
            drop(attack);
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    println!("µs, medians of {ROUNDS} rounds      produce p50     p99   fetch p50     p99");
    for (state, seen) in states.iter().zip(seen) {
        let median = |which: usize| {
            let mut all: Vec<_> = seen.iter().map(|s| s[which]).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        let [a, b, c, d] = [0, 1, 2, 3].map(median);
        println!("{:<30} {a:>11} {b:>7} {c:>11} {d:>7}", format!("{state:?}"));
    }
}
