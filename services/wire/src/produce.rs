//! Produce requests, decoded by hand: the hot path, and the one frame that may be large.
//!
//! Next to the generated codec this one bounds how many partitions a frame may name (100 MiB of six-byte
//! partitions would decode to a gigabyte), skips tagged fields without keeping them, and reads versions 0 to 2,
//! which are advertised (KAFKA-18659) but only ever refused.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kacrab_protocol::{KafkaString, KafkaUuid, bytes_io, primitives, string, uuid};

use crate::{ApiKey, Encoded, WireError, encode};

const WHAT: &str = "ProduceRequest";
/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 9;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version with a transactional id; older ones carry message sets.
pub const VERSION_MIN: i16 = 3;
/// Highest version this codec knows.
pub const VERSION_MAX: i16 = 13;
/// Partitions one request may name. Kafka has no bound; 100,000 is the most a topic may have.
pub const PARTITIONS_MAX: usize = 100_000;

/// A Produce request. Batches are slices of the frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    /// The producer's transactional id.
    pub transactional_id: Option<KafkaString>,
    /// 0: do not answer; 1 and −1 mean the same here: durable.
    pub acks: i16,
    /// How long the client waits, ms.
    pub timeout_ms: i32,
    /// Topics in the request's order.
    pub topics: Vec<ProduceTopic>,
}

/// One topic of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic {
    /// Its name; empty from version 13 on.
    pub name: KafkaString,
    /// Its id; zero before version 13.
    pub id: KafkaUuid,
    /// Its partitions in the request's order.
    pub partitions: Vec<ProducePartition>,
}

/// One partition of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    /// Its index.
    pub index: i32,
    /// The client's record batches, verbatim.
    pub records: Option<Bytes>,
}

impl ProduceRequest {
    /// Reads a request of `version` 0 to [`VERSION_MAX`]. Bytes after it are passed over, as in Kafka.
    ///
    /// # Errors
    /// [`WireError::Malformed`].
    pub fn decode(body: Bytes, version: i16) -> Result<Self, WireError> {
        let mut r = Body { buf: body, version };
        let transactional_id = match version {
            VERSION_MIN.. => r.nullable_string()?,
            _ => None,
        };
        let acks = primitives::read_i16(&mut r.buf).map_err(bad)?;
        let timeout_ms = primitives::read_i32(&mut r.buf).map_err(bad)?;
        let topics = r.topics()?;
        r.skip_tags()?;
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

fn bad(why: impl std::fmt::Display) -> WireError {
    WireError::malformed(WHAT, why)
}

struct Body {
    buf: Bytes,
    version: i16,
}

impl Body {
    const fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn topics(&mut self) -> Result<Vec<ProduceTopic>, WireError> {
        let mut left = PARTITIONS_MAX;
        let count = self.count(&mut left)?;
        let mut topics = Vec::with_capacity(self.capacity(count));
        for _ in 0..count {
            let (name, id) = match self.version {
                TOPIC_IDS.. => (
                    KafkaString::from_static(""),
                    uuid::read_uuid(&mut self.buf).map_err(bad)?,
                ),
                _ => (self.string()?, KafkaUuid::ZERO),
            };
            let partitions = self.partitions(&mut left)?;
            self.skip_tags()?;
            topics.push(ProduceTopic {
                name,
                id,
                partitions,
            });
        }
        Ok(topics)
    }

    fn partitions(&mut self, left: &mut usize) -> Result<Vec<ProducePartition>, WireError> {
        let count = self.count(left)?;
        let mut partitions = Vec::with_capacity(self.capacity(count));
        for _ in 0..count {
            let index = primitives::read_i32(&mut self.buf).map_err(bad)?;
            let records = if self.flexible() {
                bytes_io::read_compact_nullable_bytes(&mut self.buf)
            } else {
                bytes_io::read_nullable_bytes(&mut self.buf)
            };
            self.skip_tags()?;
            partitions.push(ProducePartition {
                index,
                records: records.map_err(bad)?,
            });
        }
        Ok(partitions)
    }

    /// An array's length, taken off what is `left` of the bound. A null array counts as empty, as in Kafka.
    fn count(&mut self, left: &mut usize) -> Result<usize, WireError> {
        let count = if self.flexible() {
            primitives::read_compact_array_length(&mut self.buf)
        } else {
            primitives::read_array_length(&mut self.buf)
        };
        let count = usize::try_from(count.map_err(bad)?).unwrap_or(0);
        *left = left
            .checked_sub(count)
            .ok_or_else(|| bad(format_args!("names more than {PARTITIONS_MAX} partitions")))?;
        Ok(count)
    }

    fn capacity(&self, count: usize) -> usize {
        primitives::array_read_capacity(i32::try_from(count).unwrap_or(i32::MAX), self.buf.len())
    }

    fn string(&mut self) -> Result<KafkaString, WireError> {
        if self.flexible() {
            string::read_compact_string(&mut self.buf)
        } else {
            string::read_string(&mut self.buf)
        }
        .map_err(bad)
    }

    fn nullable_string(&mut self) -> Result<Option<KafkaString>, WireError> {
        if self.flexible() {
            string::read_compact_nullable_string(&mut self.buf)
        } else {
            string::read_nullable_string(&mut self.buf)
        }
        .map_err(bad)
    }

    fn skip_tags(&mut self) -> Result<(), WireError> {
        if !self.flexible() {
            return Ok(());
        }
        let varint = primitives::read_unsigned_varint;
        let mut previous = None;
        for _ in 0..varint(&mut self.buf).map_err(bad)? {
            let tag = varint(&mut self.buf).map_err(bad)?;
            if previous.is_some_and(|p| tag <= p) {
                return Err(bad("tagged fields out of order"));
            }
            previous = Some(tag);
            let size = varint(&mut self.buf).map_err(bad)? as usize;
            if size > self.buf.len() {
                return Err(bad("tagged field cut short"));
            }
            self.buf.advance(size);
        }
        Ok(())
    }
}

/// Answers every partition of a request of version 0 to 2 with `error`: such requests carry message sets
/// of formats that are no longer written.
///
/// # Errors
/// [`WireError::Encode`].
pub fn refuse_old(
    request: &ProduceRequest,
    version: i16,
    correlation_id: i32,
    error: i16,
) -> Result<Encoded, WireError> {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let mut buf: BytesMut = encode::start(ApiKey::Produce as i16, version, correlation_id, 64);
    buf.put_i32(count(request.topics.len()));
    for topic in &request.topics {
        string::write_string(&mut buf, &topic.name).map_err(|e| WireError::Encode {
            what: "ProduceResponse",
            version,
            why: e.to_string(),
        })?;
        buf.put_i32(count(topic.partitions.len()));
        for partition in &topic.partitions {
            buf.put_i32(partition.index);
            buf.put_i16(error);
            buf.put_i64(-1);
            if version >= 2 {
                buf.put_i64(-1);
            }
        }
    }
    if version >= 1 {
        buf.put_i32(0);
    }
    Encoded::from_pieces(buf, Vec::new())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Request;
    use crate::messages::{PartitionProduceData, ProduceRequestData, TopicProduceData};

    fn generated(version: i16) -> ProduceRequestData {
        let partition = |index, n: usize| PartitionProduceData {
            index,
            records: (n > 0).then(|| vec![7; n].into()),
            ..Default::default()
        };
        let topic = |name: &'static str, partition_data| TopicProduceData {
            name: KafkaString::from_static(if version >= TOPIC_IDS { "" } else { name }),
            topic_id: match version {
                TOPIC_IDS.. => KafkaUuid::from_parts(1, 2),
                _ => KafkaUuid::ZERO,
            },
            partition_data,
            ..Default::default()
        };
        ProduceRequestData {
            transactional_id: Some(KafkaString::from_static("tx")),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![
                topic("a", vec![partition(0, 300), partition(5, 0)]),
                topic("b", vec![]),
            ],
            ..Default::default()
        }
    }

    fn encoded(version: i16) -> Bytes {
        let mut buf = BytesMut::new();
        Request::write(&generated(version), &mut buf, version).unwrap();
        buf.freeze()
    }

    #[test]
    fn reads_what_the_generated_codec_writes() {
        for version in VERSION_MIN..=VERSION_MAX {
            let ours = ProduceRequest::decode(encoded(version), version).unwrap();
            let theirs = generated(version);
            assert_eq!(ours.transactional_id, theirs.transactional_id);
            assert_eq!((ours.acks, ours.timeout_ms), (-1, 30_000));
            assert_eq!(ours.topics.len(), 2);
            for (a, b) in ours.topics.iter().zip(&theirs.topic_data) {
                assert_eq!((&a.name, a.id), (&b.name, b.topic_id));
                let ours = a.partitions.iter().map(|p| (p.index, p.records.clone()));
                let theirs = b
                    .partition_data
                    .iter()
                    .map(|p| (p.index, p.records.clone()));
                assert!(ours.eq(theirs));
            }
        }
    }

    #[test]
    fn batches_are_slices_of_the_frame() {
        let body = encoded(9);
        let range = body.as_ptr_range();
        let request = ProduceRequest::decode(body.clone(), 9).unwrap();
        let records = request.topics[0].partitions[0].records.as_ref().unwrap();
        assert!(range.contains(&records.as_ptr()));
    }

    #[test]
    fn truncations_are_errors_and_trailing_bytes_are_not() {
        for version in VERSION_MIN..=VERSION_MAX {
            let body = encoded(version);
            for n in 0..body.len() {
                assert!(ProduceRequest::decode(body.slice(..n), version).is_err());
            }
            let longer = [&body[..], &[0]].concat();
            assert!(ProduceRequest::decode(longer.into(), version).is_ok());
        }
    }

    #[test]
    fn counts_that_lie_are_refused() {
        let mut huge = BytesMut::new();
        huge.put_i16(-1);
        huge.put_i16(1);
        huge.put_i32(1_000);
        huge.put_i32(i32::MAX);
        let error = ProduceRequest::decode(huge.freeze(), 3).unwrap_err();
        assert!(error.to_string().contains("more than 100000"), "{error}");
    }

    #[test]
    fn old_versions_are_read_and_refused_per_partition() {
        let mut body = BytesMut::new();
        body.put_i16(1);
        body.put_i32(1_000);
        body.put_i32(1);
        body.put_slice(&[0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, 9, 9]);
        for version in 0..VERSION_MIN {
            let request = ProduceRequest::decode(body.clone().freeze(), version).unwrap();
            assert_eq!(request.topics[0].partitions[0].index, 3);
            let answer = refuse_old(&request, version, 1, 35).unwrap();
            let extra = [0, 4, 12][usize::try_from(version).unwrap()];
            assert_eq!(answer.bytes(), 8 + 4 + 3 + 4 + 4 + 2 + 8 + extra);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            version in 0i16..=VERSION_MAX,
        ) {
            let _ = ProduceRequest::decode(body.into(), version);
        }
    }
}
