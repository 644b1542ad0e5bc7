use bytes::Bytes;
use proptest::prelude::*;
use tidemark_types::{Epoch, Lsn, ObjectId, Offset, PartitionId, PartitionIndex, ShardId, TopicId};

use crate::{BatchSpan, Builder, Built, Covers, HEADER_BYTES, Header, Index, verify};

const OBJECT: ObjectId = ObjectId {
    shard: ShardId(3),
    epoch: Epoch(7),
    number: 11,
};

fn partition(topic: u64, index: i32) -> PartitionId {
    PartitionId {
        topic: TopicId(topic),
        index: PartitionIndex(index),
    }
}

/// A batch: whose, offsets it takes, a gap before it, its timestamp, its bytes.
type Spec = ((u64, i32), i64, i64, i64, usize);

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let one = (
        (0..3u64, 0..2i32),
        1..5i64,
        0..2i64,
        0..1_000i64,
        prop_oneof![21..200usize, 30_000..90_000usize],
    );
    proptest::collection::vec(one, 1..40)
}

struct Pushed {
    partition: PartitionId,
    span: BatchSpan,
    bytes: Vec<u8>,
}

fn build(specs: &[Spec]) -> (Built, Vec<Pushed>) {
    let mut builder = Builder::new(OBJECT, Lsn(100));
    let mut pushed: Vec<Pushed> = Vec::new();
    for (i, ((topic, index), offsets, gap, max_timestamp, bytes)) in specs.iter().enumerate() {
        let partition = partition(*topic, *index);
        let last = pushed.iter().rev().find(|p| p.partition == partition);
        let base = last.map_or(40, |p| p.span.end.0) + gap;
        let span = BatchSpan {
            base: Offset(base),
            end: Offset(base + offsets),
            max_timestamp: *max_timestamp,
        };
        let fill = u8::try_from(i % 251).unwrap();
        let bytes = vec![fill; *bytes];
        let (prefix, rest) = bytes.split_at(21);
        let (prefix, rest) = (Bytes::copy_from_slice(prefix), Bytes::copy_from_slice(rest));
        builder.push(partition, span, prefix, rest).unwrap();
        pushed.push(Pushed {
            partition,
            span,
            bytes,
        });
    }
    (builder.finish(Lsn(200)), pushed)
}

fn whole(built: &Built) -> Vec<u8> {
    built.chunks.concat()
}

fn slice(object: &[u8], range: std::ops::Range<u64>) -> &[u8] {
    &object[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

fn tail(built: &Built, object: &[u8]) -> Vec<u8> {
    slice(object, built.index_at..built.bytes).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_batch_is_found_where_the_index_says(specs in specs(), ms in 0..1_000i64) {
        let (built, pushed) = build(&specs);
        let object = whole(&built);
        prop_assert_eq!(object.len() as u64, built.bytes);
        let index = Index::decode(&tail(&built, &object), built.index_at).unwrap();
        prop_assert_eq!(&index, &built.index);
        prop_assert_eq!(Header::decode(&object[..HEADER_BYTES]).unwrap(), index.header);
        let newest = pushed.iter().map(|p| p.span.max_timestamp).max();
        prop_assert_eq!(Some(built.max_timestamp), newest);
        for part in index.partitions() {
            let ours: Vec<&Pushed> = pushed.iter().filter(|p| p.partition == part.id()).collect();
            let all: Vec<u8> = ours.iter().flat_map(|p| p.bytes.clone()).collect();
            prop_assert_eq!(slice(&object, part.range(0..part.blocks().len())), &all[..]);
            prop_assert_eq!(part.bytes(), all.len() as u64);
            prop_assert_eq!((part.base(), part.end()), (ours[0].span.base, ours[ours.len() - 1].span.end));
            for (i, block) in part.blocks().iter().enumerate() {
                verify(block, slice(&object, part.range(i..i + 1))).unwrap();
            }
            for batch in &ours {
                let found = part.seek(batch.span.base);
                let bytes = slice(&object, part.range(found..found + 1));
                let at = bytes.windows(batch.bytes.len()).position(|w| w == &batch.bytes[..]);
                prop_assert!(at.is_some(), "batch {:?} is not in block {found}", batch.span);
            }
            // Windows cover all blocks, once.
            let mut covered = 0;
            while covered < part.blocks().len() {
                let window = part.window(covered, 100_000);
                prop_assert_eq!(window.start, covered);
                prop_assert!(window.end > covered);
                for block in window.clone() {
                    prop_assert_eq!(part.window(block, 100_000), window.clone());
                }
                covered = window.end;
            }
            // A lookup by time never starts behind the first batch that qualifies.
            let first = ours.iter().find(|p| p.span.max_timestamp >= ms);
            match (first, part.seek_time(0, ms)) {
                (Some(first), Some(block)) => prop_assert_eq!(part.seek(first.span.base), block),
                (None, None) => {}
                (first, block) => prop_assert!(false, "{:?} against {block:?}", first.map(|f| f.span)),
            }
        }
        prop_assert!(index.find(partition(9, 0)).is_none());
    }

    #[test]
    fn no_bytes_make_the_decoders_panic_or_allocate(bytes: Vec<u8>, index_at: u64) {
        let _ = Index::decode(&bytes, index_at);
        let _ = Header::decode(&bytes);
    }

    #[test]
    fn a_trailer_that_lies_under_a_good_crc_is_refused(
        at in 0..32usize, value: u8, index in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (built, _) = build(&[((1, 0), 1, 0, 5, 100), ((1, 1), 1, 0, 5, 100)]);
        let good = tail(&built, &whole(&built));
        let split = good.len() - crate::TRAILER_BYTES;
        let mut trailer = good[split..].to_vec();
        trailer[at] = value;
        // A hostile index of any content, with a checksum that fits.
        let body = if index.len() > 100 { &index[..] } else { &good[..split] };
        trailer[16..20].copy_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        trailer[20..24].copy_from_slice(&crate::format::crc32c(body).to_be_bytes());
        let crc = crate::format::crc32c(&trailer[..32]);
        trailer[32..].copy_from_slice(&crc.to_be_bytes());
        let bad = [body, &trailer[..]].concat();
        if let Ok(index) = Index::decode(&bad, built.index_at) {
            prop_assert_eq!(index, built.index);
        }
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_of_the_tail_is_noticed() {
    let (built, _) = build(&[((1, 0), 2, 0, 5, 100), ((1, 1), 1, 0, 6, 50)]);
    let object = whole(&built);
    let good = tail(&built, &object);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Index::decode(&bad, built.index_at).is_err(), "bit at {at}");
        assert!(Index::decode(&good[..at], built.index_at).is_err());
        assert!(Index::decode(&good[at + 1..], built.index_at).is_err());
    }
    for at in 0..HEADER_BYTES {
        let mut bad = object[..HEADER_BYTES].to_vec();
        bad[at] ^= 1;
        assert!(Header::decode(&bad).is_err(), "header bit at {at}");
    }
    let part = built.index.find(partition(1, 0)).unwrap();
    let mut block = slice(&object, part.range(0..1)).to_vec();
    block[0] ^= 1;
    assert!(verify(&part.blocks()[0], &block).is_err());
}

#[test]
fn batches_that_do_not_follow_are_refused() {
    let mut builder = Builder::new(OBJECT, Lsn(0));
    let span = |base: i64, end: i64| BatchSpan {
        base: Offset(base),
        end: Offset(end),
        max_timestamp: 0,
    };
    let mut push = |span| {
        let bytes = Bytes::from_static(&[1; 30]);
        builder.push(partition(1, 0), span, bytes.slice(..21), bytes.slice(21..))
    };
    push(span(5, 7)).unwrap();
    for bad in [span(6, 8), span(7, 7), span(-1, 3)] {
        assert!(push(bad).is_err(), "{bad:?}");
    }
    push(span(7, 8)).unwrap();
}

#[test]
fn stored_bytes_do_not_change() {
    let (built, _) = build(&[
        ((1, 0), 2, 0, 5, 40),
        ((2, 1), 1, 3, 9, 30),
        ((1, 0), 1, 0, 7, 25),
    ]);
    tidemark_golden::newest(
        "segment/l0-v1",
        &built.index,
        |_| whole(&built),
        |bytes| {
            let at = usize::try_from(built.index_at).unwrap();
            Index::decode(&bytes[at..], built.index_at)
        },
    );
}

fn level1(spans: &[(i64, i64)], covers: (i64, i64)) -> Built {
    let mut builder = Builder::of_partition(OBJECT, Offset(covers.0));
    for (base, end) in spans {
        let span = BatchSpan {
            base: Offset(*base),
            end: Offset(*end),
            max_timestamp: 100 + *base,
        };
        let bytes = Bytes::from(vec![7; 40]);
        let (prefix, rest) = (bytes.slice(..21), bytes.slice(21..));
        builder.push(partition(4, 1), span, prefix, rest).unwrap();
    }
    builder.finish_partition(Offset(covers.1))
}

#[test]
fn a_level_1_object_covers_more_offsets_than_it_has_batches() {
    let built = level1(&[(12, 15), (20, 21)], (10, 30));
    let object = whole(&built);
    let index = Index::decode(&tail(&built, &object), built.index_at).unwrap();
    assert_eq!(index, built.index);
    let (first, end) = (Offset(10), Offset(30));
    assert_eq!(index.header.covers, Covers::Offsets { first, end });
    let header = Header::decode(&object[..HEADER_BYTES]).unwrap();
    assert_eq!(header, index.header);
    let part = index.find(partition(4, 1)).unwrap();
    assert_eq!((part.base(), part.end()), (Offset(12), Offset(21)));
}

#[test]
fn levels_are_not_taken_for_one_another() {
    let (one, other) = (level1(&[(0, 3)], (0, 3)), build(&[((4, 1), 3, 0, 5, 40)]).0);
    let good = tail(&one, &whole(&one));
    let level0 = tail(&other, &whole(&other));
    let split = good.len() - crate::TRAILER_BYTES;
    let mixed = [
        &good[..split],
        &level0[level0.len() - crate::TRAILER_BYTES..],
    ]
    .concat();
    assert!(Index::decode(&mixed, one.index_at).is_err());
    // A level 1 index whose batches lie outside of what it covers.
    let mut lies = one;
    lies.index.header.covers = Covers::Offsets {
        first: Offset(1),
        end: Offset(3),
    };
    let bytes = lies.index.encode(lies.index_at);
    assert!(Index::decode(&bytes, lies.index_at).is_err());
}

#[test]
fn stored_bytes_of_level_1_do_not_change() {
    let built = level1(&[(12, 15), (20, 21)], (10, 30));
    tidemark_golden::newest(
        "segment/l1-v1",
        &built.index,
        |_| whole(&built),
        |bytes| {
            let at = usize::try_from(built.index_at).unwrap();
            Index::decode(&bytes[at..], built.index_at)
        },
    );
}
