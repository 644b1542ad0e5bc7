//! Random records and batches.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidemark_records::{Batch, BatchBuilder, Compression, Header};

/// A record before it has an offset.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<Header>,
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Runs compress, noise does not: both paths of every codec.
    prop_oneof![
        vec(any::<u8>(), 0..max),
        (any::<u8>(), 0..max * 8).prop_map(|(byte, n)| vec![byte; n]),
    ]
}

fn header(name: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Header> {
    (name, option::of(bytes(40))).prop_map(|(key, value)| Header {
        key: key.into(),
        value: value.map(Bytes::from),
    })
}

pub(crate) fn plain() -> impl Strategy<Value = Plain> {
    let timestamp = prop_oneof![0..4_000_000_000_000_i64, any::<i64>()];
    let name = prop_oneof![
        vec(any::<u8>(), 0..20),
        "[a-z]{1,8}".prop_map(String::into_bytes)
    ];
    (
        timestamp,
        option::of(bytes(60)),
        option::of(bytes(300)),
        vec(header(name), 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| Plain {
            timestamp,
            key,
            value,
            headers,
        })
}

pub(crate) fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(Compression::ALL.to_vec())
}

pub(crate) fn build(codec: Compression, plain: &[Plain]) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for p in plain {
        builder
            .push(
                p.timestamp,
                p.key.as_deref(),
                p.value.as_deref(),
                &p.headers,
            )
            .unwrap();
    }
    builder.build().unwrap()
}

/// A small batch of two records with everything in them.
pub(crate) fn small(codec: Compression) -> Batch {
    let headers = vec![
        Header {
            key: Bytes::from_static(b"h"),
            value: None,
        },
        Header {
            key: Bytes::from_static(b"h"),
            value: Some(Bytes::from_static(b"\xff\x00")),
        },
    ];
    let record = |key: Option<&[u8]>, value: Option<&[u8]>, headers| Plain {
        timestamp: 1_700_000_000_000,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers,
    };
    build(
        codec,
        &[
            record(Some(b"key"), Some(b"value value value value"), headers),
            record(None, None, Vec::new()),
        ],
    )
}
