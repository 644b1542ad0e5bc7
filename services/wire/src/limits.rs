//! Bounds of what a peer may make this crate read or allocate.

/// Smallest request frame: api key, version, correlation id, bytes. (A client id follows in all but one
/// withdrawn API.)
pub const REQUEST_BYTES_MIN: usize = 8;

/// Largest frame of a request without record batches, bytes. Kafka's own such requests stay far below.
pub const SMALL_REQUEST_BYTES_MAX: usize = 1 << 20;

/// A client id's length, bytes (as group ids and member ids).
pub const CLIENT_ID_BYTES_MAX: usize = tidemark_types::limits::NAME_BYTES_MAX;

/// Decoded bytes per byte of frame at the most: an element of a tagged-field section takes two bytes on the
/// wire and a 40-byte entry twice (read, then kept) in memory, in vectors that at worst doubled.
pub const DECODED_PER_FRAME_BYTE: usize = 80;
