//! The second pass: what stays of a batch.

use tidemark_records::{Batch, BatchError, Record, Rewritten};
use tidemark_types::Offset;

use crate::OffsetMap;

/// What becomes of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cleaned {
    /// It stays as it is: take its bytes.
    Unchanged,
    /// This stays of it, or it was given a delete horizon.
    Rewritten(Batch),
    /// Nothing stays.
    Removed,
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Records that stay.
    pub kept: u64,
    /// Records superseded by a later one of their key.
    pub superseded: u64,
    /// Tombstones whose delete horizon had passed.
    pub tombstones: u64,
    /// Records without a key.
    pub keyless: u64,
    /// Batches left as they are because they do not decode.
    pub unreadable: u64,
}

/// Goes through a partition's batches in any order.
#[derive(Debug)]
pub struct Cleaner {
    map: OffsetMap,
    end: Offset,
    now: i64,
    delete_retention_ms: i64,
    budget: usize,
    counts: Counts,
}

impl Cleaner {
    /// A run at `now`, ms since the Unix epoch, over what was surveyed up to `end`; tombstones stay for
    /// `delete.retention.ms` after the first run that keeps them. A batch is decoded within `budget` bytes.
    #[must_use]
    pub fn new(
        (map, end): (OffsetMap, Offset),
        now: i64,
        delete_retention_ms: i64,
        budget: usize,
    ) -> Self {
        Self {
            map,
            end,
            now,
            delete_retention_ms,
            budget,
            counts: Counts::default(),
        }
    }

    /// What stays of a batch below the surveyed end. One that does not decode, or is a control batch, stays as it is.
    pub fn clean(&mut self, batch: &Batch) -> Cleaned {
        if batch.header().attributes.is_control() {
            return Cleaned::Unchanged;
        }
        let mut counts = self.counts;
        match self.rewrite(batch, &mut counts) {
            Ok(rewritten) => {
                self.counts = counts;
                match rewritten {
                    Rewritten::Unchanged => Cleaned::Unchanged,
                    Rewritten::Empty => Cleaned::Removed,
                    Rewritten::Batch(batch) => Cleaned::Rewritten(batch),
                }
            }
            Err(_) => {
                self.counts.unreadable += 1;
                Cleaned::Unchanged
            }
        }
    }

    /// What was done so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    fn rewrite(&self, batch: &Batch, counts: &mut Counts) -> Result<Rewritten, BatchError> {
        let header = batch.header();
        let is_past = header.attributes.has_delete_horizon() && header.base_timestamp <= self.now;
        let horizon = self.now.saturating_add(self.delete_retention_ms);
        batch.rewrite(self.budget, horizon, |record| {
            self.stays(record, is_past, counts)
        })
    }

    fn stays(&self, record: &Record, horizon_is_past: bool, counts: &mut Counts) -> bool {
        // Behind the survey's end nothing is known yet.
        if record.offset >= self.end {
            counts.kept += 1;
            return true;
        }
        let Some(key) = &record.key else {
            counts.keyless += 1;
            return false;
        };
        if self
            .map
            .latest(key)
            .is_some_and(|latest| latest > record.offset)
        {
            counts.superseded += 1;
            return false;
        }
        if record.value.is_none() && horizon_is_past {
            counts.tombstones += 1;
            return false;
        }
        counts.kept += 1;
        true
    }
}
