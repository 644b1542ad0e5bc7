//! Hostile peers against the real process: memory stays bounded and everybody else is served.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests open sockets on purpose"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidemark_compat::{Crowd, Server, eventually, get};
use tidemark_records::Compression;

use crate::wire::{Client, batch};

const HALF_OPEN: usize = 10_000;
/// Memory the server may take for each connection that sent part of a request, bytes: a task, a socket, for HTTP the
/// parser and its first buffer.
const KAFKA_BYTES_PER_HALF_OPEN: u64 = 16 << 10;
const HTTP_BYTES_PER_HALF_OPEN: u64 = 32 << 10;

fn produce_and_read(server: &Server, what: &str) {
    ureq::post(server.url("/v1/topics/healthy/records"))
        .send_json(serde_json::json!({ "records": [{ "value": what }] }))
        .expect("a healthy producer is served");
    let read = get(&server.url("/v1/topics/healthy/partitions/0/records?from=earliest")).unwrap();
    assert!(read.contains(what), "{read}");
}

/// Holds 10,000 half-open connections to `address` and checks that others are served meanwhile and what each costs.
fn crowded(server: &Server, address: &str, begun: &[u8], bytes_each_max: u64) {
    server.create_topic("healthy", 1);
    let mut client = Client::connect(&server.bootstrap());
    let record = batch(Compression::None, b"record");
    client.produce("healthy", record.clone());
    produce_and_read(server, "before");
    let before = server.resident_bytes();
    let crowd = Crowd::gather(address, HALF_OPEN, begun);
    produce_and_read(server, "meanwhile");
    let offset = client.produce("healthy", record.clone());
    client.fetch("healthy", offset);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(
        grown < HALF_OPEN as u64 * bytes_each_max,
        "{HALF_OPEN} half-open connections took {grown} bytes"
    );
    // A new client as well as the one that was there before.
    Client::connect(&server.bootstrap()).produce("healthy", record);
    drop(crowd);
    produce_and_read(server, "after");
}

#[test]
fn ten_thousand_half_open_kafka_connections_cost_little_and_disturb_nobody() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--kafka-connections-max", "12000"];
    let server = Server::start(data.path(), &flags).expecting("connection ended");
    let to = server.bootstrap();
    crowded(&server, &to, &[0, 0], KAFKA_BYTES_PER_HALF_OPEN);
}

#[test]
fn ten_thousand_half_open_http_connections_cost_little_and_disturb_nobody() {
    let data = tempfile::tempdir().unwrap();
    let flags = ["--http-connections-max", "12000"];
    let server = Server::start(data.path(), &flags);
    let to = server.http_address();
    let head = b"POST /v1/topics/healthy/records HTTP/1.1\r\nhost: x\r\nx-";
    crowded(&server, &to, head, HTTP_BYTES_PER_HALF_OPEN);
}

#[test]
fn more_half_open_connections_than_there_are_places_for_keep_nobody_out() {
    const PLACES: usize = 200;
    let data = tempfile::tempdir().unwrap();
    let bound = PLACES.to_string();
    let flags = [
        "--kafka-connections-max",
        &bound,
        "--http-connections-max",
        &bound,
    ];
    let server = Server::start(data.path(), &flags).expecting("connection");
    server.create_topic("healthy", 1);
    let listeners: [(String, &[u8]); 2] = [
        (server.bootstrap(), &[0, 0]),
        (server.http_address(), b"GET /livez HT"),
    ];
    for (address, begun) in listeners {
        let crowd = Crowd::gather(&address, 3 * PLACES, begun);
        produce_and_read(&server, "meanwhile");
        let record = batch(Compression::None, b"record");
        Client::connect(&server.bootstrap()).produce("healthy", record);
        eventually("the oldest made room", || crowd.open() <= PLACES);
    }
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
    let bound =
        2 * (REQUEST_MEMORY_MIB << 20) + DAWDLERS as u64 * KAFKA_BYTES_PER_HALF_OPEN + (32 << 20);
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < bound, "{DAWDLERS} slow senders took {grown} bytes");
}
