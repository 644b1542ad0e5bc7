//! The format of a cold segment: one object of a shard's committed LSN range sorted by partition (level 0), or of one
//! partition's offsets (level 1). No I/O.
//!
//! # Overview
//! [`Builder`] gathers batches in log order and gives the object as chunks that share the batches' memory. [`Index`]
//! is read from the object's end with one ranged get and answers which bytes hold an offset or a time. The bytes are
//! specified in `api/formats/cold-segment.md`.
//!
//! # Consistency
//! Batches are stored verbatim, with their offsets and leader epochs in place: what is read back is what a fetch
//! answers. Every byte is under a CRC32C: the header's, a block's, the index's or the trailer's.
//!
//! # Bounds
//! A decoder allocates only in proportion to the bytes it was given, and every range it answers lies inside the object.

mod builder;
mod format;
mod index;
#[cfg(test)]
mod tests;

pub use builder::{BatchSpan, Builder, Built, OutOfOrder};
pub use format::{Covers, HEADER_BYTES, Header, TRAILER_BYTES, verify};
pub use index::{Block, Index, Partition};
