//! The first pass: what the latest offset of each key is.

use tidemark_records::{Batch, BatchError};
use tidemark_types::Offset;

use crate::OffsetMap;

/// How young a record may not be cleaned, and how old one may not stay uncleaned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lag {
    /// `min.compaction.lag.ms`: records younger than this stay as they are (KIP-58).
    pub min_ms: i64,
    /// `max.compaction.lag.ms`: a partition with an uncleaned record older than this is due (KIP-354).
    pub max_ms: i64,
}

impl Lag {
    /// Whether a batch may be cleaned at `now`, ms since the Unix epoch.
    #[must_use]
    pub const fn allows(&self, batch: &Batch, now: i64) -> bool {
        batch.header().max_timestamp <= now.saturating_sub(self.min_ms)
    }

    /// Whether an uncleaned batch makes its partition due at `now`.
    #[must_use]
    pub const fn is_overdue(&self, batch: &Batch, now: i64) -> bool {
        batch.header().max_timestamp < now.saturating_sub(self.max_ms)
    }
}

/// Whether the survey goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surveyed {
    /// Give it the next batch.
    Whole,
    /// The map is full: the survey ends within this batch, or before it.
    Full,
}

/// Reads batches in offset order, from where the last run ended.
#[derive(Debug)]
pub struct Survey {
    map: OffsetMap,
    end: Offset,
    budget: usize,
    keyless: u64,
}

impl Survey {
    /// A survey from `start` on; a batch is decoded within `budget` bytes.
    #[must_use]
    pub const fn new(map: OffsetMap, start: Offset, budget: usize) -> Self {
        Self {
            map,
            end: start,
            budget,
            keyless: 0,
        }
    }

    /// Notes a batch's keys. Records below the survey's end were noted before and are skipped.
    ///
    /// # Errors
    /// When the batch does not decode: it is passed over and stays as it is, see [`Survey::pass_over`].
    pub fn add(&mut self, batch: &Batch) -> Result<Surveyed, BatchError> {
        if batch.header().attributes.is_control() {
            self.pass_over(batch);
            return Ok(Surveyed::Whole);
        }
        for record in batch.records(self.budget)? {
            let record = record?;
            if record.offset < self.end {
                continue;
            }
            match &record.key {
                None => self.keyless += 1,
                Some(key) => {
                    if self.map.note(key, record.offset).is_err() {
                        return Ok(Surveyed::Full);
                    }
                }
            }
            self.end = Offset(record.offset.0 + 1);
        }
        self.pass_over(batch);
        Ok(Surveyed::Whole)
    }

    /// Goes on behind a batch whose records cannot be read.
    pub fn pass_over(&mut self, batch: &Batch) {
        self.end = self.end.max(batch.header().next_offset());
    }

    /// Everything below was surveyed. Where the next run goes on.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.end
    }

    /// Records without a key: they are taken out, since nothing can ever supersede them.
    #[must_use]
    pub const fn keyless(&self) -> u64 {
        self.keyless
    }

    /// What was found.
    #[must_use]
    pub fn into_map(self) -> (OffsetMap, Offset) {
        (self.map, self.end)
    }
}
