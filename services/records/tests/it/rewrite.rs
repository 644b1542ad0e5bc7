//! Taking records out of batches.

use proptest::collection::vec;
use proptest::prelude::*;
use tidemark_records::{Batch, Record, Rewritten, records};
use tidemark_types::{LeaderEpoch, Offset};

use crate::samples::{build, codec, plain};

const BUDGET: usize = 16 << 20;
const HORIZON: i64 = 1_800_000_000_000;

fn reread(batch: &Batch) -> (Batch, Vec<Record>) {
    let batch = Batch::parse(batch.bytes().clone()).unwrap();
    let all = records(&batch, BUDGET).unwrap();
    (batch, all)
}

proptest! {
    #[test]
    fn what_stays_is_as_it_was(
        codec in codec(), plain in vec(plain(), 1..30), picks in vec(any::<bool>(), 30), base in 0..i64::MAX / 2,
        log_time in prop::option::of(0..4_000_000_000_000_i64),
    ) {
        let mut batch = build(codec, &plain).restamp(Offset(base), LeaderEpoch(7));
        if let Some(ms) = log_time {
            batch = batch.with_log_append_time(ms);
        }
        let all = records(&batch, BUDGET).unwrap();
        let stays = |r: &Record| picks[(r.offset.0 - base) as usize];
        let expected: Vec<Record> = all.iter().filter(|r| stays(r)).cloned().collect();
        let has_tombstone = expected.iter().any(|r| r.value.is_none());
        match batch.rewrite(BUDGET, HORIZON, stays).unwrap() {
            Rewritten::Empty => prop_assert!(expected.is_empty()),
            Rewritten::Unchanged => {
                prop_assert_eq!(expected, all);
                prop_assert!(!has_tombstone);
            }
            Rewritten::Batch(new) => {
                let (new, got) = reread(&new);
                prop_assert_eq!(&got, &expected);
                let (old, new) = (*batch.header(), *new.header());
                prop_assert_eq!(new.last_offset(), old.last_offset());
                prop_assert_eq!(new.leader_epoch, old.leader_epoch);
                prop_assert_eq!(new.max_timestamp, got.iter().map(|r| r.timestamp).max().unwrap());
                prop_assert_eq!(new.attributes.timestamp_type(), old.attributes.timestamp_type());
                prop_assert_eq!(new.attributes.compression().unwrap(), codec);
                prop_assert_eq!(new.attributes.has_delete_horizon(), has_tombstone);
            }
        }
    }

    #[test]
    fn a_delete_horizon_is_set_once(codec in codec(), plain in vec(plain(), 1..10)) {
        let batch = build(codec, &plain);
        let Rewritten::Batch(dated) = batch.rewrite(BUDGET, HORIZON, |_| true).unwrap() else {
            prop_assert!(plain.iter().all(|p| p.value.is_some()));
            return Ok(());
        };
        prop_assert_eq!(dated.header().base_timestamp, HORIZON);
        prop_assert_eq!(reread(&dated).1, records(&batch, BUDGET).unwrap());
        let again = dated.rewrite(BUDGET, HORIZON + 1, |_| true).unwrap();
        prop_assert_eq!(again, Rewritten::Unchanged);
    }
}

#[test]
fn a_producers_batch_stays_its_own() {
    use tidemark_records::{BatchBuilder, Compression};
    use tidemark_types::{ProducerEpoch, ProducerId};
    let mut builder =
        BatchBuilder::new(Compression::Zstd).producer(ProducerId(9), ProducerEpoch(2), 40);
    for key in [b"a", b"b", b"c"] {
        builder.push(5, Some(key), Some(b"v"), &[]).unwrap();
    }
    let batch = builder
        .build()
        .unwrap()
        .restamp(Offset(100), LeaderEpoch(1));
    let kept = batch.rewrite(BUDGET, HORIZON, |r| r.offset == Offset(101));
    let Rewritten::Batch(kept) = kept.unwrap() else {
        panic!("one of three stays");
    };
    let header = *kept.header();
    assert_eq!(
        (header.producer_id, header.base_sequence),
        (ProducerId(9), 40)
    );
    assert_eq!(
        (header.base_offset, header.next_offset()),
        (Offset(100), Offset(103))
    );
    assert_eq!((header.record_count, header.last_sequence()), (1, 42));
}

#[test]
fn what_does_not_decode_is_an_error_and_stays() {
    let batch = crate::samples::small(tidemark_records::Compression::None);
    assert!(
        batch.rewrite(10, HORIZON, |_| true).is_err(),
        "over the budget"
    );
}
