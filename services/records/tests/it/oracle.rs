//! The same records through another implementation of the format, both ways.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use proptest::collection::vec;
use proptest::prelude::*;
use tidemark_records::{Batch, Compression, Header, records};
use tidemark_types::{LeaderEpoch, Offset};

use crate::samples::{Plain, build, codec, plain};

/// The oracle keeps headers in a map with text keys: names are made unique and printable.
fn restrict(mut plain: Vec<Plain>) -> Vec<Plain> {
    for p in &mut plain {
        p.timestamp = p.timestamp.rem_euclid(4_000_000_000_000);
        for (i, h) in p.headers.iter_mut().enumerate() {
            h.key = Bytes::from(format!("{i}-{}", String::from_utf8_lossy(&h.key)));
        }
    }
    plain
}

fn theirs(codec: Compression) -> oracle::Compression {
    match codec {
        Compression::None => oracle::Compression::None,
        Compression::Gzip => oracle::Compression::Gzip,
        Compression::Snappy => oracle::Compression::Snappy,
        Compression::Lz4 => oracle::Compression::Lz4,
        Compression::Zstd => oracle::Compression::Zstd,
    }
}

fn as_theirs(i: usize, base: i64, p: &Plain) -> oracle::Record {
    oracle::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 3,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: oracle::TimestampType::Creation,
        offset: base + i as i64,
        sequence: i as i32,
        timestamp: p.timestamp,
        key: p.key.clone().map(Bytes::from),
        value: p.value.clone().map(Bytes::from),
        headers: p
            .headers
            .iter()
            .map(|h| {
                let key = String::from_utf8(h.key.to_vec()).expect("restricted");
                (StrBytes::from_string(key), h.value.clone())
            })
            .collect(),
    }
}

proptest! {
    #[test]
    fn ours_reads_there(codec in codec(), plain in vec(plain(), 1..20).prop_map(restrict), base in 0..1_i64 << 40) {
        let batch = build(codec, &plain).restamp(Offset(base), LeaderEpoch(3));
        let sets = oracle::RecordBatchDecoder::decode_all(&mut batch.bytes().clone()).unwrap();
        prop_assert_eq!(sets.len(), 1);
        prop_assert_eq!(sets[0].records.len(), plain.len());
        for (i, (got, put)) in sets[0].records.iter().zip(&plain).enumerate() {
            let expected = as_theirs(i, base, put);
            prop_assert_eq!(got.offset, expected.offset);
            prop_assert_eq!(got.timestamp, expected.timestamp);
            prop_assert_eq!(got.partition_leader_epoch, 3);
            prop_assert_eq!(&got.key, &expected.key);
            prop_assert_eq!(&got.value, &expected.value);
            prop_assert_eq!(&got.headers, &expected.headers);
        }
    }

    #[test]
    fn theirs_reads_here(codec in codec(), plain in vec(plain(), 1..20).prop_map(restrict), base in 0..1_i64 << 40) {
        let sent: Vec<_> = plain.iter().enumerate().map(|(i, p)| as_theirs(i, base, p)).collect();
        let options = oracle::RecordEncodeOptions { version: 2, compression: theirs(codec) };
        let mut bytes = BytesMut::new();
        oracle::RecordBatchEncoder::encode(&mut bytes, &sent, &options).unwrap();
        let batch = Batch::parse(bytes.freeze()).unwrap();
        prop_assert_eq!(batch.check_produced(), Ok(()));
        prop_assert_eq!(batch.header().base_offset, Offset(base));
        let max = plain.iter().map(|p| p.timestamp).max().unwrap();
        prop_assert_eq!(batch.header().max_timestamp, max);
        let decoded = records(&batch, 16 << 20).unwrap();
        prop_assert_eq!(decoded.len(), plain.len());
        for (i, (got, put)) in decoded.iter().zip(&plain).enumerate() {
            prop_assert_eq!(got.offset.0, base + i as i64);
            prop_assert_eq!(got.timestamp, put.timestamp);
            prop_assert_eq!(got.key.as_deref(), put.key.as_deref());
            prop_assert_eq!(got.value.as_deref(), put.value.as_deref());
            let headers: Vec<Header> = put.headers.clone();
            prop_assert_eq!(&got.headers, &headers);
        }
    }
}
