//! The checkpoint at the start of every extent: the committed state of the shard, in one or more frames (J12).
//!
//! Everything is in the frames' heads, big-endian. Version 1. A part (`Checkpoint`): version `u8`, its number
//! `u32`, partitions in it `u32`, the partitions. The end (`CheckpointEnd`, the complete flag): version `u8`, number
//! of parts `u32`, time of the newest frame `i64`, partitions in all `u64`, CRC64/NVME over the parts' heads `u64`.
//!
//! A partition: topic `u64`, index `i32`, log start `i64`, next offset `i64`, leader epochs (count `u8`, each epoch
//! `i32` and first offset `i64`), max timestamp (flag `u8`, then time and base offset, `i64` each), producers
//! (count `u32`, each id `i64`, epoch `i16`, last seen `i64`, batches: count `u8`, each first and last sequence `i32`,
//! base offset `i64`, log append time), keys (count `u32`, each length `u8`, key, fingerprint `u64`, base offset
//! `i64`, log append time, appended `i64`). A log append time: flag `u8`, then `i64` if the flag is 1.
//! Partitions are sorted by id, so equal states have equal bytes.

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_journal::{FrameBody, FrameKind};
use tidemark_types::{
    DecodeError, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Reader, limits,
};

use crate::head::{put_partition, read_partition};
use crate::producers::{Producer, Producers, Remembered};
use crate::state::{CommittedState, EPOCHS_PER_PARTITION_MAX, Keyed, Keys, PartitionState};

const VERSION: u8 = 1;
/// Of a part: version, its number, and how many partitions.
const PART_HEADER_BYTES: usize = 9;
const PART_COUNT: std::ops::Range<usize> = 5..PART_HEADER_BYTES;
/// Smallest encoded partition, producer and key: bounds what a count may allocate.
const PARTITION_BYTES_MIN: usize = 38;

/// The committed state as frames to append in order; a part is closed once it has `part_bytes`. Each frame is made when it
/// is asked for, so that the checkpoint of many partitions is never in memory as a whole.
pub(crate) fn frames(state: &CommittedState, part_bytes: usize) -> Frames<'_> {
    let sorted = state.sorted();
    Frames {
        appended_ms: state.appended_ms,
        all: sorted.len() as u64,
        partitions: sorted.into_iter(),
        part_bytes,
        parts: 0,
        digest: Some(new_digest()),
    }
}

/// All of [`frames`] at once.
pub(crate) fn encode(state: &CommittedState, part_bytes: usize) -> Vec<FrameBody> {
    frames(state, part_bytes).collect()
}

fn body(kind: FrameKind, head: Bytes) -> FrameBody {
    FrameBody {
        kind,
        head,
        parts: Vec::new(),
    }
}

fn count_u32(n: usize) -> u32 {
    u32::try_from(n).expect("bounded by the shard's state")
}

/// A checkpoint's frames, one after the other.
pub(crate) struct Frames<'a> {
    appended_ms: i64,
    all: u64,
    partitions: std::vec::IntoIter<(PartitionId, &'a PartitionState)>,
    part_bytes: usize,
    parts: u32,
    /// Gone once the end was given.
    digest: Option<crc_fast::Digest>,
}

fn new_digest() -> crc_fast::Digest {
    crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme)
}

impl Iterator for Frames<'_> {
    type Item = FrameBody;

    fn next(&mut self) -> Option<FrameBody> {
        if self.partitions.len() == 0 {
            return self.end();
        }
        let mut head = BytesMut::with_capacity(PART_HEADER_BYTES);
        head.put_u8(VERSION);
        head.put_u32(self.parts);
        head.put_u32(0);
        let mut count = 0u32;
        while head.len() < PART_HEADER_BYTES + self.part_bytes || count == 0 {
            let Some((id, partition)) = self.partitions.next() else {
                break;
            };
            encode_partition(&mut head, id, partition);
            count += 1;
        }
        head[PART_COUNT].copy_from_slice(&count.to_be_bytes());
        self.parts += 1;
        if let Some(digest) = &mut self.digest {
            digest.update(&head);
        }
        Some(body(FrameKind::Checkpoint, head.freeze()))
    }
}

impl Frames<'_> {
    fn end(&mut self) -> Option<FrameBody> {
        let digest = self.digest.take()?;
        let mut end = BytesMut::with_capacity(29);
        end.put_u8(VERSION);
        end.put_u32(self.parts);
        end.put_i64(self.appended_ms);
        end.put_u64(self.all);
        end.put_u64(digest.finalize());
        Some(body(FrameKind::CheckpointEnd, end.freeze()))
    }
}

fn put_time(out: &mut BytesMut, time: Option<i64>) {
    out.put_u8(u8::from(time.is_some()));
    if let Some(time) = time {
        out.put_i64(time);
    }
}

fn encode_partition(out: &mut BytesMut, id: PartitionId, p: &PartitionState) {
    put_partition(out, id);
    out.put_i64(p.log_start.0);
    out.put_i64(p.next_offset.0);
    out.put_u8(u8::try_from(p.epochs.len()).expect("bounded by EPOCHS_PER_PARTITION_MAX"));
    for (epoch, start) in &p.epochs {
        out.put_i32(epoch.0);
        out.put_i64(start.0);
    }
    put_time(out, p.max_timestamp.map(|(ms, _)| ms));
    if let Some((_, base)) = p.max_timestamp {
        out.put_i64(base.0);
    }
    out.put_u32(count_u32(p.producers.len()));
    for (id, producer) in p.producers.iter() {
        out.put_i64(id.0);
        out.put_i16(producer.epoch.0);
        out.put_i64(producer.last_ms);
        out.put_u8(u8::try_from(producer.batches().len()).expect("at most five"));
        for batch in producer.batches() {
            out.put_i32(batch.first_sequence);
            out.put_i32(batch.last_sequence);
            out.put_i64(batch.base_offset.0);
            put_time(out, batch.log_append_time_ms);
        }
    }
    let keys = p.keys.as_deref();
    out.put_u32(count_u32(keys.map_or(0, |k| k.iter().len())));
    for (key, keyed) in keys.iter().flat_map(|k| k.iter()) {
        out.put_u8(u8::try_from(key.len()).expect("bounded by IdempotencyKey::BYTES_MAX"));
        out.put_slice(key);
        out.put_u64(keyed.fingerprint);
        out.put_i64(keyed.base_offset.0);
        put_time(out, keyed.log_append_time_ms);
        out.put_i64(keyed.appended_ms);
    }
}

/// Puts a checkpoint together from its frames, in order.
pub(crate) struct Assembler {
    state: CommittedState,
    parts: u32,
    digest: crc_fast::Digest,
}

impl Assembler {
    pub(crate) fn new() -> Self {
        Self {
            state: CommittedState::default(),
            parts: 0,
            digest: new_digest(),
        }
    }

    /// Adds a part.
    pub(crate) fn part(&mut self, head: &[u8]) -> Result<(), DecodeError> {
        self.digest.update(head);
        let mut r = Reader::new(head);
        check_version(&mut r)?;
        let number = r.u32("checkpoint part")?;
        if number != self.parts {
            let why = format!("{number} follows {} parts", self.parts);
            return Err(DecodeError::invalid("checkpoint part", why));
        }
        self.parts += 1;
        let count = bounded(&mut r, PARTITION_BYTES_MIN, "checkpoint partitions")?;
        for _ in 0..count {
            let id = read_partition(&mut r)?;
            let partition = decode_partition(&mut r)?;
            self.state.partitions.insert(id, partition);
        }
        r.finish("checkpoint part")
    }

    /// Checks that it is whole and gives the state.
    /// What the parts so far hold, taken for the whole: only when J12 is broken on purpose.
    pub(crate) fn unfinished(self) -> CommittedState {
        self.state
    }

    pub(crate) fn end(mut self, head: &[u8]) -> Result<CommittedState, DecodeError> {
        let mut r = Reader::new(head);
        check_version(&mut r)?;
        let parts = r.u32("checkpoint parts")?;
        self.state.appended_ms = r.i64("checkpoint time")?;
        let partitions = r.u64("checkpoint partitions")?;
        let digest = r.u64("checkpoint digest")?;
        r.finish("checkpoint end")?;
        let have = self.state.partitions.len() as u64;
        if parts != self.parts || partitions != have || digest != self.digest.finalize() {
            let why = format!(
                "{} of {parts} parts, {have} of {partitions} partitions, or another digest",
                self.parts
            );
            return Err(DecodeError::invalid("checkpoint", why));
        }
        Ok(self.state)
    }
}

fn check_version(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    match r.u8("checkpoint version")? {
        VERSION => Ok(()),
        other => Err(DecodeError::invalid(
            "checkpoint version",
            format!("{other} is unknown, this build reads 1"),
        )),
    }
}

fn bounded(
    r: &mut Reader<'_>,
    bytes_each: usize,
    what: &'static str,
) -> Result<usize, DecodeError> {
    let count = r.u32(what)? as usize;
    if count > r.remaining() / bytes_each {
        return Err(DecodeError::invalid(what, format!("{count} do not fit")));
    }
    Ok(count)
}

fn read_time(r: &mut Reader<'_>) -> Result<Option<i64>, DecodeError> {
    match r.u8("time flag")? {
        0 => Ok(None),
        1 => r.i64("time").map(Some),
        other => Err(DecodeError::invalid(
            "time flag",
            format!("{other} is neither 0 nor 1"),
        )),
    }
}

fn decode_partition(r: &mut Reader<'_>) -> Result<PartitionState, DecodeError> {
    let log_start = Offset(r.i64("log start")?);
    let next_offset = Offset(r.i64("next offset")?);
    let epoch_count = usize::from(r.u8("leader epochs")?);
    if epoch_count > EPOCHS_PER_PARTITION_MAX {
        return Err(DecodeError::invalid(
            "leader epochs",
            format!("{epoch_count} are too many"),
        ));
    }
    let mut epochs = Vec::with_capacity(epoch_count);
    for _ in 0..epoch_count {
        let epoch = LeaderEpoch(r.i32("leader epoch")?);
        epochs.push((epoch, Offset(r.i64("epoch start")?)));
    }
    let max_timestamp = match read_time(r)? {
        None => None,
        Some(ms) => Some((ms, Offset(r.i64("max timestamp offset")?))),
    };
    Ok(PartitionState {
        log_start,
        next_offset,
        epochs,
        max_timestamp,
        producers: decode_producers(r)?,
        keys: decode_keys(r)?,
    })
}

fn decode_producers(r: &mut Reader<'_>) -> Result<Producers, DecodeError> {
    let count = bounded(r, 19, "producers")?;
    let mut producers = Producers::default();
    for _ in 0..count {
        let id = ProducerId(r.i64("producer id")?);
        let epoch = ProducerEpoch(r.i16("producer epoch")?);
        let last_ms = r.i64("producer last seen")?;
        let batch_count = usize::from(r.u8("producer batches")?);
        if batch_count > limits::PRODUCER_BATCHES_REMEMBERED {
            return Err(DecodeError::invalid(
                "producer batches",
                format!("{batch_count} are too many"),
            ));
        }
        let mut batches = [Remembered::default(); limits::PRODUCER_BATCHES_REMEMBERED];
        for batch in &mut batches[..batch_count] {
            *batch = Remembered {
                first_sequence: r.i32("first sequence")?,
                last_sequence: r.i32("last sequence")?,
                base_offset: Offset(r.i64("batch offset")?),
                log_append_time_ms: read_time(r)?,
            };
        }
        let batches = batches.into_iter().take(batch_count);
        producers.restore(id, Producer::restored(epoch, last_ms, batches));
    }
    Ok(producers)
}

fn decode_keys(r: &mut Reader<'_>) -> Result<Option<Box<Keys>>, DecodeError> {
    let count = bounded(r, 26, "idempotency keys")?;
    if count == 0 {
        return Ok(None);
    }
    let mut keys = Keys::default();
    for _ in 0..count {
        let len = usize::from(r.u8("key length")?);
        let key = r.take_bytes(len, "key")?;
        let keyed = Keyed {
            fingerprint: r.u64("key fingerprint")?,
            base_offset: Offset(r.i64("key offset")?),
            log_append_time_ms: read_time(r)?,
            appended_ms: r.i64("key time")?,
        };
        keys.insert(key, keyed);
    }
    Ok(Some(Box::new(keys)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemark_types::{PartitionIndex, TopicId};

    use super::*;
    use crate::head::tests::partitions;

    fn decode(frames: &[FrameBody]) -> Result<CommittedState, DecodeError> {
        let mut assembler = Assembler::new();
        let (end, parts) = frames.split_last().expect("a checkpoint has an end");
        for part in parts {
            assembler.part(&part.head)?;
        }
        assembler.end(&end.head)
    }

    fn times() -> impl Strategy<Value = Option<i64>> {
        proptest::option::of(any::<i64>())
    }

    prop_compose! {
        fn producers()(
            id: i64, epoch: i16, last_ms: i64,
            batches in proptest::collection::vec((any::<i32>(), any::<i32>(), any::<i64>(), times()), 0..6),
        ) -> (ProducerId, Producer) {
            let batches = batches.into_iter().map(|(first, last, base, time)| Remembered {
                first_sequence: first,
                last_sequence: last,
                base_offset: Offset(base),
                log_append_time_ms: time,
            });
            (ProducerId(id), Producer::restored(ProducerEpoch(epoch), last_ms, batches))
        }
    }

    prop_compose! {
        fn states()(
            log_start: i64, next_offset: i64,
            epochs in proptest::collection::vec((any::<i32>(), any::<i64>()), 0..EPOCHS_PER_PARTITION_MAX),
            max_timestamp in proptest::option::of((any::<i64>(), any::<i64>())),
            known in proptest::collection::vec(producers(), 0..4),
            keyed in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 1..128), any::<u64>(), any::<i64>(), times(), any::<i64>()), 0..4),
        ) -> PartitionState {
            let mut producers = Producers::default();
            for (id, producer) in known {
                producers.restore(id, producer);
            }
            let mut keys = Keys::default();
            for (key, fingerprint, base, time, appended_ms) in keyed {
                keys.insert(key.into(), Keyed {
                    fingerprint,
                    base_offset: Offset(base),
                    log_append_time_ms: time,
                    appended_ms,
                });
            }
            PartitionState {
                log_start: Offset(log_start),
                next_offset: Offset(next_offset),
                epochs: epochs.into_iter().map(|(e, o)| (LeaderEpoch(e), Offset(o))).collect(),
                max_timestamp: max_timestamp.map(|(ms, base)| (ms, Offset(base))),
                producers,
                keys: if keys.oldest_ms().is_some() { Some(Box::new(keys)) } else { None },
            }
        }
    }

    proptest! {
        #[test]
        fn states_round_trip_and_a_changed_frame_is_noticed(
            appended_ms: i64,
            all in proptest::collection::vec((partitions(), states()), 0..6),
            at: prop::sample::Index,
        ) {
            let state = CommittedState { appended_ms, partitions: all.into_iter().collect() };
            let frames = encode(&state, limits::FRAME_PAYLOAD_BYTES_TARGET);
            prop_assert_eq!(&decode(&frames).unwrap(), &state);
            let which = at.index(frames.len());
            let mut bad = frames.clone();
            let mut head = frames[which].head.to_vec();
            let byte = at.index(head.len());
            head[byte] ^= 0x20;
            bad[which].head = head.into();
            // The time in the end is outside the digest: the frame's own CRC covers it.
            let time = which + 1 == frames.len() && (5..13).contains(&byte);
            prop_assert!(time || decode(&bad).is_err());
        }
    }

    fn state_of(partitions: u64) -> CommittedState {
        let mut state = CommittedState {
            appended_ms: 1_700_000_000_000,
            ..CommittedState::default()
        };
        for topic in 0..partitions {
            let id = PartitionId {
                topic: TopicId(topic),
                index: PartitionIndex(1),
            };
            let mut partition = PartitionState {
                log_start: Offset(3),
                next_offset: Offset(700),
                epochs: vec![(LeaderEpoch(4), Offset(0)), (LeaderEpoch(6), Offset(90))],
                max_timestamp: Some((1_699_999_999_000, Offset(650))),
                ..PartitionState::default()
            };
            let batch = Remembered {
                first_sequence: 10,
                last_sequence: 19,
                base_offset: Offset(650),
                log_append_time_ms: Some(5),
            };
            let producer = Producer::restored(ProducerEpoch(1), 1_699_999_999_500, [batch]);
            partition.producers.restore(ProducerId(12), producer);
            let mut keys = Keys::default();
            let keyed = Keyed {
                fingerprint: 8,
                base_offset: Offset(3),
                log_append_time_ms: None,
                appended_ms: 1_699_999_999_600,
            };
            keys.insert(Bytes::from_static(b"retry-me"), keyed);
            partition.keys = Some(Box::new(keys));
            state.partitions.insert(id, partition);
        }
        state
    }

    #[test]
    fn stored_bytes_do_not_change() {
        let joined = |state: &CommittedState| -> Vec<u8> {
            let frames = encode(state, limits::FRAME_PAYLOAD_BYTES_TARGET);
            assert_eq!(frames.len(), 2);
            frames.iter().flat_map(|f| f.head.to_vec()).collect()
        };
        tidemark_golden::newest("checkpoint/checkpoint-v1", &state_of(2), joined, |bytes| {
            let (part, end) = bytes.split_at(bytes.len() - 29);
            let mut assembler = Assembler::new();
            assembler.part(part)?;
            assembler.end(end)
        });
    }

    #[test]
    fn a_large_state_spans_frames_and_needs_all_of_them_in_order() {
        let state = state_of(20_000);
        let frames = encode(&state, limits::FRAME_PAYLOAD_BYTES_TARGET);
        assert!(frames.len() > 3, "{} frames", frames.len());
        assert_eq!(decode(&frames).unwrap(), state);
        let mut missing = frames.clone();
        missing.remove(1);
        assert!(decode(&missing).is_err());
        let mut swapped = frames;
        swapped.swap(0, 1);
        assert!(decode(&swapped).is_err());
    }
}
