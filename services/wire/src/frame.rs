//! A frame's length, judged before a byte of it is stored.
//!
//! A Kafka frame is `length: i32 BE` and that many bytes. The first eight of them name the API, so the bound
//! that applies is known after twelve bytes: requests that carry record batches may be as large as
//! `REQUEST_BYTES_MAX`, all others stay below 1 MiB.

use tidemark_types::limits::REQUEST_BYTES_MAX;

use crate::limits::{REQUEST_BYTES_MIN, SMALL_REQUEST_BYTES_MAX};
use crate::{ApiKey, WireError};

/// Bytes of a frame's length prefix.
pub const PREFIX_BYTES: usize = 4;
/// Bytes of a frame, prefix included, after which [`FrameHead::parse`] can judge it.
pub const HEAD_BYTES: usize = PREFIX_BYTES + REQUEST_BYTES_MIN;

/// The first twelve bytes of a request frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// Bytes that follow the length prefix; ≥ [`REQUEST_BYTES_MIN`].
    pub length: usize,
    /// The API key, known or not.
    pub api_key: i16,
    /// The version, supported or not.
    pub api_version: i16,
    /// Correlation id, echoed in the answer.
    pub correlation_id: i32,
}

/// The bound of a frame of the API `key`, bytes.
#[must_use]
pub const fn bytes_max(key: i16) -> usize {
    if key == ApiKey::Produce as i16 {
        REQUEST_BYTES_MAX
    } else {
        SMALL_REQUEST_BYTES_MAX
    }
}

impl FrameHead {
    /// Reads the head and checks its length against the API's bound.
    ///
    /// # Errors
    /// [`WireError::FrameLength`]: there is no way to find the next frame, the connection must end.
    pub fn parse(raw: &[u8; HEAD_BYTES]) -> Result<Self, WireError> {
        let [a, b, c, d, k0, k1, v0, v1, c0, c1, c2, c3] = *raw;
        let length = i32::from_be_bytes([a, b, c, d]);
        let api_key = i16::from_be_bytes([k0, k1]);
        Ok(Self {
            length: check_length(length, bytes_max(api_key))?,
            api_key,
            api_version: i16::from_be_bytes([v0, v1]),
            correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        })
    }
}

/// Checks an announced length against the smallest frame and `max`.
///
/// # Errors
/// [`WireError::FrameLength`] when it lies outside.
pub fn check_length(length: i32, max: usize) -> Result<usize, WireError> {
    usize::try_from(length)
        .ok()
        .filter(|n| (REQUEST_BYTES_MIN..=max).contains(n))
        .ok_or(WireError::FrameLength {
            length,
            min: REQUEST_BYTES_MIN,
            max,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: i32, key: i16) -> [u8; HEAD_BYTES] {
        let mut raw = [0; HEAD_BYTES];
        raw[..4].copy_from_slice(&length.to_be_bytes());
        raw[4..6].copy_from_slice(&key.to_be_bytes());
        raw[8..].copy_from_slice(&7_i32.to_be_bytes());
        raw
    }

    #[test]
    fn lengths_that_lie_are_refused_before_anything_is_stored() {
        for length in [-1, i32::MIN, 0, 7, i32::MAX, (100 << 20) + 1] {
            assert!(FrameHead::parse(&head(length, 0)).is_err(), "{length}");
        }
        assert!(FrameHead::parse(&head((1 << 20) + 1, 3)).is_err());
        assert!(FrameHead::parse(&head((1 << 20) + 1, 999)).is_err());
    }

    #[test]
    fn only_produce_may_be_large() {
        let parsed = FrameHead::parse(&head(100 << 20, 0)).unwrap();
        assert_eq!(parsed.length, 100 << 20);
        assert_eq!(parsed.correlation_id, 7);
        assert_eq!(FrameHead::parse(&head(1 << 20, 1)).unwrap().api_key, 1);
    }
}
