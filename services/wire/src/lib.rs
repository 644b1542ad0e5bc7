//! Kafka's wire format: generated messages, frames, headers, and the two hand-written hot codecs.
//!
//! The generated messages come from `kacrab-protocol`, pinned and hidden behind this crate so that it can
//! be replaced in one place. What is added here is what a server that faces hostile peers needs: lengths
//! checked before anything is allocated ([`frame`]), headers that can be read even when the rest of a
//! request cannot ([`RequestHeader`]), requests whose
//! decoded size is bounded ([`limits`]) and then measured ([`Held`]).
//!
//! No I/O here: sockets belong to the gateway.

mod api;
mod encode;
pub mod fetch;
pub mod frame;
mod header;
mod held;
pub mod limits;
pub mod produce;

pub use api::{Request, Response, decode, decode_trimmed, inspect, reencode, with_trimmed};
pub use encode::{Encoded, encode_response};
pub use header::RequestHeader;
pub use held::Held;
pub use kacrab_protocol::generated::{ApiKey, client_api_info};
pub use kacrab_protocol::version::{request_header_version, response_header_version};
pub use kacrab_protocol::{KafkaString, KafkaUuid, RawTaggedField};

/// The generated messages (`MetadataRequestData`, …), of Kafka 4.3's schemas.
pub mod messages {
    pub use kacrab_protocol::generated::*;
}

/// Why bytes from a peer are not a request, or an answer cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The frame's length is negative, too small for a header, or above the API's bound.
    #[error("read frame: length {length} is not between {min} and {max}")]
    FrameLength {
        /// What the peer announced.
        length: i32,
        /// The smallest frame there is.
        min: usize,
        /// The bound that applies.
        max: usize,
    },
    /// The bytes do not follow the schema.
    #[error("decode {what}: {why}")]
    Malformed {
        /// The message.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The request is whole but bytes follow it in its frame.
    #[error("decode {what}: {left} bytes after the end")]
    Trailing {
        /// The message.
        what: &'static str,
        /// How many.
        left: usize,
    },
    /// A field of the answer does not exist in the request's version: a handler's fault.
    #[error("encode {what} at version {version}: {why}")]
    Encode {
        /// The message.
        what: &'static str,
        /// The version asked for.
        version: i16,
        /// What is wrong.
        why: String,
    },
}

impl WireError {
    pub(crate) fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed {
            what,
            why: why.to_string(),
        }
    }
}
