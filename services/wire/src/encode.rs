//! Answers as they go to the socket: a length, a header, a body, in one or more pieces.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Response, WireError, response_header_version};

/// An answer's bytes, length prefix included. Record batches stay in the buffers they were read into: the
/// pieces are written one after the other, never joined.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    pieces: Vec<Bytes>,
}

impl Encoded {
    /// Prepends the length to `pieces`, of which the first starts with [`crate::frame::PREFIX_BYTES`] of room for it.
    ///
    /// # Errors
    /// [`WireError::Encode`] when the whole would not fit Kafka's 31-bit length.
    ///
    /// # Panics
    /// When the first piece has no room for the length: a mistake in this crate.
    pub fn from_pieces(mut head: BytesMut, rest: Vec<Bytes>) -> Result<Self, WireError> {
        let whole = head.len() + rest.iter().map(Bytes::len).sum::<usize>();
        let length =
            i32::try_from(whole - crate::frame::PREFIX_BYTES).map_err(|e| WireError::Encode {
                what: "response",
                version: 0,
                why: e.to_string(),
            })?;
        head[..crate::frame::PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        let mut pieces = Vec::with_capacity(1 + rest.len());
        pieces.push(head.freeze());
        pieces.extend(rest.into_iter().filter(|p| !p.is_empty()));
        Ok(Self { pieces })
    }

    /// The pieces, in order; none is empty.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// Length of the whole, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// The whole in one buffer: a copy, for tests.
    #[must_use]
    pub fn concat(&self) -> Bytes {
        let mut all = BytesMut::with_capacity(self.bytes());
        self.pieces.iter().for_each(|p| all.extend_from_slice(p));
        all.freeze()
    }
}

/// Room for the length, then the response header that `key` at `version` has. `ApiVersions` always answers
/// with header version 0: its client does not know yet what the server speaks (KIP-511).
pub(crate) fn start(key: i16, version: i16, correlation_id: i32, body_bytes: usize) -> BytesMut {
    let mut head = BytesMut::with_capacity(crate::frame::PREFIX_BYTES + 4 + 1 + body_bytes);
    head.put_i32(0);
    head.put_i32(correlation_id);
    if response_header_version(key, version) >= 1 {
        head.put_u8(0);
    }
    head
}

/// Encodes an answer of one piece.
///
/// # Errors
/// [`WireError::Encode`] when the handler set a field that `version` does not have.
pub fn encode_response<R: Response>(
    response: &R,
    version: i16,
    correlation_id: i32,
) -> Result<Encoded, WireError> {
    let mut buf = start(
        R::KEY as i16,
        version,
        correlation_id,
        response.bytes(version)?,
    );
    response.write(&mut buf, version)?;
    Encoded::from_pieces(buf, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsResponseData, HeartbeatResponseData};

    #[test]
    fn api_versions_answers_with_header_0_at_every_version() {
        for version in 0..=4 {
            let encoded = encode_response(&ApiVersionsResponseData::default(), version, 5).unwrap();
            let all = encoded.concat();
            let announced = i32::from_be_bytes(all[..4].try_into().unwrap());
            assert_eq!(usize::try_from(announced).unwrap(), all.len() - 4);
            // The error code follows the correlation id directly: no tagged-field section between.
            assert_eq!(all[4..10], [0, 0, 0, 5, 0, 0]);
        }
    }

    #[test]
    fn flexible_versions_have_a_tagged_section_in_the_header() {
        let old = encode_response(&HeartbeatResponseData::default(), 3, 5).unwrap();
        let new = encode_response(&HeartbeatResponseData::default(), 4, 5).unwrap();
        assert_eq!(old.bytes() + 2, new.bytes());
    }
}
