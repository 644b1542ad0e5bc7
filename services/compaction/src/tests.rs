//! Compaction against a plain model of what Kafka promises.

#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "tests say what they expect, on numbers they chose"
)]

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tidemark_records::{Batch, BatchBuilder, Compression, Record, records};
use tidemark_types::{LeaderEpoch, Offset};

use crate::*;

const BUDGET: usize = 1 << 20;
const RETENTION: i64 = 1_000;

type Put = (Option<u8>, bool);

/// Batches of puts: a key and whether there is a value, or no key.
fn log(batches: &[Vec<Put>], codec: Compression) -> Vec<Batch> {
    let mut next = 0;
    let mut out = Vec::new();
    for puts in batches {
        let mut builder = BatchBuilder::new(codec);
        for (i, (key, has_value)) in puts.iter().enumerate() {
            let key = key.map(|k| [k]);
            let value = (next + i as i64).to_be_bytes();
            let value = has_value.then_some(&value[..]);
            let at = next + i as i64;
            builder
                .push(at, key.as_ref().map(|k| &k[..]), value, &[])
                .unwrap();
        }
        let batch = builder
            .build()
            .unwrap()
            .restamp(Offset(next), LeaderEpoch(3));
        next += puts.len() as i64;
        out.push(batch);
    }
    out
}

fn survey(batches: &[Batch], from: Offset, budget: usize) -> (OffsetMap, Offset) {
    let map = OffsetMap::new(budget, usize::MAX, (1, 2));
    let mut survey = Survey::new(map, from, BUDGET);
    for batch in batches.iter().filter(|b| b.header().next_offset() > from) {
        if survey.add(batch).unwrap() == Surveyed::Full {
            break;
        }
    }
    survey.into_map()
}

fn clean(batches: &[Batch], surveyed: (OffsetMap, Offset), now: i64) -> (Vec<Batch>, Counts) {
    let mut cleaner = Cleaner::new(surveyed, now, RETENTION, BUDGET);
    let kept = batches
        .iter()
        .filter_map(|batch| match cleaner.clean(batch) {
            Cleaned::Unchanged => Some(batch.clone()),
            Cleaned::Rewritten(batch) => Some(Batch::parse(batch.into_bytes()).unwrap()),
            Cleaned::Removed => None,
        });
    (kept.collect(), cleaner.counts())
}

fn all(batches: &[Batch]) -> Vec<Record> {
    let each = batches.iter().flat_map(|b| records(b, BUDGET).unwrap());
    each.collect()
}

/// The table that a reader builds.
fn table(records: &[Record]) -> BTreeMap<u8, Vec<u8>> {
    let mut table = BTreeMap::new();
    for record in records {
        let Some(key) = &record.key else { continue };
        match &record.value {
            Some(value) => table.insert(key[0], value.to_vec()),
            None => table.remove(&key[0]),
        };
    }
    table
}

fn puts() -> impl Strategy<Value = Vec<Vec<Put>>> {
    let put = (
        prop::option::weighted(0.95, 0..12_u8),
        prop::bool::weighted(0.8),
    );
    vec(vec(put, 1..12), 1..12)
}

fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(Compression::ALL.to_vec())
}

proptest! {
    /// With room for every key: exactly the latest of each stays, untouched, and the table with it.
    #[test]
    fn the_latest_of_each_key_stays(puts in puts(), codec in codec(), now in 10_000..20_000_i64) {
        let batches = log(&puts, codec);
        let before = all(&batches);
        let (kept, counts) = clean(&batches, survey(&batches, Offset(0), BUDGET), now);
        let after = all(&kept);
        let latest: BTreeMap<u8, Offset> =
            before.iter().filter_map(|r| Some((r.key.as_ref()?[0], r.offset))).collect();
        let expected: Vec<Record> = before
            .iter()
            .filter(|r| r.key.as_ref().is_some_and(|k| latest[&k[0]] == r.offset))
            .cloned()
            .collect();
        prop_assert_eq!(&after, &expected, "tombstones stay for their retention");
        prop_assert_eq!(counts.kept as usize, after.len());
        let gone = counts.superseded + counts.keyless + counts.tombstones;
        prop_assert_eq!(gone as usize, before.len() - after.len());
        prop_assert_eq!(table(&after), table(&before));
    }

    /// Idempotent, and tombstones go when their horizon has passed, not before.
    #[test]
    fn tombstones_go_once_their_horizon_has_passed(puts in puts(), codec in codec(), now in 10_000..20_000_i64) {
        let batches = log(&puts, codec);
        let surveyed = survey(&batches, Offset(0), BUDGET);
        let (once, _) = clean(&batches, surveyed.clone(), now);
        let (again, _) = clean(&once, surveyed.clone(), now + RETENTION - 1);
        prop_assert_eq!(&again, &once);
        let (late, counts) = clean(&once, surveyed, now + RETENTION);
        let live: Vec<Record> = all(&once).into_iter().filter(|r| r.value.is_some()).collect();
        prop_assert_eq!(counts.tombstones as usize, all(&once).len() - live.len());
        prop_assert_eq!(all(&late), live);
    }

    /// However small the map, each run makes progress, nothing that is latest goes, and in the end one run's work is done.
    #[test]
    fn a_small_map_takes_more_runs(puts in puts(), codec in codec(), slots in 0..8_usize) {
        let mut batches = log(&puts, codec);
        let original = all(&batches);
        let end = batches.last().unwrap().header().next_offset();
        let (whole, _) = clean(&batches, survey(&batches, Offset(0), BUDGET), 10_000);
        let mut from = Offset(0);
        while from < end {
            let surveyed = survey(&batches, from, slots * 24);
            prop_assert!(surveyed.1 > from, "a run without progress");
            from = surveyed.1;
            batches = clean(&batches, surveyed, 10_000).0;
            prop_assert_eq!(table(&all(&batches)), table(&original));
            // What was taken out at the end of the log leaves no batch to survey.
            if batches.last().is_none_or(|b| b.header().next_offset() <= from) {
                break;
            }
        }
        prop_assert_eq!(all(&batches), all(&whole));
    }

    /// The map is what a plain map would be, until it is full, and stays inside its budget.
    #[test]
    fn the_map_is_a_map(notes in vec((0..200_u16, 0..1_000_i64), 0..300), slots in 2..100_usize) {
        let mut map = OffsetMap::new(slots * 24, usize::MAX, (3, 4));
        let mut model = BTreeMap::<u16, i64>::new();
        for (key, offset) in notes {
            let room = (model.len() + 1) * 100 <= slots * 85 || model.is_empty();
            let expected = if room || model.contains_key(&key) { Ok(()) } else { Err(Full) };
            prop_assert_eq!(map.note(&key.to_be_bytes(), Offset(offset)), expected);
            if expected.is_ok() {
                let latest = model.entry(key).or_insert(offset);
                *latest = offset.max(*latest);
            }
        }
        prop_assert_eq!(map.len(), model.len());
        for key in 0..200_u16 {
            prop_assert_eq!(map.latest(&key.to_be_bytes()), model.get(&key).map(|o| Offset(*o)));
        }
    }
}

#[test]
fn control_and_broken_batches_stay_as_they_are() {
    let mut control = BatchBuilder::new(Compression::None).control();
    control.push(1, Some(b"k"), None, &[]).unwrap();
    let control = control.build().unwrap();
    let good = log(&[vec![(Some(1), true), (Some(1), true)]], Compression::Gzip).remove(0);
    let mut broken = good.bytes().to_vec();
    let last = broken.len() - 9;
    broken[last] ^= 0xff;
    let broken = Batch::parse_trusted(broken.into()).unwrap();
    assert!(records(&broken, BUDGET).is_err());

    let map = OffsetMap::new(BUDGET, 10, (1, 2));
    let mut survey = Survey::new(map, Offset(0), BUDGET);
    assert!(survey.add(&broken).is_err());
    survey.pass_over(&broken);
    assert_eq!(survey.end(), Offset(2));
    assert_eq!(
        survey.add(&control.clone().restamp(Offset(2), LeaderEpoch(1))),
        Ok(Surveyed::Whole)
    );
    let mut cleaner = Cleaner::new(survey.into_map(), 10_000, RETENTION, BUDGET);
    assert_eq!(cleaner.clean(&broken), Cleaned::Unchanged);
    assert_eq!(cleaner.clean(&control), Cleaned::Unchanged);
    assert_eq!(cleaner.counts().unreadable, 1);
}

#[test]
fn young_batches_are_left_alone_and_old_ones_are_due() {
    let batch = log(&[vec![(Some(1), true)]], Compression::None).remove(0);
    let at = batch.header().max_timestamp;
    let lag = Lag {
        min_ms: 100,
        max_ms: 500,
    };
    assert!(!lag.allows(&batch, at + 99));
    assert!(lag.allows(&batch, at + 100));
    assert!(!lag.is_overdue(&batch, at + 500));
    assert!(lag.is_overdue(&batch, at + 501));
    let never = Lag {
        min_ms: i64::MAX,
        max_ms: i64::MAX,
    };
    assert!(!never.allows(&batch, at) && !never.is_overdue(&batch, i64::MAX));
}
