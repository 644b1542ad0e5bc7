//! The listener's settings: plain values, every default derived beside it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidemark_types::limits::REQUEST_BYTES_MAX;

/// Settings of the Kafka listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaConfig {
    /// Address to listen on. Without configured auth the service binds loopback only.
    pub listen: SocketAddr,
    /// Open connections at the most. At the bound the oldest one that never sent a request makes room; when
    /// there is none, new ones are refused.
    pub connections_max: usize,
    /// Open connections from one address at the most, by the same rule.
    pub connections_per_ip_max: usize,
    /// A connection that has not sent its first whole request after this long is closed.
    pub first_request_timeout: Duration,
    /// A connection without requests or answers is closed after this long (Kafka's `connections.max.idle.ms`).
    pub idle_timeout: Duration,
    /// A frame or an answer must get through within this long plus its size at [`KafkaConfig::bytes_per_s_min`].
    pub transfer_timeout: Duration,
    /// Slower peers are not waited for, bytes per second; not even for `transfer_timeout` while others wait for memory.
    pub bytes_per_s_min: u64,
    /// Bytes of requests held at the most, all connections together. Reads pause at the bound. A
    /// quarter of it is for frames up to 64 KiB.
    pub request_bytes_max: usize,
    /// Bytes of requests one connection holds at the most; at least one largest frame.
    pub connection_bytes_max: usize,
    /// Decoded requests and what serving them takes at the most, bytes.
    pub decoded_bytes_max: usize,
    /// Requests that wait for others (long polls, rebalances) at the most, bytes. Beyond it they wait within
    /// `decoded_bytes_max`, and fetches only briefly. A waiting partition takes 768.
    pub waiting_bytes_max: usize,
    /// Bytes of answers being written at the most; near the bound fetches get smaller.
    pub answer_bytes_max: usize,
    /// Requests of one connection that may be unanswered at a time; reads pause at the bound. (Java clients
    /// pipeline 5, librdkafka as many as it has.)
    pub pipeline_max: usize,
    /// Bytes that one fetch returns at the most (Kafka's broker-side `fetch.max.bytes`).
    pub fetch_bytes_max: usize,
    /// How long connections may finish what they have begun when the service stops.
    pub drain_timeout: Duration,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9092)),
            connections_max: 16_384,
            connections_per_ip_max: 12_288,
            first_request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            transfer_timeout: Duration::from_secs(30),
            bytes_per_s_min: 256 << 10,
            request_bytes_max: 384 << 20,
            connection_bytes_max: REQUEST_BYTES_MAX + (28 << 20),
            decoded_bytes_max: 256 << 20,
            waiting_bytes_max: 256 << 20,
            answer_bytes_max: 512 << 20,
            pipeline_max: 128,
            fetch_bytes_max: 55 << 20,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl KafkaConfig {
    /// How long `bytes` may take to come in or go out.
    #[must_use]
    pub fn transfer_time(&self, bytes: usize) -> Duration {
        let at_min_rate = bytes as u64 / self.bytes_per_s_min.max(1);
        self.transfer_timeout + Duration::from_secs(at_min_rate)
    }
}
