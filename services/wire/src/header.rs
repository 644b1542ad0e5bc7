//! The request header, read by hand so that it works for unknown APIs and versions too.

use bytes::{Buf, Bytes};
use kacrab_protocol::{KafkaString, string, tagged};

use crate::limits::{CLIENT_ID_BYTES_MAX, REQUEST_BYTES_MIN};
use crate::{WireError, request_header_version};

const WHAT: &str = "request header";

/// The header of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHeader {
    /// The API key.
    pub api_key: i16,
    /// The version of the request and of its answer.
    pub api_version: i16,
    /// Echoed in the answer.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<KafkaString>,
}

impl RequestHeader {
    /// Takes the header off the front of `frame`, a frame without its length prefix. The header's own
    /// version (1, or 2 with tagged fields) follows from the API's key and version.
    ///
    /// # Errors
    /// [`WireError::Malformed`] when the header is cut short, or the client id is no UTF-8 or too long.
    pub fn decode(frame: &mut Bytes) -> Result<Self, WireError> {
        if frame.len() < REQUEST_BYTES_MIN {
            return Err(WireError::malformed(WHAT, "cut short"));
        }
        let api_key = frame.get_i16();
        let api_version = frame.get_i16();
        let correlation_id = frame.get_i32();
        let client_id =
            string::read_nullable_string(frame).map_err(|e| WireError::malformed(WHAT, e))?;
        if client_id
            .as_ref()
            .is_some_and(|id| id.len() > CLIENT_ID_BYTES_MAX)
        {
            return Err(WireError::malformed(WHAT, "client id too long"));
        }
        if request_header_version(api_key, api_version) >= 2 {
            tagged::read_tagged_fields(frame).map_err(|e| WireError::malformed(WHAT, e))?;
        }
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_header_versions() {
        let v1 = [0, 3, 0, 1, 0, 0, 0, 9, 0, 1, b'a', 0xee];
        let mut frame = Bytes::copy_from_slice(&v1);
        let header = RequestHeader::decode(&mut frame).unwrap();
        assert_eq!(header.client_id.unwrap().as_str(), "a");
        assert_eq!(frame.as_ref(), [0xee]);

        let v2 = [0, 3, 0, 12, 0, 0, 0, 9, 0xff, 0xff, 1, 5, 2, 8, 8, 0xee];
        let mut frame = Bytes::copy_from_slice(&v2);
        let header = RequestHeader::decode(&mut frame).unwrap();
        assert_eq!((header.api_version, header.client_id), (12, None));
        assert_eq!(frame.as_ref(), [0xee]);
    }

    #[test]
    fn truncated_headers_are_errors() {
        let whole = [0, 3, 0, 12, 0, 0, 0, 9, 0, 2, b'a', b'b', 0];
        for n in 0..whole.len() {
            let mut frame = Bytes::copy_from_slice(&whole[..n]);
            assert!(RequestHeader::decode(&mut frame).is_err(), "{n} bytes");
        }
    }
}
