//! Bytes that lie: every one is an error, none a panic, none costs more memory than allowed.

use bytes::Bytes;
use proptest::prelude::*;
use tidemark_records::{Batch, BatchBuilder, BatchError, Compression, records, split};
use tidemark_types::{Coded, ErrorCode};

use crate::checks::{self, resummed};
use crate::memory;
use crate::samples::{codec, small};

fn code(bytes: &[u8]) -> ErrorCode {
    let error = Batch::parse(Bytes::copy_from_slice(bytes)).unwrap_err();
    error.code()
}

proptest! {
    #[test]
    fn cut_short_anywhere_is_an_error(codec in codec(), cut in 0.0..1.0_f64) {
        let whole = small(codec).into_bytes();
        let keep = (whole.len() as f64 * cut) as usize;
        prop_assert!(Batch::parse(whole.slice(..keep)).is_err());
        checks::batches(&whole[..keep]);
    }

    #[test]
    fn a_flipped_bit_is_found_by_the_crc(codec in codec(), at: prop::sample::Index, bit in 0..8_u32) {
        let whole = small(codec).into_bytes();
        let at = at.index(whole.len());
        let mut bad = whole.to_vec();
        bad[at] ^= 1 << bit;
        // Base offset and leader epoch are outside the CRC by design.
        if (8..12).contains(&at) || at >= 16 {
            prop_assert!(Batch::parse(bad.clone().into()).is_err());
        }
        checks::batches(&bad);
    }

    #[test]
    fn no_damage_behind_a_right_crc_panics(
        codec in codec(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bad = small(codec).into_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bad.len());
            bad[at] = byte;
        }
        checks::batches(&bad);
    }

    #[test]
    fn noise_does_not_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        checks::batches(&noise);
    }
}

#[test]
fn lying_lengths_and_old_formats_are_named() {
    let good = small(Compression::None).into_bytes();
    let with_length = |length: i32| {
        let mut bytes = good.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    for length in [-1, 0, 48, i32::MIN, i32::MAX] {
        assert_eq!(
            code(&with_length(length)),
            ErrorCode::CorruptBatch,
            "{length}"
        );
        assert!(split(with_length(length).into()).next().unwrap().is_err());
    }
    assert_eq!(code(&[&good[..], b"x"].concat()), ErrorCode::CorruptBatch);
    for magic in [0, 1, 3, 0xff] {
        let mut old = good.to_vec();
        old[16] = magic;
        assert_eq!(code(&old), ErrorCode::UnsupportedForMessageFormat);
        // An old message is shorter than a v2 header and still named.
        let first = split(Bytes::copy_from_slice(&old[..30])).next().unwrap();
        assert!(matches!(first, Err(BatchError::Magic { .. })));
    }
    let mut unknown_codec = good.to_vec();
    unknown_codec[22] |= 0x07;
    assert_eq!(
        code(&resummed(&unknown_codec)),
        ErrorCode::UnsupportedCompression
    );
}

#[test]
fn a_null_header_key_is_refused() {
    let mut builder = BatchBuilder::new(Compression::None);
    let header = tidemark_records::Header {
        key: Bytes::new(),
        value: None,
    };
    builder.push(0, None, None, &[header]).unwrap();
    let mut bytes = builder.build().unwrap().into_bytes().to_vec();
    // The last two bytes are the header's: key length 0, value length −1. Make the key's −1 as well.
    let at = bytes.len() - 2;
    assert_eq!(bytes[at..], [0, 1]);
    bytes[at] = 1;
    let batch = Batch::parse(resummed(&bytes)).unwrap();
    let error = records(&batch, 1 << 20).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
}

/// 64 MiB of one byte in a few KiB.
fn bomb(codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    let value = vec![0; 60 << 20];
    builder.push(0, None, Some(&value), &[]).unwrap();
    builder.build().unwrap()
}

#[test]
fn a_bomb_costs_its_budget_not_its_claim() {
    for codec in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let bomb = bomb(codec);
        let budget = 1 << 20;
        let (outcome, peak) = memory::peak_of(|| records(&bomb, budget));
        assert_eq!(outcome, Err(BatchError::OverBudget { budget }), "{codec}");
        // Growing the output doubles it; lz4's frame decoder holds blocks of at most 4 MiB.
        let allowed = 2 * budget + (12 << 20);
        assert!(peak <= allowed, "{codec}: {peak} bytes at the peak");
    }
}

#[test]
fn a_million_empty_records_are_charged_for_their_structures() {
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for _ in 0..1_000_000 {
        builder.push(0, None, None, &[]).unwrap();
    }
    let batch = builder.build().unwrap();
    let budget = 16 << 20;
    assert!(batch.header().size < budget, "the bytes alone fit");
    let (outcome, peak) = memory::peak_of(|| records(&batch, budget));
    assert_eq!(outcome, Err(BatchError::OverBudget { budget }));
    assert!(peak <= 3 * budget, "{peak} bytes at the peak");
    assert_eq!(
        batch.records(budget).unwrap().count(),
        1_000_000,
        "one by one they fit"
    );
}

#[test]
fn counts_that_lie_allocate_nothing() {
    let mut bytes = small(Compression::None).into_bytes().to_vec();
    bytes[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    let batch = Batch::parse(resummed(&bytes)).unwrap();
    let (outcome, peak) = memory::peak_of(|| records(&batch, 1 << 30));
    assert!(
        matches!(outcome, Err(BatchError::Record { index: 2, .. })),
        "{outcome:?}"
    );
    assert!(peak < 10_000, "{peak} bytes at the peak");
}
