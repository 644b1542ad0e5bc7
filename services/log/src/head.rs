//! The head of a data frame: what the frame does to the shard's state, without the batches' bytes.
//!
//! All integers big-endian. Version 1: version `u8`, time of sequencing in ms since the Unix epoch `i64` (never
//! goes down within a shard), number of entries `u32`, then per entry a tag `u8` and:
//!
//! | tag | entry | fields |
//! |---|---|---|
//! | 1 | batch; the n-th belongs to the frame's n-th part | topic `u64`, index `i32`, base offset `i64`, leader epoch `i32`, offsets `i32`, max timestamp `i64`, flags `u8`, then by flag |
//! | | flag 1: producer | id `i64`, epoch `i16`, base sequence `i32` |
//! | | flag 2: idempotency key | length `u8`, key, fingerprint `u64` |
//! | | flag 4: the log set the timestamps | |
//! | 2 | expiry (K4) | topic `u64`, index `i32`, forget producers last seen at or before `i64`, keys likewise `i64` |
//! | 3 | the topic was deleted | topic `u64` |
//!
//! A batch's first 21 bytes, which its CRC does not cover, follow from here: base offset, the part's length,
//! leader epoch, magic 2, the part's CRC.

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_records::PREFIX_BYTES;
use tidemark_types::{
    DecodeError, LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId,
    Reader, TopicId, limits,
};

const VERSION: u8 = 1;
const MAGIC_V2: u8 = 2;
const TAG_BATCH: u8 = 1;
const TAG_EXPIRE: u8 = 2;
const TAG_FORGET: u8 = 3;
const FLAG_PRODUCER: u8 = 1;
const FLAG_KEY: u8 = 2;
const FLAG_LOG_TIME: u8 = 4;
/// Smallest entry, bytes: bounds what a count may allocate.
const ENTRY_BYTES_MIN: usize = 9;

/// The producer fields of an idempotent batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProducerStamp {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) base_sequence: i32,
}

/// An idempotency key as the state keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyStamp {
    pub(crate) key: Bytes,
    pub(crate) fingerprint: u64,
}

/// One batch of a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BatchEntry {
    pub(crate) partition: PartitionId,
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    /// Offsets it takes, ≥ 1.
    pub(crate) offsets: i32,
    pub(crate) max_timestamp: i64,
    /// Whether `max_timestamp` is the log's own time.
    pub(crate) log_time: bool,
    pub(crate) producer: Option<ProducerStamp>,
    pub(crate) key: Option<KeyStamp>,
}

impl BatchEntry {
    /// The offset after its last.
    pub(crate) fn end(&self) -> Offset {
        Offset(self.base_offset.0 + i64::from(self.offsets))
    }

    /// The time the log gave its records.
    pub(crate) fn log_append_time_ms(&self) -> Option<i64> {
        self.log_time.then_some(self.max_timestamp)
    }

    /// The batch's first bytes as readers get them.
    pub(crate) fn prefix(&self, batch_bytes: usize, crc: u32) -> [u8; PREFIX_BYTES] {
        let mut out = [0; PREFIX_BYTES];
        let length = u32::try_from(batch_bytes.saturating_sub(12)).unwrap_or(u32::MAX);
        out[..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[16] = MAGIC_V2;
        out[17..].copy_from_slice(&crc.to_be_bytes());
        out
    }
}

/// One change of the shard's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    Batch(BatchEntry),
    /// Forget producers and keys last seen at or before these times.
    Expire {
        partition: PartitionId,
        producers_until_ms: i64,
        keys_until_ms: i64,
    },
    /// Forget the topic's partitions.
    Forget(TopicId),
}

/// A data frame's head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Head {
    pub(crate) appended_ms: i64,
    pub(crate) entries: Vec<Entry>,
}

impl Head {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + self.entries.len() * 64);
        out.put_u8(VERSION);
        out.put_i64(self.appended_ms);
        out.put_u32(u32::try_from(self.entries.len()).expect("bounded by FRAME_BATCHES_MAX"));
        for entry in &self.entries {
            match entry {
                Entry::Batch(batch) => encode_batch(&mut out, batch),
                Entry::Expire {
                    partition,
                    producers_until_ms,
                    keys_until_ms,
                } => {
                    out.put_u8(TAG_EXPIRE);
                    put_partition(&mut out, *partition);
                    out.put_i64(*producers_until_ms);
                    out.put_i64(*keys_until_ms);
                }
                Entry::Forget(topic) => {
                    out.put_u8(TAG_FORGET);
                    out.put_u64(topic.0);
                }
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = r.u8("frame head version")?;
        if version != VERSION {
            return Err(DecodeError::invalid(
                "frame head version",
                format!("{version} is unknown, this build reads 1"),
            ));
        }
        let appended_ms = r.i64("frame head time")?;
        let count = r.u32("frame head entries")? as usize;
        if count > r.remaining() / ENTRY_BYTES_MIN || count > 2 * limits::FRAME_BATCHES_MAX {
            return Err(DecodeError::invalid(
                "frame head entries",
                format!("{count} do not fit"),
            ));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(decode_entry(&mut r)?);
        }
        r.finish("frame head")?;
        Ok(Self {
            appended_ms,
            entries,
        })
    }

    /// The batches, in the order of the frame's parts.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &BatchEntry> {
        self.entries.iter().filter_map(|e| match e {
            Entry::Batch(batch) => Some(batch),
            _ => None,
        })
    }
}

pub(crate) fn put_partition(out: &mut BytesMut, partition: PartitionId) {
    out.put_u64(partition.topic.0);
    out.put_i32(partition.index.0);
}

pub(crate) fn read_partition(r: &mut Reader<'_>) -> Result<PartitionId, DecodeError> {
    Ok(PartitionId {
        topic: TopicId(r.u64("topic")?),
        index: PartitionIndex(r.i32("partition index")?),
    })
}

fn encode_batch(out: &mut BytesMut, batch: &BatchEntry) {
    out.put_u8(TAG_BATCH);
    put_partition(out, batch.partition);
    out.put_i64(batch.base_offset.0);
    out.put_i32(batch.leader_epoch.0);
    out.put_i32(batch.offsets);
    out.put_i64(batch.max_timestamp);
    let producer = if batch.producer.is_some() {
        FLAG_PRODUCER
    } else {
        0
    };
    let key = if batch.key.is_some() { FLAG_KEY } else { 0 };
    let time = if batch.log_time { FLAG_LOG_TIME } else { 0 };
    out.put_u8(producer | key | time);
    if let Some(producer) = &batch.producer {
        out.put_i64(producer.id.0);
        out.put_i16(producer.epoch.0);
        out.put_i32(producer.base_sequence);
    }
    if let Some(key) = &batch.key {
        out.put_u8(u8::try_from(key.key.len()).expect("bounded by IdempotencyKey::BYTES_MAX"));
        out.put_slice(&key.key);
        out.put_u64(key.fingerprint);
    }
}

fn decode_entry(r: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    match r.u8("entry tag")? {
        TAG_BATCH => decode_batch(r).map(Entry::Batch),
        TAG_EXPIRE => Ok(Entry::Expire {
            partition: read_partition(r)?,
            producers_until_ms: r.i64("producers until")?,
            keys_until_ms: r.i64("keys until")?,
        }),
        TAG_FORGET => Ok(Entry::Forget(TopicId(r.u64("topic")?))),
        other => Err(DecodeError::invalid(
            "entry tag",
            format!("{other} is unknown"),
        )),
    }
}

fn decode_batch(r: &mut Reader<'_>) -> Result<BatchEntry, DecodeError> {
    let partition = read_partition(r)?;
    let base_offset = Offset(r.i64("base offset")?);
    let leader_epoch = LeaderEpoch(r.i32("leader epoch")?);
    let offsets = r.i32("offsets")?;
    if offsets < 1 || base_offset.0 < 0 || base_offset.0 > i64::MAX - i64::from(offsets) {
        return Err(DecodeError::invalid(
            "offsets",
            format!("{offsets} from {base_offset}"),
        ));
    }
    let max_timestamp = r.i64("max timestamp")?;
    let flags = r.u8("flags")?;
    if flags & !(FLAG_PRODUCER | FLAG_KEY | FLAG_LOG_TIME) != 0 {
        return Err(DecodeError::invalid(
            "flags",
            format!("{flags:#x} is unknown"),
        ));
    }
    let producer = if flags & FLAG_PRODUCER == 0 {
        None
    } else {
        Some(ProducerStamp {
            id: ProducerId(r.i64("producer id")?),
            epoch: ProducerEpoch(r.i16("producer epoch")?),
            base_sequence: r.i32("base sequence")?,
        })
    };
    let key = if flags & FLAG_KEY == 0 {
        None
    } else {
        let len = r.u8("key length")? as usize;
        Some(KeyStamp {
            key: r.take_bytes(len, "idempotency key")?,
            fingerprint: r.u64("key fingerprint")?,
        })
    };
    Ok(BatchEntry {
        partition,
        base_offset,
        leader_epoch,
        offsets,
        max_timestamp,
        log_time: flags & FLAG_LOG_TIME != 0,
        producer,
        key,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn partitions() -> impl Strategy<Value = PartitionId> {
        (0u64..4, 0i32..3).prop_map(|(topic, index)| PartitionId {
            topic: TopicId(topic),
            index: PartitionIndex(index),
        })
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let batch = (
            partitions(),
            (
                0i64..1 << 40,
                any::<i32>(),
                1i32..5000,
                any::<i64>(),
                any::<bool>(),
            ),
            proptest::option::of((any::<i64>(), any::<i16>(), any::<i32>())),
            proptest::option::of((proptest::collection::vec(any::<u8>(), 1..128), any::<u64>())),
        )
            .prop_map(
                |(partition, (base, epoch, offsets, time, log_time), producer, key)| {
                    Entry::Batch(BatchEntry {
                        partition,
                        base_offset: Offset(base),
                        leader_epoch: LeaderEpoch(epoch),
                        offsets,
                        max_timestamp: time,
                        log_time,
                        producer: producer.map(|(id, epoch, base_sequence)| ProducerStamp {
                            id: ProducerId(id),
                            epoch: ProducerEpoch(epoch),
                            base_sequence,
                        }),
                        key: key.map(|(key, fingerprint)| KeyStamp {
                            key: key.into(),
                            fingerprint,
                        }),
                    })
                },
            );
        prop_oneof![
            4 => batch,
            1 => (partitions(), any::<i64>(), any::<i64>()).prop_map(|(partition, p, k)| Entry::Expire {
                partition,
                producers_until_ms: p,
                keys_until_ms: k,
            }),
            1 => any::<u64>().prop_map(|t| Entry::Forget(TopicId(t))),
        ]
    }

    proptest! {
        #[test]
        fn heads_round_trip_and_nothing_shorter_or_longer_decodes(
            appended_ms: i64,
            entries in proptest::collection::vec(entries(), 0..8),
        ) {
            let head = Head { appended_ms, entries };
            let bytes = head.encode();
            prop_assert_eq!(&Head::decode(&bytes).unwrap(), &head);
            for len in 0..bytes.len() {
                prop_assert!(Head::decode(&bytes[..len]).is_err());
            }
            prop_assert!(Head::decode(&[&bytes[..], &[0]].concat()).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = Head::decode(&bytes);
            let _ = Head::decode(&[&[VERSION][..], &bytes].concat());
        }
    }

    #[test]
    fn stored_bytes_do_not_change() {
        let partition = PartitionId {
            topic: TopicId(7),
            index: PartitionIndex(3),
        };
        let full = BatchEntry {
            partition,
            base_offset: Offset(1_000_000_007),
            leader_epoch: LeaderEpoch(9),
            offsets: 500,
            max_timestamp: 1_700_000_000_123,
            log_time: true,
            producer: Some(ProducerStamp {
                id: ProducerId(4001),
                epoch: ProducerEpoch(2),
                base_sequence: 77,
            }),
            key: Some(KeyStamp {
                key: Bytes::from_static(b"order-1"),
                fingerprint: 0xfeed_beef,
            }),
        };
        let plain = BatchEntry {
            log_time: false,
            producer: None,
            key: None,
            base_offset: Offset(1_000_000_507),
            ..full.clone()
        };
        let head = Head {
            appended_ms: 1_700_000_000_200,
            entries: vec![
                Entry::Batch(full),
                Entry::Batch(plain),
                Entry::Expire {
                    partition,
                    producers_until_ms: 1_699_900_000_000,
                    keys_until_ms: i64::MIN,
                },
                Entry::Forget(TopicId(6)),
            ],
        };
        tidemark_golden::newest(
            "checkpoint/frame-head-v1",
            &head,
            |h| h.encode().to_vec(),
            Head::decode,
        );
    }

    #[test]
    fn a_batchs_prefix_is_reproduced_from_the_head() {
        let mut builder = tidemark_records::BatchBuilder::new(tidemark_records::Compression::None);
        builder
            .push(5, None, Some(&Bytes::from_static(b"v")), &[])
            .unwrap();
        let batch = builder.build().unwrap();
        let entry = BatchEntry {
            partition: PartitionId {
                topic: TopicId(1),
                index: PartitionIndex(0),
            },
            base_offset: Offset(42),
            leader_epoch: LeaderEpoch(3),
            offsets: 1,
            max_timestamp: 5,
            log_time: false,
            producer: None,
            key: None,
        };
        assert_eq!(
            entry.prefix(batch.bytes().len(), batch.header().crc),
            batch.patched_prefix(Offset(42), LeaderEpoch(3))
        );
    }
}
