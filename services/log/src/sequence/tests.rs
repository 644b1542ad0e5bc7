use tidemark_types::{LeaderEpoch, PartitionIndex, ProducerEpoch, TopicId};

use super::*;

/// One partition with both its states, as an owner keeps them.
#[derive(Default)]
struct Partition {
    state: PartitionState,
    flight: Option<Flight>,
    in_flight: std::collections::VecDeque<(Ticket, BatchEntry)>,
    tickets: Ticket,
}

fn stamp(id: i64, epoch: i16, base_sequence: i32) -> Option<ProducerStamp> {
    Some(ProducerStamp {
        id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence,
    })
}

impl Partition {
    fn send(&mut self, want: &Want) -> Decision {
        let decision = decide(&self.state, self.flight.as_ref(), want);
        if let Decision::Append(base_offset) = decision {
            self.tickets += 1;
            let batch = BatchEntry {
                partition: tidemark_types::PartitionId {
                    topic: TopicId(1),
                    index: PartitionIndex(0),
                },
                base_offset,
                leader_epoch: LeaderEpoch(1),
                offsets: want.offsets,
                max_timestamp: 0,
                log_time: false,
                producer: want.producer,
                key: want.key.clone(),
            };
            let state = &self.state;
            self.flight
                .get_or_insert_with(|| Flight::new(state))
                .sequence(state, &batch, 1_000, self.tickets);
            self.in_flight.push_back((self.tickets, batch));
        }
        decision
    }

    fn produce(&mut self, id: i64, epoch: i16, sequence: i32) -> Decision {
        self.send(&Want {
            offsets: 10,
            producer: stamp(id, epoch, sequence),
            key: None,
            expected_offset: None,
        })
    }

    fn commit_one(&mut self) {
        let (ticket, batch) = self.in_flight.pop_front().expect("something is in flight");
        self.state.apply(&batch, 1_000);
        let flight = self.flight.as_mut().expect("something is in flight");
        if flight.settle(ticket, batch.producer.map(|p| p.id)) {
            self.flight = None;
        }
    }

    fn commit_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.commit_one();
        }
    }
}

fn duplicate_of(base: i64, wait: Option<Ticket>) -> Decision {
    Decision::Duplicate {
        base_offset: Offset(base),
        log_append_time_ms: None,
        wait,
    }
}

fn out_of_order(decision: &Decision) -> bool {
    matches!(
        decision,
        Decision::Refuse(AppendError::OutOfOrderSequence { .. }, _)
    )
}

#[test]
fn the_last_five_batches_are_recognised_and_a_sixth_is_not() {
    let mut p = Partition::default();
    for i in 0..6 {
        assert_eq!(
            p.produce(1, 0, i * 10),
            Decision::Append(Offset(i64::from(i) * 10))
        );
    }
    p.commit_all();
    for i in 1..6 {
        assert_eq!(
            p.produce(1, 0, i * 10),
            duplicate_of(i64::from(i) * 10, None)
        );
    }
    assert!(out_of_order(&p.produce(1, 0, 0)));
    assert_eq!(p.produce(1, 0, 60), Decision::Append(Offset(60)));
}

#[test]
fn a_duplicate_of_a_batch_in_flight_waits_and_answers_its_offset() {
    let mut p = Partition::default();
    assert_eq!(p.produce(1, 0, 0), Decision::Append(Offset(0)));
    assert_eq!(p.produce(1, 0, 0), duplicate_of(0, Some(1)));
    p.commit_one();
    assert_eq!(p.produce(1, 0, 0), duplicate_of(0, None));
}

#[test]
fn a_gap_is_refused_and_the_refusal_waits_for_what_it_depends_on() {
    let mut p = Partition::default();
    p.produce(1, 0, 0);
    let refused = p.produce(1, 0, 20);
    assert!(matches!(&refused, Decision::Refuse(_, Some(1))) && out_of_order(&refused));
    p.commit_all();
    let refused = p.produce(1, 0, 20);
    assert!(matches!(&refused, Decision::Refuse(_, None)) && out_of_order(&refused));
}

#[test]
fn an_unknown_producer_may_start_anywhere() {
    let mut p = Partition::default();
    assert_eq!(p.produce(1, 3, 170), Decision::Append(Offset(0)));
    assert_eq!(p.produce(1, 3, 180), Decision::Append(Offset(10)));
}

#[test]
fn a_new_epoch_starts_at_zero_and_fences_the_old_one() {
    let mut p = Partition::default();
    p.produce(1, 0, 0);
    assert!(out_of_order(&p.produce(1, 1, 10)));
    assert_eq!(p.produce(1, 1, 0), Decision::Append(Offset(10)));
    assert!(matches!(
        p.produce(1, 0, 10),
        Decision::Refuse(AppendError::InvalidProducerEpoch { .. }, Some(2))
    ));
    p.commit_all();
    assert!(matches!(
        p.produce(1, 0, 10),
        Decision::Refuse(AppendError::InvalidProducerEpoch { .. }, None)
    ));
    assert_eq!(p.produce(1, 1, 0), duplicate_of(10, None));
}

#[test]
fn sequences_wrap_from_the_largest_to_zero() {
    let mut p = Partition::default();
    p.produce(1, 0, i32::MAX - 9);
    assert_eq!(p.produce(1, 0, 0), Decision::Append(Offset(10)));
    let mut p = Partition::default();
    p.produce(1, 0, i32::MAX - 4);
    assert_eq!(p.produce(1, 0, 5), Decision::Append(Offset(10)));
    assert_eq!(p.produce(1, 0, i32::MAX - 4), duplicate_of(0, Some(2)));
}

#[test]
fn expected_offset_sees_what_is_in_flight_and_a_key_is_looked_at_first() {
    let mut p = Partition::default();
    let want = |expected, key: &'static [u8], fingerprint| Want {
        offsets: 1,
        producer: None,
        key: Some(KeyStamp {
            key: Bytes::from_static(key),
            fingerprint,
        }),
        expected_offset: Some(Offset(expected)),
    };
    assert_eq!(p.send(&want(0, b"a", 1)), Decision::Append(Offset(0)));
    // K5: the retry's condition no longer holds, its key is known.
    assert_eq!(p.send(&want(0, b"a", 1)), duplicate_of(0, Some(1)));
    let refusal = AppendError::ExpectedOffset {
        expected: Offset(0),
        next: Offset(1),
    };
    assert_eq!(
        p.send(&want(0, b"b", 1)),
        Decision::Refuse(refusal, Some(1))
    );
    assert_eq!(
        p.send(&want(0, b"a", 2)),
        Decision::Refuse(AppendError::KeyReused, Some(1))
    );
    assert_eq!(p.send(&want(1, b"b", 1)), Decision::Append(Offset(1)));
    p.commit_all();
    assert_eq!(p.send(&want(9, b"a", 1)), duplicate_of(0, None));
}

#[test]
fn an_expiry_in_flight_already_hides_who_it_forgets() {
    let mut p = Partition::default();
    p.produce(1, 0, 0);
    p.commit_all();
    let mut flight = Flight::new(&p.state);
    flight.expire(1_000, i64::MIN, 2);
    let want = Want {
        offsets: 10,
        producer: stamp(1, 0, 500),
        key: None,
        expected_offset: None,
    };
    let decision = decide(&p.state, Some(&flight), &want);
    assert_eq!(decision, Decision::Append(Offset(10)));
}

mod random {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever commits when: each (producer, epoch, sequence) gets one offset for ever, offsets are dense.
        #[test]
        fn one_offset_per_sequence_whatever_is_retried(
            steps in proptest::collection::vec((0i64..3, 0i32..8, 0u8..4), 1..200),
        ) {
            let mut p = Partition::default();
            let mut known = std::collections::BTreeMap::new();
            let mut next = 0;
            for (producer, sequence, what) in steps {
                if what == 0 && !p.in_flight.is_empty() {
                    p.commit_one();
                    continue;
                }
                match p.produce(producer, 0, sequence * 10) {
                    Decision::Append(offset) => {
                        prop_assert_eq!(offset.0, next);
                        next += 10;
                        prop_assert!(known.insert((producer, sequence), offset).is_none());
                    }
                    Decision::Duplicate { base_offset, .. } => {
                        prop_assert_eq!(known.get(&(producer, sequence)), Some(&base_offset));
                    }
                    Decision::Refuse(..) => {}
                }
            }
        }
    }
}
