//! Which keys were written lately, and at which version.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use tidemark_types::limits::META_TXN_AGE_MS_MAX;
use tokio::time::Instant;

use crate::MetaError;
use crate::keys::KeyRange;

/// Writes are remembered for as long as a transaction may live, and a little longer: the transaction's own
/// clock decides its age, so that the window is rarely the one to say `TooOld`.
const KEPT: Duration = Duration::from_millis(META_TXN_AGE_MS_MAX + 1_000);
/// Single keys remembered at the most: tens of MB.
const POINTS_MAX: usize = 500_000;
/// Ranges remembered at the most: each is compared with each range read by an older transaction.
const RANGES_MAX: usize = 4_096;

struct Commit {
    version: u64,
    at: Instant,
    points: Vec<Bytes>,
    ranges: usize,
}

/// The conflict window: every write above `floor`.
#[derive(Default)]
pub(crate) struct Window {
    /// Last version that wrote a key.
    points: BTreeMap<Bytes, u64>,
    /// Ranges written, in version order.
    ranges: VecDeque<(u64, KeyRange)>,
    commits: VecDeque<Commit>,
    points_kept: usize,
    floor: u64,
}

impl Window {
    /// A window that knows nothing about versions up to `floor`.
    pub(crate) fn new(floor: u64) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    /// The oldest version a transaction may have read at.
    pub(crate) const fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether what was read at `version` still holds.
    pub(crate) fn check(&self, version: u64, reads: &[KeyRange]) -> Result<(), MetaError> {
        if version < self.floor {
            return Err(MetaError::TooOld);
        }
        let unseen = || self.ranges.iter().rev().take_while(|(v, _)| *v > version);
        for read in reads {
            let bounds = (Bound::Included(&read.begin), Bound::Excluded(&read.end));
            let overlaps = |(_, w): &(u64, KeyRange)| w.begin < read.end && read.begin < w.end;
            if self
                .points
                .range::<Bytes, _>(bounds)
                .any(|(_, v)| *v > version)
                || unseen().any(overlaps)
            {
                return Err(MetaError::Conflict);
            }
        }
        Ok(())
    }

    /// Remembers the writes of a commit; versions and times come in order.
    pub(crate) fn record(
        &mut self,
        version: u64,
        at: Instant,
        points: Vec<Bytes>,
        ranges: Vec<KeyRange>,
    ) {
        for key in &points {
            self.points.insert(key.clone(), version);
        }
        self.points_kept += points.len();
        self.commits.push_back(Commit {
            version,
            at,
            points,
            ranges: ranges.len(),
        });
        self.ranges.extend(ranges.into_iter().map(|r| (version, r)));
    }

    /// Forgets what is too old or too much.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.commits.front() {
            let old = now.duration_since(oldest.at) > KEPT;
            if !old && self.points_kept <= POINTS_MAX && self.ranges.len() <= RANGES_MAX {
                return;
            }
            let oldest = self.commits.pop_front().expect("peeked");
            self.floor = oldest.version;
            self.points_kept -= oldest.points.len();
            for key in &oldest.points {
                if self.points.get(key) == Some(&oldest.version) {
                    self.points.remove(key);
                }
            }
            self.ranges.drain(..oldest.ranges);
        }
    }
}
