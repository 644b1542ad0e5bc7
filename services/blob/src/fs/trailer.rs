//! What follows an object's bytes in its file, version 1: 32 bytes, integers big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 7 | `tm-blob` |
//! | 16 | the put's id |
//! | 8 | the object's size, bytes |
//!
//! It stands behind the bytes, so an offset in the object is the offset in the file. A file without it is not an
//! object of ours, or a truncated one.

use crate::PutId;

/// Its size, bytes.
pub(super) const TRAILER_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"\x01tm-blob";

/// Decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trailer {
    pub(super) put: PutId,
    pub(super) bytes: u64,
}

impl Trailer {
    pub(super) fn encode(self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..24].copy_from_slice(&self.put.0.to_be_bytes());
        out[24..].copy_from_slice(&self.bytes.to_be_bytes());
        out
    }

    /// `None`: these are not a trailer of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (put, rest) = rest.split_first_chunk::<16>()?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        (magic == MAGIC && rest.is_empty()).then(|| Self {
            put: PutId(u128::from_be_bytes(*put)),
            bytes: u64::from_be_bytes(*size),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_the_golden_one() {
        let trailer = Trailer {
            put: PutId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            bytes: 8_388_608,
        };
        tidemark_golden::newest(
            "blob/fs-trailer-v1",
            &trailer,
            |t| t.encode().to_vec(),
            |b| Trailer::decode(b).ok_or("no trailer"),
        );
        assert_eq!(Trailer::decode(&trailer.encode()[1..]), None);
        assert_eq!(Trailer::decode(&[0; 32]), None);
    }
}
