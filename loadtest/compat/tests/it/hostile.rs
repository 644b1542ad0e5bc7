//! Hostile peers against the real process: memory stays bounded and everybody else is served.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests open sockets on purpose"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidemark_compat::{Server, get};
use tidemark_records::Compression;

use crate::wire::{Client, batch};

const HALF_OPEN: usize = 10_000;
/// Memory the server may take for each connection that sent part of a length, bytes: a task, a socket, no buffer.
const BYTES_PER_HALF_OPEN: u64 = 16 << 10;

fn produce_and_read(server: &Server, what: &str) {
    ureq::post(server.url("/v1/topics/healthy/records"))
        .send_json(serde_json::json!({ "records": [{ "value": what }] }))
        .expect("a healthy producer is served");
    let read = get(&server.url("/v1/topics/healthy/partitions/0/records?from=earliest")).unwrap();
    assert!(read.contains(what), "{read}");
}

#[test]
fn ten_thousand_half_open_connections_cost_little_and_disturb_nobody() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]).expecting("connection ended");
    server.create_topic("healthy", 1);
    produce_and_read(&server, "before");
    let before = server.resident_bytes();
    let held: Vec<TcpStream> = (0..HALF_OPEN)
        .map(|_| {
            let mut stream = TcpStream::connect(server.bootstrap()).expect("the server accepts");
            stream.write_all(&[0, 0]).expect("half a length is sent");
            stream
        })
        .collect();
    produce_and_read(&server, "meanwhile");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(
        grown < HALF_OPEN as u64 * BYTES_PER_HALF_OPEN,
        "{HALF_OPEN} half-open connections took {grown} bytes"
    );
    drop(held);
    produce_and_read(&server, "after");
}

#[test]
fn lengths_that_lie_close_their_own_connection_only() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]).expecting("connection ended");
    server.create_topic("healthy", 1);
    let before = server.resident_bytes();
    for length in [i32::MAX, i32::MIN, -1, 0, 1, 200 << 20] {
        let mut stream = TcpStream::connect(server.bootstrap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        let _half_closed = stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        // Closed by the server, with or without a reset; an open connection would time out.
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) => assert_eq!(
                e.kind(),
                std::io::ErrorKind::ConnectionReset,
                "length {length}"
            ),
        }
    }
    produce_and_read(&server, "still here");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "lying lengths took {grown} bytes");
}

const DAWDLERS: usize = 300;
/// Memory for requests that the server is given, MiB: the least it takes.
const REQUEST_MEMORY_MIB: u64 = 100;
/// Bytes each dawdler sends: with them it is given 2 MiB for its frame, so all of them would take 600.
const DAWDLED: usize = 70 << 10;

#[test]
fn slow_senders_of_large_frames_take_no_more_memory_than_is_set_and_keep_nobody_waiting() {
    let data = tempfile::tempdir().unwrap();
    let memory = format!("{REQUEST_MEMORY_MIB}MiB");
    let flags = ["--kafka-request-memory", &memory];
    let server = Server::start(data.path(), &flags).expecting("connection ended");
    server.create_topic("healthy", 1);
    let mut client = Client::connect(&server.bootstrap());
    let small = batch(Compression::None, b"small");
    let large = batch(Compression::None, &[7; 700 << 10]);
    client.produce("healthy", small.clone());
    client.produce("healthy", large.clone());
    let before = server.resident_bytes();
    let mut frame = (90_i32 << 20).to_be_bytes().to_vec();
    frame.extend([0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]);
    frame.resize(DAWDLED, 0);
    let mut held = Vec::new();
    for n in 0..DAWDLERS {
        let mut stream = TcpStream::connect(server.bootstrap()).expect("the server accepts");
        stream.set_nonblocking(true).unwrap();
        // What does not fit the socket's buffer is not needed: the server reads no further then.
        let _ = stream.write(&frame);
        held.push(stream);
        if n % 100 == 99 {
            client.produce("healthy", small.clone());
            client.produce("healthy", large.clone());
        }
    }
    // The memory that is set, twice: a buffer that grows is there twice for a moment. Then what every open connection
    // may cost, and what the healthy client's own requests and the log's caches take.
    let bound = 2 * (REQUEST_MEMORY_MIB << 20) + DAWDLERS as u64 * BYTES_PER_HALF_OPEN + (32 << 20);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < bound, "{DAWDLERS} slow senders took {grown} bytes");
}
