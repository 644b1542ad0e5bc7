//! Where extents' frames lie in a closed segment: from its index, or block by block when it has none.

use std::collections::BTreeMap;
use std::io;

use tidemark_types::Epoch;

use crate::damage::Damage;
use crate::format::{Entry, EntryKind, IndexPiece, LiveSegment, Position, decode_index};
use crate::scan::{Scan, Step};
use crate::segments::Slot;
use crate::state::Extent;
use crate::window::{Window, checked};

/// A segment's pieces and what was found damaged on the way.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) pieces: Vec<IndexPiece>,
    pub(super) damage: Vec<Damage>,
}

pub(super) fn pieces(slot: &Slot, secret: u64, live: LiveSegment) -> io::Result<Pieces> {
    if let Some(pieces) = indexed(slot, secret, live)? {
        let damage = Vec::new();
        return Ok(Pieces { pieces, damage });
    }
    walked(slot, secret, live.segment)
}

fn indexed(slot: &Slot, secret: u64, live: LiveSegment) -> io::Result<Option<Vec<IndexPiece>>> {
    if live.index_bytes == 0 {
        return Ok(None);
    }
    let chunk = usize::try_from(live.index_bytes.min(slot.bytes)).unwrap_or(4096);
    let mut window = Window::new(&*slot.segment_file.file, chunk);
    let at = Position {
        segment: live.segment,
        offset: live.index_at,
    };
    let Some(block) = window.block(secret, at)? else {
        return Ok(None);
    };
    let Some((entry, offset)) = block.bodies().next() else {
        return Ok(None);
    };
    let body = window.body(entry, offset)?;
    let intact = checked(entry, EntryKind::Index, &body);
    Ok(intact.and_then(|()| decode_index(&body, live.segment)).ok())
}

/// Reads only headers and tables. A piece ends where a frame is missing.
fn walked(slot: &Slot, secret: u64, segment: u64) -> io::Result<Pieces> {
    let mut out = Pieces::default();
    let mut extents: BTreeMap<_, Extent> = BTreeMap::new();
    let start = Position { segment, offset: 0 };
    let mut scan = Scan::new(&slot.segment_file, secret, start, 0);
    loop {
        match scan.step()? {
            Step::Block(block) => {
                let is_frame = |(entry, _): &(&Entry, u64)| entry.kind == EntryKind::Frame;
                for (entry, body) in block.bodies().filter(is_frame) {
                    let fresh = || Extent::opened(entry.lsn, Epoch(0));
                    let extent = extents.entry(entry.extent).or_insert_with(fresh);
                    if extent.pieces.last().is_none_or(|p| p.end == entry.lsn) {
                        extent.place(entry, block.header.at, body);
                    }
                }
            }
            Step::Damage(damage) => out.damage.push(damage),
            Step::End => break,
        }
    }
    let found = extents.into_iter();
    out.pieces = found
        .flat_map(|(id, extent)| extent.pieces.into_iter().map(move |piece| (id, piece)))
        .collect();
    Ok(out)
}
