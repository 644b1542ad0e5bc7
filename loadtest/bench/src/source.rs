//! A producer's stream of records: what is due, how large, with which key, for which partition.

use std::num::NonZeroU32;

use tidemark_records::partition_for_key;
use tokio::time::Instant;

use crate::layout::Slot;
use crate::pace::Pace;
use crate::payload::Stamp;
use crate::scenario::Record;
use crate::shared::Shared;

/// When a producer stops making records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Until {
    /// After this many.
    pub records: Option<u64>,
    /// At this time.
    pub time: Option<Instant>,
}

/// A record to send.
#[derive(Debug)]
pub struct Next {
    /// When it was to be sent.
    pub intended: Instant,
    /// Its partition.
    pub slot: Slot,
    /// Its number in the partition.
    pub number: u64,
    /// Bytes of its value.
    pub bytes: usize,
}

/// A producer's records, in order.
#[derive(Debug)]
pub struct Source {
    producer: u32,
    record: Record,
    pace: Pace,
    until: Until,
    made: u64,
    numbers: Vec<u64>,
    partitions: usize,
    sticky: Slot,
    draw: u64,
    key: Option<String>,
    value: Vec<u8>,
}

impl Source {
    /// The records of producer number `producer`, for `slots` partitions in topics of `partitions`.
    #[must_use]
    pub fn new(
        producer: u32,
        record: Record,
        (pace, until): (Pace, Until),
        (slots, partitions): (usize, u32),
    ) -> Self {
        Self {
            producer,
            draw: record.seed ^ (u64::from(producer) << 40),
            record,
            pace,
            until,
            made: 0,
            numbers: vec![0; slots],
            partitions: partitions as usize,
            sticky: producer as usize % slots,
            key: None,
            value: Vec::new(),
        }
    }

    /// Sets when it begins and ends: known only when every client is connected.
    pub const fn begin(&mut self, pace: Pace, until: Until) {
        self.pace = pace;
        self.until = until;
    }

    /// Whether no record will come any more.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.records.is_some_and(|n| self.made >= n)
            || self.until.time.is_some_and(|t| {
                // What was due before the end is still to be sent, however late: an open loop drops nothing.
                self.pace.due(self.made).unwrap_or(now) >= t
            })
    }

    /// When the next record is due; `None` in a closed loop.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.pace.due(self.made)
    }

    /// The next record, if it is due by `now`; its key and value are then to be had.
    pub fn next(&mut self, now: Instant, shared: &Shared) -> Option<Next> {
        let intended = self.due().unwrap_or(now);
        if intended > now || self.is_over(now) {
            return None;
        }
        self.made += 1;
        let draw = self.draw();
        let slot = match self.record.keys {
            0 => self.sticky,
            keys => self.keyed(draw % keys),
        };
        let number = self.numbers[slot];
        self.numbers[slot] += 1;
        let bytes = self.record.size.pick(draw >> 20);
        let stamp = Stamp {
            producer: self.producer,
            number,
            intended_ns: shared.since_start_ns(intended),
        };
        shared.payload.write(&mut self.value, stamp, bytes);
        Some(Next {
            intended,
            slot,
            number,
            bytes,
        })
    }

    /// Key and value of the record that [`Source::next`] gave last.
    #[must_use]
    pub fn contents(&self) -> (Option<&[u8]>, &[u8]) {
        (self.key.as_deref().map(str::as_bytes), &self.value)
    }

    /// Goes on to another partition for records without a key.
    pub const fn turn(&mut self) {
        self.sticky = (self.sticky + 1) % self.numbers.len();
    }

    fn keyed(&mut self, key: u64) -> Slot {
        let key = format!("key-{key:08}");
        let topics = self.numbers.len() / self.partitions;
        let topic = usize::try_from(self.made).unwrap_or(0) % topics;
        let count = u32::try_from(self.partitions)
            .ok()
            .and_then(NonZeroU32::new);
        let index = count.map_or(0, |n| partition_for_key(key.as_bytes(), n).0);
        let index = usize::try_from(index).unwrap_or(0);
        self.key = Some(key);
        topic * self.partitions + index
    }

    /// splitmix64: a cheap stream that follows from the seed.
    const fn draw(&mut self) -> u64 {
        self.draw = self.draw.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.draw;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
