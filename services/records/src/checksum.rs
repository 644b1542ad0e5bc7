//! CRC32C (Castagnoli), and how a change of covered bytes changes it without summing the rest again.

use crc_fast::{CrcAlgorithm, checksum_combine, crc32_iscsi};

/// CRC32C of `bytes`.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// The CRC of `new ++ rest` when `whole` is that of `old ++ rest`, `old` and `new` are equally long and
/// `rest` has `rest_len` bytes: a CRC is linear, so the rest's share cancels out.
pub(crate) fn replace_front(whole: u32, old: &[u8], new: &[u8], rest_len: usize) -> u32 {
    debug_assert_eq!(old.len(), new.len());
    let shift = |crc: u32| -> u32 {
        let shifted =
            checksum_combine(CrcAlgorithm::Crc32Iscsi, u64::from(crc), 0, rest_len as u64);
        u32::try_from(shifted).expect("a 32-bit CRC stays one")
    };
    whole ^ shift(crc32c(old)) ^ shift(crc32c(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vectors() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_replaced_front_gives_the_sum_of_the_whole() {
        for rest_len in [0, 1, 7, 64, 1000, 70_000] {
            let rest: Vec<u8> = (0..=250_u8).cycle().take(rest_len).collect();
            let (old, new) = ([7_u8; 22], *b"abcdefghijklmnopqrstuv");
            let whole = crc32c(&[&old[..], &rest].concat());
            assert_eq!(
                replace_front(whole, &old, &new, rest.len()),
                crc32c(&[&new[..], &rest].concat())
            );
        }
    }
}
