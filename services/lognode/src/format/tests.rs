use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tidemark_journal::ExtentId;
use tidemark_runtime::Entropy;
use tidemark_types::{Epoch, ExtentIdx, Lsn, NodeId, ShardId};

use super::*;
use crate::disk::Disk;
use crate::sim::SimDisk;
use crate::state::{Extent, Limbo, Piece, Point, Shard, State, Trust};
use crate::window::Window;

fn extent_id() -> impl Strategy<Value = ExtentId> {
    (any::<u32>(), any::<u64>()).prop_map(|(shard, index)| ExtentId {
        shard: ShardId(shard),
        index: ExtentIdx(index),
    })
}

fn kind() -> impl Strategy<Value = BlockKind> {
    prop::sample::select(vec![
        BlockKind::Spare,
        BlockKind::First,
        BlockKind::Group,
        BlockKind::Mark,
        BlockKind::Index,
    ])
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), 0u64..1 << 40).prop_map(|(segment, block)| Position {
        segment,
        offset: block * BLOCK_ALIGN,
    })
}

/// A header whose lengths agree.
fn header() -> impl Strategy<Value = BlockHeader> {
    let lengths = (0u32..10_000, 0u32..1 << 30, 0u32..3);
    let rest = (
        kind(),
        any::<[u64; 2]>(),
        position(),
        position(),
        any::<u32>(),
    );
    (rest, lengths).prop_map(|(rest, (entries, body_bytes, spare))| {
        let (kind, [secret, sequence], at, synced, table_crc) = rest;
        let needed = (HEADER_BYTES + entries as usize * ENTRY_BYTES) as u64 + u64::from(body_bytes);
        let block_bytes = aligned(needed) + u64::from(spare) * BLOCK_ALIGN;
        BlockHeader {
            kind,
            secret,
            at,
            sequence,
            synced,
            block_bytes: u32::try_from(block_bytes).unwrap(),
            body_bytes,
            entries,
            table_crc,
        }
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let kinds = vec![
        EntryKind::Frame,
        EntryKind::Open,
        EntryKind::Fence,
        EntryKind::Release,
    ];
    let kind = prop::sample::select(kinds);
    (
        kind,
        extent_id(),
        any::<[u64; 2]>(),
        0u32..200,
        any::<u32>(),
    )
        .prop_map(|(kind, extent, [lsn, epoch], bytes, crc)| Entry {
            kind,
            extent,
            lsn: Lsn(lsn),
            epoch: Epoch(epoch),
            bytes,
            crc,
        })
}

fn extent() -> impl Strategy<Value = Extent> {
    let limbo = prop::option::of((any::<u64>(), ".{0,20}"));
    (any::<[u64; 4]>(), any::<u32>(), any::<Option<u64>>(), limbo).prop_map(
        |([first, end, opened, bytes], last_crc, writer, limbo)| Extent {
            end: Lsn(end),
            last_crc,
            writer: writer.map(Epoch),
            bytes,
            limbo: limbo.map(|(from, why)| Limbo {
                from: Lsn(from),
                why,
            }),
            ..Extent::opened(Lsn(first), Epoch(opened))
        },
    )
}

fn shard() -> impl Strategy<Value = Shard> {
    let trust = prop_oneof![
        Just(Trust::None),
        Just(Trust::Fenced),
        any::<u64>().prop_map(|index| Trust::From(ExtentIdx(index))),
    ];
    (any::<u64>(), trust).prop_map(|(fence, trust)| Shard {
        fence: Epoch(fence),
        trust,
    })
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let shards = prop::collection::btree_map(any::<u32>().prop_map(ShardId), shard(), 0..6);
    let extents = prop::collection::btree_map(extent_id(), extent(), 0..6);
    let live = any::<[u64; 3]>().prop_map(|[segment, index_at, index_bytes]| LiveSegment {
        segment,
        index_at,
        index_bytes,
    });
    let doubt = prop::option::of(".{1,30}");
    (shards, extents, doubt, vec(live, 0..6)).prop_map(|(shards, extents, doubt, segments)| {
        let state = State {
            shards,
            extents,
            doubt,
            frames_in: BTreeMap::new(),
        };
        Checkpoint { state, segments }
    })
}

fn piece() -> impl Strategy<Value = IndexPiece> {
    let points = vec((0u64..1 << 50, any::<u64>()), 1..5);
    (extent_id(), points, any::<u64>()).prop_map(|(extent, points, bytes)| {
        let points: Vec<Point> = points
            .into_iter()
            .map(|(lsn, offset)| Point {
                lsn: Lsn(lsn),
                offset,
                body: None,
            })
            .collect();
        let end = points.iter().map(|p| p.lsn).max().unwrap().next();
        let piece = Piece {
            segment: 3,
            end,
            bytes,
            unindexed_bytes: 0,
            points,
        };
        (extent, piece)
    })
}

/// Writes a block to a file and gives the file's content.
fn written(header: BlockHeader, entries: &[Entry]) -> Vec<u8> {
    let disk = SimDisk::new(&Entropy::seeded(1));
    let file = disk.create("f", 0).unwrap();
    let mut builder = BlockBuilder::default();
    for entry in entries {
        let body = vec![7; entry.bytes as usize].into();
        builder.push(*entry, [&body]);
    }
    let bytes = builder.write(&*file, header).unwrap();
    file.read_at(0, usize::try_from(bytes).unwrap())
        .unwrap()
        .to_vec()
}

/// The entries of the block in `bytes`, if it is intact.
fn entries_of(bytes: &[u8], secret: u64, at: Position) -> Option<Vec<Entry>> {
    let disk = SimDisk::new(&Entropy::seeded(1));
    let file = disk.create("f", 0).unwrap();
    file.write_at(0, &[std::io::IoSlice::new(bytes)]).unwrap();
    let block = Window::new(&*file, 64).block(secret, at).unwrap();
    block.map(|block| block.entries)
}

proptest! {
    #[test]
    fn a_header_round_trips_and_one_bit_makes_it_none(header in header(), at in 0..HEADER_BYTES, bit in 0u8..8) {
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        prop_assert_eq!(bytes.len(), HEADER_BYTES);
        prop_assert_eq!(BlockHeader::decode(&bytes), Ok(header));
        prop_assert_eq!(BlockHeader::decode(&bytes[..at]), Err(HeaderError::NotABlock));
        bytes[at] ^= 1u8 << bit;
        prop_assert_eq!(BlockHeader::decode(&bytes), Err(HeaderError::NotABlock));
    }

    #[test]
    fn a_block_round_trips_and_its_table_is_summed(
        header in header(), entries in vec(entry(), 1..20), at: prop::sample::Index, bit in 0u8..8,
    ) {
        let header = BlockHeader { at: Position { offset: 0, ..header.at }, ..header };
        let mut bytes = written(header, &entries);
        prop_assert_eq!(bytes.len() as u64 % BLOCK_ALIGN, 0);
        prop_assert_eq!(entries_of(&bytes, header.secret, header.at), Some(entries.clone()));
        prop_assert_eq!(entries_of(&bytes, !header.secret, header.at), None);
        let table = HEADER_BYTES + entries.len() * ENTRY_BYTES;
        prop_assert_eq!(entries_of(&bytes[..table - 1], header.secret, header.at), None);
        bytes[at.index(table)] ^= 1u8 << bit;
        prop_assert_eq!(entries_of(&bytes, header.secret, header.at), None);
    }

    #[test]
    fn a_header_with_lying_lengths_is_refused_or_costs_what_the_file_holds(
        header in header(), entries: u32, body_bytes: u32,
    ) {
        let at = Position { offset: 0, ..header.at };
        let mut bytes = Vec::new();
        BlockHeader { at, entries, body_bytes, block_bytes: 0xffff_f000, ..header }.encode(&mut bytes);
        let needed = HEADER_BYTES as u64 + u64::from(entries) * ENTRY_BYTES as u64 + u64::from(body_bytes);
        prop_assert_eq!(BlockHeader::decode(&bytes).is_ok(), needed <= 0xffff_f000);
        bytes.resize(4096, 0);
        let table_crc_is_luck = entries == 0;
        prop_assert!(entries_of(&bytes, header.secret, at).is_none() || table_crc_is_luck);
    }

    #[test]
    fn a_checkpoint_round_trips_and_a_cut_one_is_refused(found in checkpoint(), cut: prop::sample::Index) {
        let bytes = Checkpoint::encode(&found.state, &found.segments);
        let decoded = Checkpoint::decode(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&found));
        prop_assert!(Checkpoint::decode(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(Checkpoint::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn an_index_round_trips_and_a_cut_one_is_refused(pieces in vec(piece(), 0..6), cut: prop::sample::Index) {
        let bytes = encode_index(pieces.iter().map(|(id, piece)| (*id, piece)));
        prop_assert_eq!(decode_index(&bytes, 3), Ok(pieces));
        prop_assert!(decode_index(&bytes[..cut.index(bytes.len())], 3).is_err());
        prop_assert!(decode_index(&[&bytes[..], &[0]].concat(), 3).is_err());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..300), count: u32) {
        let _ = Checkpoint::decode(&bytes);
        let _ = decode_index(&bytes, 0);
        // A lying count ends with the bytes, not with the memory.
        let lying = [&count.to_be_bytes()[..], &bytes].concat();
        let _ = decode_index(&lying, 0);
        let _ = Checkpoint::decode(&[&[0; 4], &lying[..]].concat());
        let _ = BlockHeader::decode(&bytes);
    }

    #[test]
    fn a_cookie_is_read_back_and_one_bit_makes_it_unreadable(seed: u64, at in 0u64..28, bit in 0u8..8) {
        let entropy = Entropy::seeded(seed);
        let disk = SimDisk::new(&entropy);
        prop_assert!(Cookie::read(&disk).unwrap().is_none());
        let made = Cookie::create(&disk, &entropy).unwrap();
        prop_assert_ne!(made.node, NodeId(0));
        prop_assert_eq!(Cookie::read(&disk).unwrap(), Some(made));
        prop_assert!(disk.rot("cookie", at, 1u8 << bit));
        prop_assert!(Cookie::read(&disk).is_err());
    }
}
