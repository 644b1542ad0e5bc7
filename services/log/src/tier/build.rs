//! From sealed extents to an object: the committed frames from `tiered_lsn` on, up to a size.

use std::sync::Arc;

use tidemark_journal::{Frame, FrameKind, ReadError as JournalReadError, Reader};
use tidemark_records::PREFIX_BYTES;
use tidemark_segment::{BatchSpan, Builder, OutOfOrder};
use tidemark_types::{DecodeError, Lsn, ObjectId, PartitionId};

use crate::head::Head;
use crate::index::ReadableExtent;
use crate::owner::prefixes;

/// Bytes of one read from the journal at the most. Each begins at a mark up to 4 MiB before what it is for, and passes what
/// other shards wrote between: long ones do so rarely.
const READ_BYTES_MAX: u64 = 8 << 20;

/// Why an object could not be gathered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The journal could not be read.
    #[error("gather a cold segment: {0}")]
    Read(#[from] JournalReadError),
    /// A frame does not decode.
    #[error("gather a cold segment: {0}")]
    Decode(#[from] DecodeError),
    /// The journal's batches are not in order: a bug, and never to be made permanent.
    #[error("{0}")]
    Order(#[from] OutOfOrder),
}

/// An object's batches, and where its frames end.
pub(crate) struct Gathered {
    pub(crate) builder: Builder,
    /// Exclusive.
    pub(crate) end: Lsn,
}

/// Gathers the batches of `keep` from `from` on until they take `bytes`, by reads of `read_bytes_min` or more, or the last but
/// one extent ends: the last is open. `None` when there is nothing to move.
pub(crate) async fn gather(
    reader: &Reader,
    extents: &[Arc<ReadableExtent>],
    object: ObjectId,
    from: Lsn,
    (bytes, read_bytes_min): (u64, u64),
    keep: impl Fn(PartitionId) -> bool,
) -> Result<Option<Gathered>, BuildError> {
    let mut builder = Builder::new(object, from);
    let mut end = from;
    for pair in extents.windows(2) {
        let (extent, next) = (&pair[0], &pair[1]);
        // What an extent holds above its readable end was given up by an operator: it is passed over.
        let sealed = next.extent.first;
        let mut lsn = extent.extent.first.max(from);
        while lsn < extent.end() {
            let missing = bytes.saturating_sub(builder.bytes());
            if missing == 0 {
                return Ok(Some(Gathered { builder, end }));
            }
            let some = missing.max(read_bytes_min).min(READ_BYTES_MAX);
            let some = usize::try_from(some).expect("at most READ_BYTES_MAX");
            let frames = reader.read(&extent.extent, lsn, extent.end(), some);
            for frame in frames.await? {
                lsn = frame.lsn.next();
                push(&mut builder, &frame, &keep)?;
            }
            end = lsn;
        }
        end = end.max(sealed);
    }
    Ok((end > from).then_some(Gathered { builder, end }))
}

fn push(
    builder: &mut Builder,
    frame: &Frame,
    keep: &impl Fn(PartitionId) -> bool,
) -> Result<(), BuildError> {
    if frame.body.kind != FrameKind::Data {
        return Ok(());
    }
    let head = Head::decode(&frame.body.head)?;
    let parts = &frame.body.parts;
    let prefixes = prefixes(&head, parts);
    for (i, (batch, part)) in head.batches().zip(parts).enumerate() {
        if !keep(batch.partition) {
            continue;
        }
        let span = BatchSpan {
            base: batch.base_offset,
            end: batch.end(),
            max_timestamp: batch.max_timestamp,
        };
        let prefix = prefixes.slice(i * PREFIX_BYTES..(i + 1) * PREFIX_BYTES);
        let rest = part.bytes.slice(PREFIX_BYTES.min(part.bytes.len())..);
        builder.push(batch.partition, span, prefix, rest)?;
    }
    Ok(())
}
