//! A producer's batches on their way: gathered, ready, in flight, to be sent again.

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_records::{BatchBuilder, Compression};
use tidemark_types::{ProducerEpoch, ProducerId};
use tokio::time::Instant;

use crate::LoadError;
use crate::layout::{Layout, Slot};
use crate::scenario::Codec;

/// A batch that still takes records.
#[derive(Debug)]
pub struct Gathering {
    builder: BatchBuilder,
    batch: Batch,
}

/// A batch that is, or will be, on the wire.
#[derive(Debug)]
pub struct Batch {
    /// Its partition.
    pub slot: Slot,
    /// Its bytes; the same at every attempt.
    pub bytes: Bytes,
    /// Number of its first record.
    pub first: u64,
    /// Its records' intended send times, with how many have each.
    pub intended: Vec<(Instant, u64)>,
    /// Bytes of its values.
    pub value_bytes: u64,
    /// When its first record was to be sent.
    pub since: Instant,
}

impl Batch {
    /// Its records.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.intended.iter().map(|(_, n)| n).sum()
    }
}

/// An idempotent producer's identity.
pub type Identity = Option<(i64, i16)>;

impl Gathering {
    /// An empty batch whose first record gets the sequence number `sequence`.
    #[must_use]
    pub fn new(
        slot: Slot,
        codec: Codec,
        identity: Identity,
        sequence: i32,
        first: u64,
        since: Instant,
    ) -> Self {
        let builder = BatchBuilder::new(compression(codec));
        let builder = match identity {
            Some((id, epoch)) => builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence),
            None => builder,
        };
        Self {
            builder,
            batch: Batch {
                slot,
                bytes: Bytes::new(),
                first,
                intended: Vec::new(),
                value_bytes: 0,
                since,
            },
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it does not fit a batch at all.
    pub fn push(
        &mut self,
        wall_ms: i64,
        intended: Instant,
        (key, value): (Option<&[u8]>, &[u8]),
    ) -> Result<(), LoadError> {
        self.builder
            .push(wall_ms, key, Some(value), &[])
            .map_err(|e| LoadError::broken("gather a batch", e))?;
        self.batch.value_bytes += value.len() as u64;
        match self.batch.intended.last_mut() {
            Some((at, count)) if *at == intended => *count += 1,
            _ => self.batch.intended.push((intended, 1)),
        }
        Ok(())
    }

    /// Bytes before compression.
    #[must_use]
    pub fn size(&self) -> usize {
        self.builder.size()
    }

    /// When its first record was to be sent.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.batch.since
    }

    /// Closes it.
    ///
    /// # Errors
    /// When it does not compress.
    pub fn close(self) -> Result<Batch, LoadError> {
        let built = self.builder.build();
        let built = built.map_err(|e| LoadError::broken("build a batch", e))?;
        Ok(Batch {
            bytes: built.into_bytes(),
            ..self.batch
        })
    }
}

const fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip,
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd,
    }
}

/// First version of Produce with compact lengths.
pub const PRODUCE_VERSION: i16 = 9;
/// How long the server may take to make a batch durable, ms.
const TIMEOUT_MS: i32 = 30_000;

/// The body of a Produce request behind `head`: pieces that follow it, the batches' bytes among them, uncopied.
#[must_use]
pub fn encode(head: &mut BytesMut, batches: &[Batch], layout: &Layout) -> Vec<Bytes> {
    let mut rest = Vec::with_capacity(2 * batches.len());
    head.put_u8(0);
    head.put_i16(-1);
    head.put_i32(TIMEOUT_MS);
    let topic_of = |b: &Batch| layout.place(b.slot).0;
    let runs: Vec<&[Batch]> = batches
        .chunk_by(|a, b| topic_of(a) == topic_of(b))
        .collect();
    let mut fields = BytesMut::new();
    put_length(&mut fields, runs.len());
    for run in runs {
        let name = &layout.topics()[topic_of(&run[0])];
        put_length(&mut fields, name.len());
        fields.put_slice(name.as_bytes());
        put_length(&mut fields, run.len());
        for batch in run {
            fields.put_i32(layout.place(batch.slot).1);
            put_length(&mut fields, batch.bytes.len());
            rest.push(fields.split().freeze());
            rest.push(batch.bytes.clone());
            fields.put_u8(0);
        }
        fields.put_u8(0);
    }
    fields.put_u8(0);
    rest.push(fields.freeze());
    rest
}

/// A compact length: one more than the length, seven bits a byte.
fn put_length(out: &mut BytesMut, length: usize) {
    let mut left = length + 1;
    loop {
        let low = u8::try_from(left & 0x7f).unwrap_or(0x7f);
        left >>= 7;
        if left == 0 {
            out.put_u8(low);
            return;
        }
        out.put_u8(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_wire::produce::ProduceRequest;

    #[tokio::test(start_paused = true)]
    async fn a_request_reads_as_the_server_reads_it() {
        let now = tidemark_runtime::Clock::system().now();
        let layout = Layout::new("t", 2, 3);
        let batch = |slot: Slot, bytes: usize| {
            let mut gathering = Gathering::new(slot, Codec::None, Some((7, 0)), 0, 0, now);
            gathering.push(1, now, (None, &vec![1; bytes])).unwrap();
            gathering.close().unwrap()
        };
        let batches = [batch(1, 30), batch(2, 300), batch(4, 40_000)];
        let mut head = BytesMut::new();
        let rest = encode(&mut head, &batches, &layout);
        rest.iter().for_each(|piece| head.extend_from_slice(piece));
        let read = ProduceRequest::decode(head.freeze(), PRODUCE_VERSION).unwrap();
        assert_eq!((read.acks, read.topics.len()), (-1, 2));
        let seen: Vec<_> = read
            .topics
            .iter()
            .flat_map(|t| {
                t.partitions.iter().map(|p| {
                    (
                        t.name.as_str().to_owned(),
                        p.index,
                        p.records.clone().unwrap(),
                    )
                })
            })
            .collect();
        for (seen, sent) in seen.iter().zip(&batches) {
            let (topic, index) = layout.place(sent.slot);
            assert_eq!(
                (&seen.0, seen.1, &seen.2),
                (&layout.topics()[topic], index, &sent.bytes)
            );
        }
        assert_eq!(seen.len(), 3);
    }
}
