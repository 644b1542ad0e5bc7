//! Is what was read what was acknowledged: nothing lost, nothing twice, in order.
//!
//! A producer numbers its records per partition from 0 on, so a reader of a partition expects each producer's
//! numbers to come as 0, 1, 2, …: a higher one leaves a gap, a lower one fills a gap (out of order) or was there
//! before (twice). Gaps that stay open, and acknowledged numbers beyond the last one read, are lost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::payload::Stamp;

/// How many findings are kept in words; all are counted.
const NAMED_MAX: usize = 20;

/// What was acknowledged, by partition and producer.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Per partition (as [`crate::layout::Slot`]) and producer: how many numbers, from 0 on, were acknowledged.
    acked: BTreeMap<(usize, u32), u64>,
    /// Per partition: the offset behind the last acknowledged record.
    ends: BTreeMap<usize, i64>,
}

impl Ledger {
    /// Notes that `count` more records of `producer` are durable in `slot`, the last one just before `end`.
    pub fn acked(&mut self, slot: usize, producer: u32, count: u64, end: i64) {
        *self.acked.entry((slot, producer)).or_default() += count;
        let known = self.ends.entry(slot).or_default();
        *known = (*known).max(end);
    }

    /// The offset behind the last acknowledged record of `slot`, as far as its answers told.
    #[must_use]
    pub fn end(&self, slot: usize) -> i64 {
        self.ends.get(&slot).copied().unwrap_or(0)
    }

    /// Records acknowledged.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.acked.values().sum()
    }
}

/// What verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Records read and compared.
    pub checked: u64,
    /// Acknowledged and not read.
    pub lost: u64,
    /// Read twice by one group.
    pub duplicated: u64,
    /// Read after a later one of the same producer.
    pub reordered: u64,
    /// Content differs.
    pub corrupt: u64,
    /// The first findings in words.
    pub named: Vec<String>,
}

impl Findings {
    /// Whether all was as acknowledged.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.reordered == 0 && self.corrupt == 0
    }

    /// Adds another reader's.
    pub fn add(&mut self, other: Self) {
        self.checked += other.checked;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        for line in other.named {
            self.name(|| line);
        }
    }

    fn name(&mut self, line: impl FnOnce() -> String) {
        if self.named.len() < NAMED_MAX {
            self.named.push(line());
        }
    }
}

#[derive(Debug, Default)]
struct Progress {
    next: u64,
    gaps: Vec<std::ops::Range<u64>>,
}

/// One group's reader of one partition.
#[derive(Debug)]
pub struct Reader {
    slot: usize,
    name: String,
    /// Whether it began at the first record; others know nothing of what came before.
    from_start: bool,
    producers: BTreeMap<u32, Progress>,
    findings: Findings,
}

impl Reader {
    /// A reader of `slot`, called `name` in findings.
    #[must_use]
    pub fn new(slot: usize, name: String, from_start: bool) -> Self {
        Self {
            slot,
            name,
            from_start,
            producers: BTreeMap::new(),
            findings: Findings::default(),
        }
    }

    /// Takes note of a record read at `offset`.
    pub fn saw(&mut self, stamp: Stamp, offset: i64) {
        self.findings.checked += 1;
        let Stamp {
            producer, number, ..
        } = stamp;
        let progress = self.producers.entry(producer).or_insert_with(|| Progress {
            next: if self.from_start { 0 } else { number },
            gaps: Vec::new(),
        });
        if number == progress.next {
            progress.next += 1;
            return;
        }
        if number > progress.next {
            progress.gaps.push(progress.next..number);
            progress.next = number + 1;
            return;
        }
        let name = &self.name;
        if fill(&mut progress.gaps, number) {
            self.findings.reordered += 1;
            self.findings.name(|| {
                format!(
                    "{name}: producer {producer}'s record {number} came late, at offset {offset}"
                )
            });
        } else if self.from_start || number >= progress.next {
            self.findings.duplicated += 1;
            self.findings.name(|| {
                format!("{name}: producer {producer}'s record {number} came twice, again at offset {offset}")
            });
        }
    }

    /// Takes note of a value that is not what was written.
    pub fn corrupt(&mut self, wrong: &crate::payload::Wrong, offset: i64) {
        self.findings.checked += 1;
        self.findings.corrupt += 1;
        let name = &self.name;
        self.findings
            .name(|| format!("{name}: offset {offset}: {wrong}"));
    }

    /// Compares with what was acknowledged, when the reader has read to the end.
    #[must_use]
    pub fn finish(mut self, ledger: &Ledger) -> Findings {
        let writers = ledger.acked.range((self.slot, 0)..=(self.slot, u32::MAX));
        for ((_, producer), acked) in writers {
            if !self.from_start && !self.producers.contains_key(producer) {
                continue;
            }
            let progress = self.producers.entry(*producer).or_default();
            let behind = progress.next..*acked;
            if !behind.is_empty() {
                progress.gaps.push(behind);
            }
        }
        for (producer, progress) in std::mem::take(&mut self.producers) {
            for number in progress.gaps.into_iter().flatten() {
                self.findings.lost += 1;
                let name = &self.name;
                self.findings
                    .name(|| format!("{name}: producer {producer}'s record {number} is lost"));
            }
        }
        self.findings
    }
}

/// Takes `number` out of the gaps; false when it is in none.
fn fill(gaps: &mut Vec<std::ops::Range<u64>>, number: u64) -> bool {
    let Some(at) = gaps.iter().position(|g| g.contains(&number)) else {
        return false;
    };
    let gap = gaps.swap_remove(at);
    gaps.extend(
        [gap.start..number, number + 1..gap.end]
            .into_iter()
            .filter(|g| !g.is_empty()),
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(numbers: &[u64], acked: u64) -> Findings {
        let mut ledger = Ledger::default();
        ledger.acked(0, 5, acked, i64::try_from(acked).unwrap());
        let mut reader = Reader::new(0, "t/0".to_owned(), true);
        for (offset, number) in (0..).zip(numbers) {
            let stamp = Stamp {
                producer: 5,
                number: *number,
                intended_ns: 0,
            };
            reader.saw(stamp, offset);
        }
        reader.finish(&ledger)
    }

    #[test]
    fn a_clean_read_is_clean() {
        let found = read(&[0, 1, 2, 3], 4);
        assert!(found.is_clean(), "{found:?}");
        assert_eq!(found.checked, 4);
    }

    #[test]
    fn a_lost_record_is_named_in_the_middle_and_at_the_end() {
        let found = read(&[0, 2, 3], 6);
        assert_eq!((found.lost, found.duplicated, found.reordered), (3, 0, 0));
        assert_eq!(found.named[0], "t/0: producer 5's record 1 is lost");
        assert_eq!(found.named[2], "t/0: producer 5's record 5 is lost");
        assert_eq!(read(&[], 2).lost, 2);
    }

    #[test]
    fn a_duplicate_is_named() {
        let found = read(&[0, 1, 1, 2], 3);
        assert_eq!((found.lost, found.duplicated), (0, 1));
        assert!(found.named[0].contains("record 1 came twice, again at offset 2"));
    }

    #[test]
    fn a_late_record_is_out_of_order_and_not_lost() {
        let found = read(&[0, 2, 1, 3], 4);
        assert_eq!((found.lost, found.duplicated, found.reordered), (0, 0, 1));
    }

    #[test]
    fn a_reader_that_began_later_knows_nothing_of_before() {
        let mut ledger = Ledger::default();
        ledger.acked(0, 5, 4, 4);
        let mut reader = Reader::new(0, "t/0".to_owned(), false);
        for number in [2, 3] {
            let stamp = Stamp {
                producer: 5,
                number,
                intended_ns: 0,
            };
            reader.saw(stamp, 0);
        }
        assert!(reader.finish(&ledger).is_clean());
    }
}
