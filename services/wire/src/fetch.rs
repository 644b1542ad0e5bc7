//! Fetch answers, encoded by hand: record batches are handed to the socket as they lie in memory.

use bytes::{BufMut, Bytes, BytesMut};
use kacrab_protocol::{KafkaString, KafkaUuid, primitives, string, uuid};

use crate::{ApiKey, Encoded, WireError, encode};

/// First version with compact lengths and tagged fields.
const FLEXIBLE: i16 = 12;
/// First version that names topics by id.
const TOPIC_IDS: i16 = 13;
/// First version that can name the leaders' addresses (KIP-951).
const ENDPOINTS: i16 = 16;

/// An answer to a Fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchAnswer {
    /// Error of the whole; versions 7 and up.
    pub error_code: i16,
    /// The fetch session, 0 for none; versions 7 and up.
    pub session_id: i32,
    /// Topics in the order of the request or session.
    pub topics: Vec<FetchedTopic>,
    /// Where the leaders named in partitions are; versions 16 and up.
    pub endpoints: Vec<Endpoint>,
}

/// A node's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node.
    pub node_id: i32,
    /// Its host.
    pub host: KafkaString,
    /// Its port.
    pub port: i32,
}

/// One topic of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Its name; written up to version 12.
    pub name: KafkaString,
    /// Its id; written from version 13 on.
    pub id: KafkaUuid,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// One partition of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// Its index.
    pub index: i32,
    /// Kafka's error number, 0 for none.
    pub error_code: i16,
    /// End of the readable log, exclusive; −1 when unknown.
    pub high_watermark: i64,
    /// End of what `read_committed` readers see; −1 when unknown.
    pub last_stable_offset: i64,
    /// First readable offset; −1 when unknown. Versions 5 and up.
    pub log_start: i64,
    /// Leader and epoch, to save the client a metadata request (versions 12 and up).
    pub leader: Option<(i32, i32)>,
    /// Producer id and first offset of each aborted transaction; `None` unless `read_committed` was asked.
    pub aborted: Option<Vec<(i64, i64)>>,
    /// Chunks that concatenate to whole batches.
    pub records: Vec<Bytes>,
}

impl Default for FetchedPartition {
    fn default() -> Self {
        Self {
            index: 0,
            error_code: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start: -1,
            leader: None,
            aborted: None,
            records: Vec::new(),
        }
    }
}

impl FetchedPartition {
    fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

impl FetchAnswer {
    /// Encodes the answer at `version` 4 to 18. No record byte is copied.
    ///
    /// # Errors
    /// [`WireError::Encode`] when a length does not fit its field.
    pub fn encode(self, version: i16, correlation_id: i32) -> Result<Encoded, WireError> {
        let partitions: usize = self.topics.iter().map(|t| t.partitions.len()).sum();
        let room = 32 + 96 * partitions + 64 * self.topics.len();
        let mut w = Writer {
            buf: encode::start(ApiKey::Fetch as i16, version, correlation_id, room),
            version,
            spliced: Vec::new(),
        };
        w.buf.put_i32(0);
        if version >= 7 {
            w.buf.put_i16(self.error_code);
            w.buf.put_i32(self.session_id);
        }
        w.count(self.topics.len())?;
        for topic in self.topics {
            w.topic(topic)?;
        }
        w.endpoints(&self.endpoints)?;
        w.finish()
    }
}

struct Writer {
    buf: BytesMut,
    version: i16,
    /// Chunks and the position in `buf` that they belong before, ascending.
    spliced: Vec<(usize, Bytes)>,
}

impl Writer {
    const fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn fail(&self, why: impl std::fmt::Display) -> WireError {
        WireError::Encode {
            what: "FetchResponse",
            version: self.version,
            why: why.to_string(),
        }
    }

    fn count(&mut self, n: usize) -> Result<(), WireError> {
        let n = i32::try_from(n).map_err(|e| self.fail(e))?;
        if self.flexible() {
            primitives::write_compact_array_length(&mut self.buf, n);
        } else {
            self.buf.put_i32(n);
        }
        Ok(())
    }

    fn topic(&mut self, topic: FetchedTopic) -> Result<(), WireError> {
        if self.version >= TOPIC_IDS {
            uuid::write_uuid(&mut self.buf, &topic.id);
        } else if self.flexible() {
            string::write_compact_string(&mut self.buf, &topic.name).map_err(|e| self.fail(e))?;
        } else {
            string::write_string(&mut self.buf, &topic.name).map_err(|e| self.fail(e))?;
        }
        self.count(topic.partitions.len())?;
        for partition in topic.partitions {
            self.partition(partition)?;
        }
        if self.flexible() {
            self.buf.put_u8(0);
        }
        Ok(())
    }

    fn partition(&mut self, p: FetchedPartition) -> Result<(), WireError> {
        self.buf.put_i32(p.index);
        self.buf.put_i16(p.error_code);
        self.buf.put_i64(p.high_watermark);
        self.buf.put_i64(p.last_stable_offset);
        if self.version >= 5 {
            self.buf.put_i64(p.log_start);
        }
        self.aborted(p.aborted.as_deref())?;
        if self.version >= 11 {
            // Preferred read replica: this one.
            self.buf.put_i32(-1);
        }
        let bytes = i32::try_from(p.bytes()).map_err(|e| self.fail(e))?;
        if self.flexible() {
            primitives::write_compact_array_length(&mut self.buf, bytes);
        } else {
            self.buf.put_i32(bytes);
        }
        let at = self.buf.len();
        let chunks = p.records.into_iter().filter(|c| !c.is_empty());
        self.spliced.extend(chunks.map(|c| (at, c)));
        if self.flexible() {
            self.leader(p.leader);
        }
        Ok(())
    }

    fn aborted(&mut self, aborted: Option<&[(i64, i64)]>) -> Result<(), WireError> {
        let Some(aborted) = aborted else {
            if self.flexible() {
                self.buf.put_u8(0);
            } else {
                self.buf.put_i32(-1);
            }
            return Ok(());
        };
        self.count(aborted.len())?;
        for (producer_id, first_offset) in aborted {
            self.buf.put_i64(*producer_id);
            self.buf.put_i64(*first_offset);
            if self.flexible() {
                self.buf.put_u8(0);
            }
        }
        Ok(())
    }

    /// The partition's tagged fields: `CurrentLeader` is tag 1.
    fn leader(&mut self, leader: Option<(i32, i32)>) {
        let Some((node_id, epoch)) = leader else {
            self.buf.put_u8(0);
            return;
        };
        // One field, tag 1, nine bytes: id, epoch, no tagged fields of its own.
        self.buf.put_slice(&[1, 1, 9]);
        self.buf.put_i32(node_id);
        self.buf.put_i32(epoch);
        self.buf.put_u8(0);
    }

    /// The answer's tagged fields: `NodeEndpoints` is tag 0.
    fn endpoints(&mut self, endpoints: &[Endpoint]) -> Result<(), WireError> {
        if !self.flexible() {
            return Ok(());
        }
        if self.version < ENDPOINTS || endpoints.is_empty() {
            self.buf.put_u8(0);
            return Ok(());
        }
        let mut field = BytesMut::new();
        let n = i32::try_from(endpoints.len()).map_err(|e| self.fail(e))?;
        primitives::write_compact_array_length(&mut field, n);
        for e in endpoints {
            field.put_i32(e.node_id);
            string::write_compact_string(&mut field, &e.host).map_err(|e| self.fail(e))?;
            field.put_i32(e.port);
            // No rack, no tagged fields.
            field.put_slice(&[0, 0]);
        }
        let length = u32::try_from(field.len()).map_err(|e| self.fail(e))?;
        self.buf.put_slice(&[1, 0]);
        primitives::write_unsigned_varint(&mut self.buf, length);
        self.buf.put_slice(&field);
        Ok(())
    }

    /// Cuts the fields where chunks belong between them.
    fn finish(self) -> Result<Encoded, WireError> {
        let Self {
            mut buf, spliced, ..
        } = self;
        let Some((first, _)) = spliced.first() else {
            return Encoded::from_pieces(buf, Vec::new());
        };
        let fields_from = *first;
        let fields = buf.split_off(fields_from).freeze();
        let mut rest = Vec::with_capacity(2 * spliced.len() + 1);
        let mut done = fields_from;
        for (at, chunk) in spliced {
            rest.push(fields.slice(done - fields_from..at - fields_from));
            rest.push(chunk);
            done = at;
        }
        rest.push(fields.slice(done - fields_from..));
        Encoded::from_pieces(buf, rest)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;
    use crate::messages::{FetchResponseData, fetch_response};
    use crate::response_header_version;

    fn answer(version: i16) -> FetchAnswer {
        let leader = (version >= FLEXIBLE).then_some((1, 5));
        FetchAnswer {
            error_code: 0,
            session_id: if version >= 7 { 9 } else { 0 },
            topics: vec![FetchedTopic {
                name: KafkaString::from_static(if version >= TOPIC_IDS { "" } else { "t" }),
                id: match version {
                    TOPIC_IDS.. => KafkaUuid::from_parts(3, 4),
                    _ => KafkaUuid::ZERO,
                },
                partitions: vec![
                    FetchedPartition {
                        index: 0,
                        high_watermark: 10,
                        last_stable_offset: 9,
                        log_start: if version >= 5 { 1 } else { -1 },
                        aborted: Some(vec![(4, 2)]),
                        records: vec![vec![1; 400].into(), Bytes::new(), vec![2; 3].into()],
                        ..Default::default()
                    },
                    FetchedPartition {
                        index: 1,
                        error_code: 6,
                        leader,
                        ..Default::default()
                    },
                    FetchedPartition {
                        index: 2,
                        records: vec![Bytes::from_static(b"zz")],
                        ..Default::default()
                    },
                ],
            }],
            endpoints: match version {
                ENDPOINTS.. => vec![Endpoint {
                    node_id: 1,
                    host: KafkaString::from_static("h"),
                    port: 9,
                }],
                _ => Vec::new(),
            },
        }
    }

    fn decoded(encoded: &Encoded, version: i16) -> FetchResponseData {
        let mut raw = encoded.concat();
        assert_eq!(usize::try_from(raw.get_i32()).unwrap(), raw.len());
        assert_eq!(raw.get_i32(), 77);
        if response_header_version(1, version) >= 1 {
            assert_eq!(raw.get_u8(), 0);
        }
        let answer = FetchResponseData::read(&mut raw, version).unwrap();
        assert!(raw.is_empty());
        answer
    }

    #[test]
    fn the_generated_codec_reads_it_and_writes_the_same_bytes() {
        for version in 4..=18 {
            let ours = answer(version);
            let encoded = ours.clone().encode(version, 77).unwrap();
            let theirs = decoded(&encoded, version);
            assert_eq!(ours.session_id, theirs.session_id);
            let topic = &theirs.responses[0];
            assert_eq!(
                (&topic.topic, topic.topic_id),
                (&ours.topics[0].name, ours.topics[0].id)
            );
            for (a, b) in ours.topics[0].partitions.iter().zip(&topic.partitions) {
                assert_eq!((a.index, a.error_code), (b.partition_index, b.error_code));
                assert_eq!(a.high_watermark, b.high_watermark);
                assert_eq!(a.last_stable_offset, b.last_stable_offset);
                assert_eq!(a.log_start, b.log_start_offset);
                let aborted = b.aborted_transactions.as_ref().map(|all| {
                    let pairs = all.iter().map(|t| (t.producer_id, t.first_offset));
                    pairs.collect::<Vec<_>>()
                });
                assert_eq!(a.aborted, aborted);
                assert_eq!(Bytes::from(a.records.concat()), b.records.clone().unwrap());
            }
            let leader = &topic.partitions[1].current_leader;
            if version >= FLEXIBLE {
                assert_eq!((leader.leader_id, leader.leader_epoch), (1, 5));
            }
            assert_eq!(theirs.node_endpoints.len(), usize::from(version >= 16));
            let again = crate::encode_response(&theirs, version, 77).unwrap();
            assert_eq!(again.concat(), encoded.concat(), "version {version}");
        }
    }

    #[test]
    fn record_chunks_are_not_copied() {
        let ours = answer(13);
        let chunk = ours.topics[0].partitions[0].records[0].as_ptr();
        let pieces = ours.encode(13, 1).unwrap().into_pieces();
        assert!(pieces.iter().any(|p| p.as_ptr() == chunk));
    }

    #[test]
    fn defaults_match_the_generated_ones() {
        let theirs = fetch_response::PartitionData::default();
        let ours = FetchedPartition::default();
        assert_eq!(ours.log_start, theirs.log_start_offset);
        assert_eq!(-1, theirs.preferred_read_replica);
    }
}
