//! Settings of the gateway. Plain values; every default says where it comes from.

use std::net::SocketAddr;
use std::time::Duration;

/// Settings of a [`crate::HttpGateway`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where to listen. Loopback unless auth is configured.
    pub listen: SocketAddr,
    /// Connections at the most: 10,000 half-open ones and then some. At the bound the oldest one that never sent a whole
    /// head makes room; when there is none, further ones wait in the kernel's queue.
    pub connections_max: usize,
    /// Requests in work at the most, streams and health checks aside; further ones get 503.
    pub requests_max: usize,
    /// Bytes of a request's head at the most, and of what is read ahead per connection.
    pub head_bytes_max: usize,
    /// A request's head must arrive within this time; an idle connection is closed after it.
    pub head_timeout: Duration,
    /// Bytes of a body at the most. One batch of the largest kind in base64 would not fit; binary does.
    pub body_bytes_max: usize,
    /// Bytes of all bodies and answers held at once; a request that needs more gets 503.
    pub memory_bytes_max: usize,
    /// A body must give its first byte, and each next one, within this time.
    pub body_idle_timeout: Duration,
    /// A stream of lines must give its next bytes within this time; it may have nothing to say for a while.
    pub stream_idle_timeout: Duration,
    /// A body's bytes per second at the least, after one idle timeout of grace. Streams are exempt.
    pub body_rate_min: u64,
    /// A client must take some of its answer within this time.
    pub write_timeout: Duration,
    /// `wait_ms` at the most.
    pub wait_max: Duration,
    /// Event streams send a comment at this interval, so that proxies keep them open.
    pub heartbeat: Duration,
    /// How long open requests may go on after a drain began.
    pub drain_grace: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            connections_max: 12_000,
            requests_max: 2_048,
            head_bytes_max: 32 << 10,
            head_timeout: Duration::from_secs(15),
            body_bytes_max: 64 << 20,
            memory_bytes_max: 512 << 20,
            body_idle_timeout: Duration::from_secs(15),
            stream_idle_timeout: Duration::from_secs(300),
            body_rate_min: 4 << 10,
            write_timeout: Duration::from_secs(30),
            wait_max: Duration::from_secs(60),
            heartbeat: Duration::from_secs(15),
            drain_grace: Duration::from_secs(10),
        }
    }
}
