//! A Kafka client of one connection, as small as can be: what its latency is, is the server's.
#![expect(clippy::disallowed_methods, reason = "a client of a real process")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidemark_records::{BatchBuilder, Compression};
use tidemark_wire::messages::{
    FetchRequestData, FetchResponseData, PartitionProduceData, ProduceRequestData,
    ProduceResponseData, TopicProduceData, fetch_request,
};
use tidemark_wire::{KafkaString, Request, Response};

/// Versions that name topics and have flexible headers.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

/// A batch of one record.
pub(crate) fn batch(compression: Compression, value: &[u8]) -> Bytes {
    let mut batch = BatchBuilder::new(compression);
    batch
        .push(1_700_000_000_000, None, Some(value), &[])
        .unwrap();
    batch.build().unwrap().into_bytes()
}

/// A Produce frame of `records` to partition 0 of `topic`.
pub(crate) fn produce_frame(topic: &'static str, records: Bytes) -> Bytes {
    let request = ProduceRequestData {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: KafkaString::from_static(topic),
            partition_data: vec![PartitionProduceData {
                records: Some(records),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    frame(&request, PRODUCE)
}

fn frame<R: Request>(request: &R, version: i16) -> Bytes {
    let mut buf = BytesMut::new();
    buf.put_i32(0);
    buf.put_i16(R::KEY as i16);
    buf.put_i16(version);
    buf.put_i32(1);
    buf.put_i16(-1);
    buf.put_u8(0);
    request.write(&mut buf, version).unwrap();
    let length = i32::try_from(buf.len() - 4).unwrap();
    buf[..4].copy_from_slice(&length.to_be_bytes());
    buf.freeze()
}

pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn connect(to: &str) -> Self {
        let stream = TcpStream::connect(to).expect("the server accepts");
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        Self(stream)
    }

    /// Sends a frame and gives the answer's body.
    pub(crate) fn exchange(&mut self, frame: &[u8]) -> Bytes {
        self.0.write_all(frame).expect("the server reads");
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("the server answers");
        let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut body).expect("a whole answer");
        let mut body = Bytes::from(body);
        body.advance(5);
        body
    }

    /// Appends a record; its offset.
    pub(crate) fn produce(&mut self, topic: &'static str, records: Bytes) -> i64 {
        let mut body = self.exchange(&produce_frame(topic, records));
        let answer = ProduceResponseData::read(&mut body, PRODUCE).unwrap();
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, 0);
        partition.base_offset
    }

    /// Reads at an offset that has a record.
    pub(crate) fn fetch(&mut self, topic: &'static str, offset: i64) {
        let request = FetchRequestData {
            max_wait_ms: 30_000,
            min_bytes: 1,
            max_bytes: 1 << 20,
            session_epoch: -1,
            topics: vec![fetch_request::FetchTopic {
                topic: KafkaString::from_static(topic),
                partitions: vec![fetch_request::FetchPartition {
                    fetch_offset: offset,
                    partition_max_bytes: 1 << 20,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut body = self.exchange(&frame(&request, FETCH));
        let answer = <FetchResponseData as Response>::read(&mut body, FETCH).unwrap();
        let records = answer.responses[0].partitions[0].records.as_ref();
        assert!(records.is_some_and(|r| !r.is_empty()), "{answer:?}");
    }
}
