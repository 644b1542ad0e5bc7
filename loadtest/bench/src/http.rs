//! HTTP/1.1, just enough of it: one request at a time on one kept connection.

use std::fmt::Write as _;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::LoadError;
use crate::layout::{Layout, Slot};
use crate::measure::Flow;
use crate::scenario::{Consume, From};
use crate::shared::Shared;
use crate::verify::{Findings, Reader};

/// Largest answer taken, bytes.
const BODY_BYTES_MAX: usize = 256 << 20;
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A kept connection.
#[derive(Debug)]
pub struct Http {
    io: TcpStream,
    host: String,
    buf: BytesMut,
}

impl Http {
    /// Connects.
    ///
    /// # Errors
    /// [`LoadError::Connect`].
    pub async fn connect(address: &str) -> Result<Self, LoadError> {
        let io = TcpStream::connect(address).await;
        let io = io.and_then(|io| io.set_nodelay(true).map(|()| io));
        let io = io.map_err(|why| LoadError::Connect {
            address: address.to_owned(),
            protocol: "HTTP",
            why,
        })?;
        Ok(Self {
            io,
            host: address.to_owned(),
            buf: BytesMut::new(),
        })
    }

    /// Sends a request and gives status and body of its answer.
    ///
    /// # Errors
    /// When the connection ends or the answer cannot be read.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<(u16, Bytes), LoadError> {
        let mut head = String::with_capacity(256);
        let written = write!(
            head,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        debug_assert!(written.is_ok());
        let mut whole = head.into_bytes();
        whole.extend_from_slice(body);
        let broken = |e: std::io::Error| LoadError::broken("send HTTP request", e);
        self.io.write_all(&whole).await.map_err(broken)?;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<(u16, Bytes), LoadError> {
        let broken = |why: &str| LoadError::broken("read HTTP answer", why);
        let end = loop {
            let at = self.buf.windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(at) = at {
                break at;
            }
            if self.buf.len() > HEAD_BYTES_MAX {
                return Err(broken("its head does not end"));
            }
            self.more().await?;
        };
        let head = self.buf.split_to(end + 4);
        let head = std::str::from_utf8(&head).map_err(|_| broken("its head is no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1));
        let status = status
            .and_then(|s| s.parse().ok())
            .ok_or_else(|| broken("no status"))?;
        let mut length = None;
        for line in lines {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let length = match (status, length) {
            (204, None) => 0,
            (_, Some(n)) if n <= BODY_BYTES_MAX => n,
            _ => return Err(broken("no usable content-length")),
        };
        while self.buf.len() < length {
            self.more().await?;
        }
        Ok((status, self.buf.split_to(length).freeze()))
    }

    async fn more(&mut self) -> Result<(), LoadError> {
        self.buf.reserve(16 << 10);
        match self.io.read_buf(&mut self.buf).await {
            Ok(0) => Err(LoadError::broken(
                "read HTTP answer",
                "the server closed the connection",
            )),
            Ok(_) => Ok(()),
            Err(e) => Err(LoadError::broken("read HTTP answer", e)),
        }
    }
}

/// Makes topics through the HTTP API.
///
/// # Errors
/// The first refusal.
pub async fn create_topics(http: &mut Http, layout: &Layout) -> Result<(), LoadError> {
    for name in layout.topics() {
        let body = serde_json::json!({ "name": name, "partitions": layout.partitions() });
        let body = body.to_string();
        let answer = http.request("POST", "/v1/topics", "application/json", body.as_bytes());
        expect(answer.await?, "create topic", &[200, 201, 409])?;
    }
    Ok(())
}

/// Appends one record and gives its offset.
///
/// # Errors
/// When it is refused.
pub async fn append(
    http: &mut Http,
    layout: &Layout,
    slot: Slot,
    value: &[u8],
) -> Result<i64, LoadError> {
    #[derive(Deserialize)]
    struct Produced {
        batches: Vec<Appended>,
    }
    #[derive(Deserialize)]
    struct Appended {
        base_offset: Option<i64>,
    }
    let (topic, index) = layout.place(slot);
    let path = format!(
        "/v1/topics/{}/records?partition={index}",
        layout.topics()[topic]
    );
    let answer = http
        .request("POST", &path, "application/octet-stream", value)
        .await?;
    let body = expect(answer, "append a record", &[200])?;
    let produced: Produced =
        serde_json::from_slice(&body).map_err(|e| LoadError::broken("append a record", e))?;
    let offset = produced.batches.first().and_then(|b| b.base_offset);
    offset.ok_or_else(|| LoadError::broken("append a record", "an answer without an offset"))
}

fn expect((status, body): (u16, Bytes), what: &str, good: &[u16]) -> Result<Bytes, LoadError> {
    if good.contains(&status) {
        return Ok(body);
    }
    let text = String::from_utf8_lossy(&body);
    Err(LoadError::Refused {
        what: what.to_owned(),
        code: i32::from(status),
        message: format!(": {}", text.chars().take(300).collect::<String>()),
    })
}

/// A reader over HTTP: long polls of pages.
#[derive(Debug)]
pub struct HttpReader {
    shared: Shared,
    settings: Consume,
    http: Http,
    places: Vec<(Slot, i64, Reader)>,
}

#[derive(Deserialize)]
struct Page {
    records: Vec<PageRecord>,
    next_offset: i64,
    high_watermark: i64,
}

#[derive(Deserialize)]
struct PageRecord {
    offset: i64,
    value: Option<String>,
}

impl HttpReader {
    /// Connects, and finds where to begin.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn start(
        shared: Shared,
        settings: Consume,
        group: &str,
        slots: Vec<Slot>,
    ) -> Result<Self, LoadError> {
        let http = Http::connect(&address(&shared)?).await?;
        let from_start = settings.from == From::Start;
        let places = slots.into_iter().map(|slot| {
            let name = format!("group {group}, {}", shared.layout.name(slot));
            (slot, 0, Reader::new(slot, name, from_start))
        });
        let mut reader = Self {
            places: places.collect(),
            shared,
            settings,
            http,
        };
        if !from_start {
            for place in 0..reader.places.len() {
                reader.places[place].1 = reader.page(place, 0).await?.high_watermark;
            }
        }
        Ok(reader)
    }

    /// Reads until `written` says that no more will come and everything acknowledged was read.
    ///
    /// # Errors
    /// When the connection ends or the server refuses.
    pub async fn run(mut self, written: watch::Receiver<bool>) -> Result<Findings, LoadError> {
        let wait_ms = u64::try_from(self.settings.max_wait.0.as_millis()).unwrap_or(0);
        loop {
            let done = *written.borrow();
            let mut behind = false;
            for place in 0..self.places.len() {
                let end = self.shared.ledger.lock().end(self.places[place].0);
                if done && self.places[place].1 >= end {
                    continue;
                }
                behind = true;
                // Only the last one may wait, or a quiet partition would hold up the others.
                let wait_ms = if self.places.len() == 1 { wait_ms } else { 0 };
                let page = self.page(place, wait_ms).await?;
                self.check(place, page, self.shared.clock.now())?;
            }
            if done && !behind {
                break;
            }
        }
        let ledger = self.shared.ledger.lock();
        let mut findings = Findings::default();
        for (_, _, reader) in self.places {
            findings.add(reader.finish(&ledger));
        }
        Ok(findings)
    }

    async fn page(&mut self, place: usize, wait_ms: u64) -> Result<Page, LoadError> {
        let (slot, next, _) = &self.places[place];
        let (topic, index) = self.shared.layout.place(*slot);
        let path = format!(
            "/v1/topics/{}/partitions/{index}/records?offset={next}&limit=1000&wait_ms={wait_ms}&encoding=base64",
            self.shared.layout.topics()[topic]
        );
        let answer = self
            .http
            .request("GET", &path, "application/json", b"")
            .await?;
        let body = expect(answer, "read records", &[200])?;
        serde_json::from_slice(&body).map_err(|e| LoadError::broken("read records", e))
    }

    fn check(&mut self, place: usize, page: Page, at: Instant) -> Result<(), LoadError> {
        let (_, next, reader) = &mut self.places[place];
        *next = page.next_offset;
        let (mut latencies, mut bytes) = (Vec::new(), 0);
        for record in page.records {
            let text = record.value.unwrap_or_default();
            let value = base64::engine::general_purpose::STANDARD.decode(text);
            let value = value.map_err(|e| LoadError::broken("read records", e))?;
            bytes += value.len() as u64;
            match self.shared.payload.check(&value, self.settings.content) {
                Ok(stamp) => {
                    reader.saw(stamp, record.offset);
                    latencies.push((self.shared.latency(stamp.intended_ns, at), 1));
                }
                Err(wrong) => reader.corrupt(&wrong, record.offset),
            }
        }
        self.shared.meter.moved(Flow::Consume, at, bytes, latencies);
        Ok(())
    }
}

/// The target's HTTP address.
///
/// # Errors
/// When it has none.
pub fn address(shared: &Shared) -> Result<String, LoadError> {
    shared.target.http.clone().ok_or_else(|| LoadError::Usage {
        what: "the scenario speaks HTTP and there is no HTTP address".to_owned(),
        hint: "give one: --http HOST:PORT".to_owned(),
    })
}
