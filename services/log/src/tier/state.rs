//! The bytes of a state object: a shard's committed state at an LSN, as its checkpoint's frames (`api/formats/state-object.md`).
//!
//! The header says of which shard and LSN it is, each frame has its checksum, and the checkpoint's own end counts its
//! parts and sums them: a state object is read whole or not at all.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidemark_blob::{BlobError, BlobErrorKind, BlobKey, BlobStore};
use tidemark_journal::{FrameBody, FrameKind};
use tidemark_meta::keys::state::StateRow;
use tidemark_types::{DecodeError, Epoch, Lsn, ObjectId, Reader, ShardId, limits};

use super::objects::{ObjectError, Objects};
use crate::checkpoint::Assembler;
use crate::state::CommittedState;

const MAGIC: u64 = u64::from_be_bytes(*b"tidemkS0");
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 40;
const FRAME_HEADER_BYTES: usize = 12;
const PART: u8 = 1;
const END: u8 = 2;
/// Bytes of one read.
const READ_BYTES: u64 = 4 << 20;
/// Reads of the whole object before it is called damaged: bytes that fail a checksum are worth another GET.
const TRIES: usize = 3;

/// Which object it is, and of which moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) object: ObjectId,
    pub(crate) lsn: Lsn,
}

impl From<&StateRow> for Header {
    fn from(row: &StateRow) -> Self {
        Self {
            object: row.object,
            lsn: row.lsn,
        }
    }
}

impl Header {
    fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_BYTES);
        out.put_u64(MAGIC);
        out.put_u32(u32::from(VERSION) << 24);
        out.put_u32(self.object.shard.0);
        out.put_u64(self.object.epoch.0);
        out.put_u32(self.object.number);
        out.put_u64(self.lsn.0);
        out.put_u32(crc32c(&[&out]));
        out.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u64("state magic")? != MAGIC {
            return Err(DecodeError::invalid("state magic", "not a state object"));
        }
        let version = r.u32("state version")?;
        if version != u32::from(VERSION) << 24 {
            let why = format!("{} is unknown, this build reads 1", version >> 24);
            return Err(DecodeError::invalid("state version", why));
        }
        let object = ObjectId {
            shard: ShardId(r.u32("state shard")?),
            epoch: Epoch(r.u64("state epoch")?),
            number: r.u32("state number")?,
        };
        let lsn = Lsn(r.u64("state lsn")?);
        let covered = &bytes[..r.position()];
        if r.u32("state header crc")? != crc32c(&[covered]) {
            return Err(DecodeError::invalid("state header", "fails its crc"));
        }
        Ok(Self { object, lsn })
    }
}

/// The object's bytes, sharing the memory of a checkpoint's frames.
pub(crate) fn encode(header: Header, checkpoint: &[FrameBody]) -> Vec<Bytes> {
    let mut chunks = vec![header.encode()];
    for frame in checkpoint {
        let kind = if frame.kind == FrameKind::CheckpointEnd {
            END
        } else {
            PART
        };
        let mut head = BytesMut::with_capacity(FRAME_HEADER_BYTES);
        head.put_u32(u32::from(kind) << 24);
        head.put_u32(u32::try_from(frame.head.len()).expect("a frame that was in the journal"));
        head.put_u32(crc32c(&[&head, &frame.head]));
        chunks.push(head.freeze());
        chunks.push(frame.head.clone());
    }
    chunks
}

/// Puts a state together from an object's bytes as they come: at most one frame of them is kept.
struct Decoder {
    expected: Header,
    begun: bool,
    assembler: Option<Assembler>,
    state: Option<CommittedState>,
    held: BytesMut,
}

impl Decoder {
    fn new(expected: Header) -> Self {
        Self {
            expected,
            begun: false,
            assembler: Some(Assembler::new()),
            state: None,
            held: BytesMut::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.held.extend_from_slice(bytes);
        if !self.begun {
            if self.held.len() < HEADER_BYTES {
                return Ok(());
            }
            if Header::decode(&self.held.split_to(HEADER_BYTES))? != self.expected {
                let why = "the object is another one than its row says";
                return Err(DecodeError::invalid("state header", why));
            }
            self.begun = true;
        }
        while let Some((kind, body)) = self.next_frame()? {
            let Some(mut assembler) = self.assembler.take() else {
                return Err(DecodeError::invalid(
                    "state object",
                    "goes on after its end",
                ));
            };
            if kind == END {
                self.state = Some(assembler.end(&body)?);
            } else {
                assembler.part(&body)?;
                self.assembler = Some(assembler);
            }
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Option<(u8, BytesMut)>, DecodeError> {
        if self.held.len() < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let mut r = Reader::new(&self.held);
        let kind = r.u32("state frame kind")?;
        let len = r.u32("state frame length")? as usize;
        let crc = r.u32("state frame crc")?;
        let kind = match [PART, END]
            .into_iter()
            .find(|k| u32::from(*k) << 24 == kind)
        {
            Some(kind) if len <= limits::FRAME_BYTES_MAX => kind,
            _ => {
                let why = format!("kind {kind:#x} with {len} bytes");
                return Err(DecodeError::invalid("state frame", why));
            }
        };
        if self.held.len() < FRAME_HEADER_BYTES + len {
            return Ok(None);
        }
        let mut frame = self.held.split_to(FRAME_HEADER_BYTES + len);
        if crc32c(&[&frame[..8], &frame[FRAME_HEADER_BYTES..]]) != crc {
            return Err(DecodeError::invalid("state frame", "fails its crc"));
        }
        frame.advance(FRAME_HEADER_BYTES);
        Ok(Some((kind, frame)))
    }

    fn finish(self) -> Result<CommittedState, DecodeError> {
        match self.state {
            Some(state) if self.held.is_empty() => Ok(state),
            _ => Err(DecodeError::invalid(
                "state object",
                "is cut off or too long",
            )),
        }
    }
}

/// Reads a state object, a few MiB at a time.
pub(crate) async fn read(objects: &Objects, row: &StateRow) -> Result<CommittedState, ObjectError> {
    let mut tries = 1;
    loop {
        let mut decoder = Decoder::new(row.into());
        let mut at = 0;
        let decoded = loop {
            if at >= row.bytes {
                break decoder.finish();
            }
            let range = at..row.bytes.min(at + READ_BYTES);
            at = range.end;
            let bytes = objects.raw(row.object, range).await?;
            if let Err(why) = decoder.feed(&bytes) {
                break Err(why);
            }
        };
        match decoded {
            Ok(state) => return Ok(state),
            Err(_) if tries < TRIES => tries += 1,
            Err(why) => {
                let object = row.object;
                return Err(ObjectError::Damaged { object, why });
            }
        }
    }
}

/// Reads a state object for a check: what is wrong with it, if anything.
///
/// # Errors
/// When the object store does not answer.
pub(crate) async fn verify(
    blob: &dyn BlobStore,
    key: &BlobKey,
    row: &StateRow,
) -> Result<Option<String>, BlobError> {
    let mut decoder = Decoder::new(row.into());
    let mut at = 0;
    while at < row.bytes {
        let range = at..row.bytes.min(at + READ_BYTES);
        at = range.end;
        let bytes = match blob.get(key, range).await {
            Ok(bytes) => bytes,
            Err(error) => {
                return match error.kind() {
                    BlobErrorKind::NotFound => Ok(Some("it is not there".to_owned())),
                    // A range beyond the object's end: it is shorter than its row says.
                    BlobErrorKind::Invalid => Ok(Some(error.to_string())),
                    _ => Err(error),
                };
            }
        };
        if let Err(why) = decoder.feed(&bytes) {
            return Ok(Some(why.to_string()));
        }
    }
    Ok(decoder.finish().err().map(|why| why.to_string()))
}

/// Checks the bytes of a state object against its row.
///
/// # Errors
/// When they are not the whole state that the row names.
pub fn check_state_object(row: &StateRow, bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() as u64 != row.bytes {
        let why = format!("{} bytes, its row says {}", bytes.len(), row.bytes);
        return Err(DecodeError::invalid("state object", why));
    }
    let mut decoder = Decoder::new(row.into());
    decoder.feed(bytes)?;
    decoder.finish().map(drop)
}

fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    pieces.iter().for_each(|piece| digest.update(piece));
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidemark_types::{Offset, PartitionId, PartitionIndex, TopicId};

    use super::*;
    use crate::checkpoint;
    use crate::state::PartitionState;

    const HEADER: Header = Header {
        object: ObjectId {
            shard: ShardId(2),
            epoch: Epoch(300),
            number: 19,
        },
        lsn: Lsn(4_000),
    };

    fn state_of(partitions: u64) -> CommittedState {
        let one = |topic| {
            let id = PartitionId {
                topic: TopicId(topic),
                index: PartitionIndex(1),
            };
            let state = PartitionState {
                next_offset: Offset(700),
                ..PartitionState::default()
            };
            (id, state)
        };
        CommittedState {
            appended_ms: 1_700_000_000_000,
            partitions: (0..partitions).map(one).collect(),
        }
    }

    fn bytes_of(state: &CommittedState) -> Vec<u8> {
        encode(HEADER, &checkpoint::encode(state, 100)).concat()
    }

    fn decode(bytes: &[u8], step: usize) -> Result<CommittedState, DecodeError> {
        let mut decoder = Decoder::new(HEADER);
        for piece in bytes.chunks(step) {
            decoder.feed(piece)?;
        }
        decoder.finish()
    }

    proptest! {
        #[test]
        fn states_round_trip_however_they_are_cut_and_no_change_goes_unnoticed(
            partitions in 0..20u64, step in 1..300usize, at: prop::sample::Index, bit in 0..8u8,
        ) {
            let state = state_of(partitions);
            let bytes = bytes_of(&state);
            prop_assert_eq!(decode(&bytes, step).unwrap(), state);
            let at = at.index(bytes.len());
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            prop_assert!(decode(&bad, step).is_err());
            prop_assert!(decode(&bytes[..at], step).is_err());
            prop_assert!(decode(&[&bytes[..], &bytes[..at + 1]].concat(), step).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, 7);
            let _ = decode(&[&HEADER.encode()[..], &bytes].concat(), 64);
        }
    }

    #[test]
    fn a_state_of_another_shard_or_moment_is_refused() {
        let bytes = bytes_of(&state_of(2));
        let row = |lsn, number| StateRow {
            object: ObjectId {
                number,
                ..HEADER.object
            },
            lsn: Lsn(lsn),
            bytes: bytes.len() as u64,
        };
        check_state_object(&row(4_000, 19), &bytes).unwrap();
        assert!(check_state_object(&row(4_001, 19), &bytes).is_err());
        assert!(check_state_object(&row(4_000, 20), &bytes).is_err());
    }

    #[test]
    fn stored_bytes_do_not_change() {
        let name = "checkpoint/state-object-v1";
        tidemark_golden::newest(name, &state_of(3), bytes_of, |bytes| decode(bytes, 64));
    }
}
