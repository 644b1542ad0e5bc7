//! Round trips, stamps and the rules for batches that clients send.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tidemark_records::{
    Batch, BatchBuilder, BatchError, BatchHeader, Compression, HEADER_BYTES, PREFIX_BYTES,
    TimestampType, records, split,
};
use tidemark_types::{Coded, ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId};

use crate::checks::resummed;
use crate::samples::{build, codec, plain, small};

const BUDGET: usize = 16 << 20;

proptest! {
    #[test]
    fn what_is_built_reads_back(codec in codec(), plain in vec(plain(), 1..40), base in 0..i64::MAX / 2) {
        let built = build(codec, &plain);
        let batch = Batch::parse(built.bytes().clone()).unwrap().restamp(Offset(base), LeaderEpoch(7));
        prop_assert!(batch.check_produced().is_ok());
        prop_assert_eq!(batch.compression(), codec);
        let decoded = records(&batch, BUDGET).unwrap();
        prop_assert_eq!(decoded.len(), plain.len());
        for (i, (got, put)) in decoded.iter().zip(&plain).enumerate() {
            prop_assert_eq!(got.offset.0, base + i as i64);
            prop_assert_eq!(got.timestamp, put.timestamp);
            prop_assert_eq!(got.key.as_deref(), put.key.as_deref());
            prop_assert_eq!(got.value.as_deref(), put.value.as_deref());
            prop_assert_eq!(&got.headers, &put.headers);
        }
    }

    #[test]
    fn stamps_keep_the_crc_right(codec in codec(), plain in vec(plain(), 1..10), base in 0..i64::MAX / 2, epoch: i32, ms: i64) {
        let batch = build(codec, &plain);
        let whole = batch.bytes().clone();
        let prefix = batch.patched_prefix(Offset(base), LeaderEpoch(epoch));
        let restamped = batch.clone().restamp(Offset(base), LeaderEpoch(epoch));
        prop_assert_eq!(&batch.bytes()[..], &whole[..], "a shared buffer is not written to");
        prop_assert_eq!(&restamped.bytes()[..PREFIX_BYTES], &prefix[..]);
        prop_assert_eq!(&restamped.bytes()[PREFIX_BYTES..], &whole[PREFIX_BYTES..]);
        let read = Batch::parse(restamped.bytes().clone()).unwrap();
        prop_assert_eq!(read.header(), restamped.header());
        let logged = restamped.with_log_append_time(ms);
        let read = Batch::parse(logged.bytes().clone()).unwrap();
        prop_assert_eq!(read.header(), logged.header());
        prop_assert_eq!(read.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
        prop_assert!(records(&read, BUDGET).unwrap().iter().all(|r| r.timestamp == ms));
    }

    #[test]
    fn concatenated_batches_come_apart(parts in vec((codec(), vec(plain(), 1..4)), 0..5)) {
        let batches: Vec<Batch> = parts.iter().map(|(codec, plain)| build(*codec, plain)).collect();
        let whole: Vec<u8> = batches.iter().flat_map(|b| b.bytes().to_vec()).collect();
        let cut: Vec<Batch> = split(whole.into()).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(cut, batches);
    }

    #[test]
    fn a_header_reads_as_written(bytes in vec(any::<u8>(), HEADER_BYTES)) {
        let mut bytes = bytes;
        bytes[16] = 2;
        bytes[8] &= 0x7f;
        if let Ok(header) = BatchHeader::parse(&bytes) {
            prop_assert_eq!(&header.encode()[..], &bytes[..]);
        }
    }
}

#[test]
fn a_unique_buffer_is_stamped_in_place() {
    let built = small(Compression::None).into_bytes();
    let batch = Batch::parse(Bytes::from(built.to_vec())).unwrap();
    let at = batch.bytes().as_ptr();
    let batch = batch.restamp(Offset(9), LeaderEpoch(1));
    assert_eq!(batch.bytes().as_ptr(), at);
}

/// A small batch with some header bytes replaced and the CRC made right.
fn edited(at: usize, with: &[u8]) -> Result<Batch, BatchError> {
    let mut bytes = small(Compression::None).into_bytes().to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    Batch::parse(resummed(&bytes))
}

#[test]
fn clients_may_not_send_what_kafka_refuses() {
    let refused = |at, with: &[u8], why: &str| {
        let error = edited(at, with)
            .and_then(|b| b.check_produced())
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidRecord, "{why}: {error}");
    };
    refused(57, &3_i32.to_be_bytes(), "more records than offsets");
    refused(57, &1_i32.to_be_bytes(), "fewer records than offsets");
    refused(57, &0_i32.to_be_bytes(), "no records");
    refused(57, &(-1_i32).to_be_bytes(), "negative count");
    refused(23, &(-1_i32).to_be_bytes(), "negative last offset delta");
    refused(23, &i32::MAX.to_be_bytes(), "offsets without records");
    refused(21, &0x20_i16.to_be_bytes(), "control batch");
    refused(
        21,
        &0x10_i16.to_be_bytes(),
        "transactional without a producer id",
    );
    refused(21, &0x40_i16.to_be_bytes(), "delete horizon");
    refused(21, &0x80_i16.to_be_bytes(), "undefined attribute");
    refused(
        43,
        &5_i64.to_be_bytes(),
        "producer id without epoch and sequence",
    );
}

#[test]
fn control_and_transactional_batches_are_reported_not_judged() {
    let mut builder = BatchBuilder::new(Compression::None)
        .producer(ProducerId(4), ProducerEpoch(0), 0)
        .transactional()
        .control();
    builder
        .push(1, Some(&[0, 0, 0, 1]), Some(&[0; 6]), &[])
        .unwrap();
    let batch = Batch::parse(builder.build().unwrap().into_bytes()).unwrap();
    let attributes = batch.header().attributes;
    assert!(attributes.is_control() && attributes.is_transactional());
}

#[test]
fn compacted_batches_have_gaps() {
    // Two records, but the header spans five offsets.
    let batch = edited(23, &4_i32.to_be_bytes()).unwrap();
    assert_eq!(records(&batch, BUDGET).unwrap().len(), 2);
    assert_eq!(batch.header().next_offset(), Offset(5));
}

#[test]
fn sequences_wrap_to_zero() {
    let mut builder =
        BatchBuilder::new(Compression::None).producer(ProducerId(1), ProducerEpoch(0), i32::MAX);
    for _ in 0..3 {
        builder.push(0, None, Some(b"v"), &[]).unwrap();
    }
    let batch = builder.build().unwrap();
    assert!(batch.check_produced().is_ok());
    assert_eq!(batch.header().last_sequence(), 1);
}

#[test]
fn an_empty_batch_is_not_built() {
    assert!(BatchBuilder::new(Compression::Zstd).build().is_err());
}

#[test]
fn bare_snappy_blocks_are_read() {
    let plain = small(Compression::None);
    let packed = snap::raw::Encoder::new()
        .compress_vec(&plain.payload())
        .unwrap();
    let mut header = *plain.header();
    header.attributes.0 |= 2;
    header.size = HEADER_BYTES + packed.len();
    let bytes = [&header.encode()[..], &packed].concat();
    let batch = Batch::parse(resummed(&bytes)).unwrap();
    assert_eq!(records(&batch, BUDGET), records(&plain, BUDGET));
}

proptest! {
    /// What passes decodes to the offsets that the header promises; what is built passes.
    #[test]
    fn uncompressed_records_are_counted(plain in vec(plain(), 1..30), count in 0..40_i32) {
        let built = build(Compression::None, &plain);
        prop_assert!(built.check_records().is_ok());
        let mut bytes = built.bytes().to_vec();
        bytes[23..27].copy_from_slice(&(count - 1).max(0).to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        let lying = Batch::parse(resummed(&bytes)).unwrap();
        let right = usize::try_from(count).unwrap() == plain.len();
        prop_assert_eq!(lying.check_records().is_ok(), right);
        prop_assert_eq!(records(&lying, BUDGET).is_ok(), right);
    }
}

#[test]
fn records_that_are_cut_repeated_or_followed_by_more_are_refused() {
    let refused = |batch: Batch| {
        let error = batch.check_records().unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidRecord);
        error.to_string()
    };
    let built = small(Compression::None).into_bytes();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = built.to_vec();
        change(&mut bytes);
        let length = i32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        Batch::parse(resummed(&bytes)).unwrap()
    };
    assert!(refused(with(&|b| b.push(0))).contains("after the last record"));
    assert!(refused(with(&|b| b.truncate(b.len() - 1))).contains("bytes left"));
    // The first record's length, attributes, time delta, offset delta.
    assert!(refused(with(&|b| b[HEADER_BYTES + 3] = 2)).contains("is not 0"));
    assert!(refused(with(&|b| b[HEADER_BYTES] = 0xff)).contains("bytes left"));
    assert!(refused(with(&|b| b[HEADER_BYTES] = 0)).contains("None is not 0"));
    // Compressed records are counted by whoever decodes them.
    let mut bytes = small(Compression::Lz4).bytes().to_vec();
    bytes[23..27].copy_from_slice(&8_i32.to_be_bytes());
    bytes[57..61].copy_from_slice(&9_i32.to_be_bytes());
    let lying = Batch::parse(resummed(&bytes)).unwrap();
    assert!(lying.check_records().is_ok());
    assert!(records(&lying, BUDGET).is_err());
}
