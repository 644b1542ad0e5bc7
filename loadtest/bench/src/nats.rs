//! NATS `JetStream`, just enough of it: streams, and publishing one message after the other, each acknowledged.

use bytes::{Buf, BytesMut};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::LoadError;
use crate::layout::{Layout, Slot};

const LINE_BYTES_MAX: usize = 1 << 20;

/// A connection with an inbox of its own.
#[derive(Debug)]
pub struct Nats {
    io: TcpStream,
    buf: BytesMut,
    inbox: String,
}

impl Nats {
    /// Connects; `name` makes the inbox this connection's own.
    ///
    /// # Errors
    /// [`LoadError::Connect`], or when the server is no NATS.
    pub async fn connect(address: &str, name: &str) -> Result<Self, LoadError> {
        let io = TcpStream::connect(address).await;
        let io = io.and_then(|io| io.set_nodelay(true).map(|()| io));
        let io = io.map_err(|why| LoadError::Connect {
            address: address.to_owned(),
            protocol: "NATS",
            why,
        })?;
        let inbox = format!("_INBOX.{name}");
        let mut nats = Self {
            io,
            buf: BytesMut::new(),
            inbox,
        };
        let hello = nats.line().await?;
        if !hello.starts_with("INFO ") {
            return Err(LoadError::broken(
                "greet NATS",
                format!("it says {hello:?}"),
            ));
        }
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {} 1\r\n",
            nats.inbox
        );
        nats.send(connect.as_bytes()).await?;
        Ok(nats)
    }

    /// Makes one stream per partition: a stream is what has one order.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn create_streams(&mut self, layout: &Layout) -> Result<(), LoadError> {
        for slot in 0..layout.slots() {
            let name = subject(layout, slot);
            let config = serde_json::json!({
                "name": name, "subjects": [name], "retention": "limits", "storage": "file",
                "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
                "discard": "old",
            });
            let api = format!("$JS.API.STREAM.CREATE.{name}");
            self.publish(&api, config.to_string().as_bytes()).await?;
        }
        Ok(())
    }

    /// Publishes and gives the sequence number of the acknowledgement.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn append(
        &mut self,
        layout: &Layout,
        slot: Slot,
        value: &[u8],
    ) -> Result<i64, LoadError> {
        let ack = self.publish(&subject(layout, slot), value).await?;
        ack.seq
            .ok_or_else(|| LoadError::broken("publish", "an acknowledgement without a sequence"))
    }

    async fn publish(&mut self, subject: &str, body: &[u8]) -> Result<Ack, LoadError> {
        let mut whole = format!("PUB {subject} {} {}\r\n", self.inbox, body.len()).into_bytes();
        whole.extend_from_slice(body);
        whole.extend_from_slice(b"\r\n");
        self.send(&whole).await?;
        loop {
            let line = self.line().await?;
            if line == "PING" {
                self.send(b"PONG\r\n").await?;
            } else if line.starts_with("MSG ") {
                return self.message(&line).await;
            } else if line.starts_with("HMSG ") {
                // Headers only: nobody serves the subject.
                return Err(LoadError::broken(
                    "publish",
                    "nobody answers: is JetStream enabled?",
                ));
            } else if line.starts_with("-ERR") {
                return Err(LoadError::broken("publish", line));
            }
        }
    }

    async fn message(&mut self, line: &str) -> Result<Ack, LoadError> {
        let broken = |why: &str| LoadError::broken("read acknowledgement", why);
        let length = line
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse::<usize>().ok());
        let length = length
            .filter(|n| *n <= LINE_BYTES_MAX)
            .ok_or_else(|| broken("no length"))?;
        while self.buf.len() < length + 2 {
            self.more().await?;
        }
        let body = self.buf.split_to(length);
        self.buf.advance(2);
        let ack: Ack = serde_json::from_slice(&body).map_err(|e| broken(&e.to_string()))?;
        match &ack.error {
            Some(error) => Err(LoadError::Refused {
                what: "publish".to_owned(),
                code: error.code,
                message: format!(": {}", error.description),
            }),
            None => Ok(ack),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), LoadError> {
        let sent = self.io.write_all(bytes).await;
        sent.map_err(|e| LoadError::broken("send to NATS", e))
    }

    async fn line(&mut self) -> Result<String, LoadError> {
        loop {
            if let Some(at) = self.buf.windows(2).position(|w| w == b"\r\n") {
                let line = self.buf.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.buf.len() > LINE_BYTES_MAX {
                return Err(LoadError::broken(
                    "read from NATS",
                    "a line that does not end",
                ));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), LoadError> {
        self.buf.reserve(16 << 10);
        match self.io.read_buf(&mut self.buf).await {
            Ok(0) => Err(LoadError::broken(
                "read from NATS",
                "the server closed the connection",
            )),
            Ok(_) => Ok(()),
            Err(e) => Err(LoadError::broken("read from NATS", e)),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Ack {
    seq: Option<i64>,
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: i32,
    #[serde(default)]
    description: String,
}

fn subject(layout: &Layout, slot: Slot) -> String {
    layout.name(slot).replace('/', "-")
}
