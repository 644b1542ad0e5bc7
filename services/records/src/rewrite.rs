//! Taking records out of a batch, as compaction does. What stays keeps its offset, timestamp and producer.

use crate::encode::{Plain, Relative};
use crate::header::BatchHeader;
use crate::{Batch, BatchError, Record, records};

/// What became of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rewritten {
    /// Every record stays, and the header with them: the batch's own bytes do.
    Unchanged,
    /// No record stays.
    Empty,
    /// What stays. It spans the same offsets, so readers step over the gaps (KIP-98).
    Batch(Batch),
}

impl Batch {
    /// Keeps the records that `keep` picks. A batch that keeps a tombstone and has no delete horizon gets
    /// `delete_horizon`, ms since the Unix epoch, from which on the tombstone may go (KIP-534). `budget` bounds, in
    /// bytes, the decompressed records and their structures.
    ///
    /// # Errors
    /// When the batch does not decode within the budget, or what stays does not fit a batch.
    pub fn rewrite(
        &self,
        budget: usize,
        delete_horizon: i64,
        mut keep: impl FnMut(&Record) -> bool,
    ) -> Result<Rewritten, BatchError> {
        let mut kept = records(self, budget)?;
        let before = kept.len();
        kept.retain(|record| keep(record));
        if kept.is_empty() {
            return Ok(Rewritten::Empty);
        }
        let mut header = *self.header();
        let has_tombstone = kept.iter().any(|record| record.value.is_none());
        let is_dated = has_tombstone && !header.attributes.has_delete_horizon();
        if kept.len() == before && !is_dated {
            return Ok(Rewritten::Unchanged);
        }
        if is_dated {
            header.attributes = header.attributes.with_delete_horizon();
            header.base_timestamp = delete_horizon;
        }
        encode(header, &kept).map(Rewritten::Batch)
    }
}

fn encode(mut header: BatchHeader, kept: &[Record]) -> Result<Batch, BatchError> {
    let mut plain = Plain::new();
    for record in kept {
        let delta = record.offset.0 - header.base_offset.0;
        plain.push(&Relative {
            time_delta: record.timestamp.wrapping_sub(header.base_timestamp),
            offset_delta: i32::try_from(delta).expect("records lie in the batch's span"),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        })?;
    }
    header.record_count = i32::try_from(kept.len()).expect("a subset of the batch's records");
    // Under LogAppendTime every record's timestamp is this field already.
    let newest = kept.iter().map(|record| record.timestamp).max();
    header.max_timestamp = newest.unwrap_or(header.max_timestamp);
    plain.into_batch(header)
}
