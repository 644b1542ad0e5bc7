//! Record batches of message format v2, Kafka's and therefore the log's own.
//!
//! # Overview
//! A [`Batch`] is one batch whose header, length and CRC were checked once, at the door; its bytes stay the
//! client's own. Appending, storing and serving it needs the header only: the base offset and the leader epoch
//! lie outside the CRC and are patched ([`Batch::patched_prefix`], [`Batch::restamp`]). Records themselves are
//! looked at only where someone asks for them: HTTP reads, lookups by time, compaction ([`Batch::records`]).
//!
//! # Bounds
//! Nothing is allocated on the word of a length field. Decoding is given a byte budget that covers the
//! decompressed bytes and the decoded structures; a codec's own working memory is at most
//! [`CODEC_WORKING_BYTES_MAX`] on top.
//!
//! Sources: Kafka's documentation "Message format", KIP-98 (batches, producer ids), KIP-110 (zstd),
//! KIP-244 (headers), KIP-534 (delete horizon).

mod batch;
mod builder;
mod checksum;
mod codec;
mod encode;
mod error;
mod header;
mod partitioner;
mod record;
mod rewrite;
mod split;
mod varint;

pub use batch::{Batch, PREFIX_BYTES};
pub use builder::BatchBuilder;
pub use codec::{CODEC_WORKING_BYTES_MAX, Compression};
pub use error::BatchError;
pub use header::{Attributes, BatchHeader, HEADER_BYTES, TimestampType};
pub use partitioner::{murmur2, partition_for_key};
pub use record::{Header, Record, Records, records};
pub use rewrite::Rewritten;
pub use split::{Split, split};
