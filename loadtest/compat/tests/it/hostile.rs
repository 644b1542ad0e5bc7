//! Hostile peers against the real process: memory stays bounded and everybody else is served.
#![expect(
    clippy::disallowed_methods,
    reason = "these tests open sockets on purpose"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidemark_compat::{Server, get};

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
