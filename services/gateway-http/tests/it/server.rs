//! The listener: bounds, slow clients, drain. Over real sockets, so in real time, with short timeouts.

use std::net::SocketAddr;
use std::time::Duration;

use tidemark_gateway_http::{BindError, Ctx, HttpConfig, HttpGateway, ServeError};
use tidemark_runtime::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::world::World;

fn config() -> HttpConfig {
    HttpConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        head_timeout: Duration::from_millis(100),
        body_idle_timeout: Duration::from_millis(100),
        drain_grace: Duration::from_millis(300),
        ..HttpConfig::default()
    }
}

struct Running {
    ctx: Ctx,
    address: SocketAddr,
    tasks: Tasks,
    served: JoinHandle<Result<(), ServeError>>,
}

#[expect(clippy::disallowed_methods, reason = "the test is the supervisor here")]
async fn run(config: HttpConfig) -> Running {
    let world = World::start(config).await;
    let gateway = HttpGateway::bind(world.ctx.clone(), world.tasks.clone())
        .await
        .unwrap();
    Running {
        ctx: world.ctx,
        address: gateway.local_addr(),
        tasks: world.tasks,
        served: tokio::spawn(gateway.serve()),
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, sent: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn alive(&self) {
        let answer = self
            .exchange(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let running = run(config()).await;
    let taken = HttpConfig {
        listen: running.address,
        ..config()
    };
    let world = World::start(taken).await;
    let error = HttpGateway::bind(world.ctx, Tasks::new())
        .await
        .unwrap_err();
    assert!(matches!(error, BindError::Taken { .. }));
    assert!(error.to_string().contains(&running.address.to_string()));
}

#[tokio::test]
async fn slow_heads_are_cut_off_and_nobody_notices() {
    let running = run(config()).await;
    let mut slow = Vec::new();
    for i in 0..50 {
        let mut stream = running.connect().await;
        if i % 2 == 0 {
            stream.write_all(b"GET /livez HT").await.unwrap();
        }
        slow.push(stream);
    }
    running.alive().await;
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        let rest = String::from_utf8(rest).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
    }
    running.alive().await;
}

#[tokio::test]
async fn garbage_and_large_heads_are_refused() {
    let running = run(config()).await;
    for garbage in [
        &b"\x00\x01\x02\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ] {
        let answer = running.exchange(garbage).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    let large = format!(
        "GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n",
        "y".repeat(200_000)
    );
    let answer = running.exchange(large.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    running.alive().await;
}

#[tokio::test]
async fn slow_bodies_get_an_answer_and_are_cut_off() {
    let running = run(config()).await;
    let head = b"POST /v1/topics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let answer = running.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("request_timed_out"), "{answer}");
    let claimed = b"POST /v1/topics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n";
    let answer = running.exchange(claimed).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn silent_connections_make_room_at_the_limit() {
    let few = HttpConfig {
        connections_max: 2,
        head_timeout: Duration::from_secs(600),
        ..config()
    };
    let running = run(few).await;
    let mut half = running.connect().await;
    half.write_all(b"GET /livez HT").await.unwrap();
    let _silent = running.connect().await;
    running.alive().await;
    // The older one made room.
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn connections_that_talked_keep_their_place_until_they_idle_too_long() {
    let one = HttpConfig {
        connections_max: 1,
        ..config()
    };
    let running = run(one).await;
    let mut talks = running.connect().await;
    for _ in 0..3 {
        talks
            .write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut some = [0; 12];
        talks.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"HTTP/1.1 200");
        // The rest of the answer.
        let _ = talks.read(&mut [0; 4096]).await.unwrap();
    }
    running.alive().await;
}

#[tokio::test]
async fn a_drain_ends_open_connections() {
    let running = run(config()).await;
    let mut idle = running.connect().await;
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 12];
    idle.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");
    running
        .tasks
        .shutdown(Duration::from_secs(5))
        .await
        .unwrap();
    running.served.await.unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    let refused = TcpStream::connect(running.address).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_drain_may_begin_while_the_log_still_serves() {
    let running = run(config()).await;
    running.alive().await;
    running.ctx.drain();
    running.served.await.unwrap().unwrap();
    assert!(running.tasks.failure().is_none());
}
