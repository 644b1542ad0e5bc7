//! What the node holds: fences per shard, extents, and where their frames lie.
//!
//! # Consistency
//! Only the writer changes it, entry by entry, after the block with the entry was synced; replay applies the
//! same entries in the same order. Readers see it behind a lock.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use tidemark_journal::{ExtentId, ExtentInfo, Inventory};
use tidemark_runtime::{Invariant, check_invariant};
use tidemark_types::{Epoch, ExtentIdx, Lsn, ShardId};

use crate::format::{Entry, EntryKind, Position};

/// A point of the sparse index for at least this many bytes of an extent's frames, a point of its own for each frame that
/// is so large …
pub(crate) const POINT_EVERY_BYTES: u64 = 64 << 10;
/// … or when this many bytes of the segment lie between. At 24 B a point that is 0.04 % of the frames, twice as
/// much where small ones follow large ones, plus 16 points per (live extent, 64 MiB segment).
const POINT_EVERY_WAL_BYTES: u64 = 4 << 20;

/// The node's state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct State {
    pub(crate) shards: BTreeMap<ShardId, Shard>,
    pub(crate) extents: BTreeMap<ExtentId, Extent>,
    /// Damage below the synced mark may have held anything: opens and fences too (J5). Names file and range.
    pub(crate) doubt: Option<String>,
    /// Number of live extents with frames in a segment; a segment that is not here can be recycled.
    pub(crate) frames_in: BTreeMap<u64, u32>,
}

/// A shard on this disk. It outlives its extents (J4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shard {
    pub(crate) fence: Epoch,
    pub(crate) trust: Trust,
}

/// What can be believed about a shard after damage that may have held fences and opens ([`State::doubt`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Trust {
    /// The fence may have been higher: nothing is accepted until a fence came.
    #[default]
    None,
    /// Fenced since; an unknown extent may have been opened once.
    Fenced,
    /// Unknown extents from this one on were never opened.
    From(ExtentIdx),
}

/// An extent that was opened here and not released.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub(crate) first: Lsn,
    /// Durable end, exclusive; contiguous from `first`.
    pub(crate) end: Lsn,
    /// CRC of the frame before `end`, 0 for none.
    pub(crate) last_crc: u32,
    /// The epoch all its frames carry, once there is one (J7).
    pub(crate) writer: Option<Epoch>,
    /// The epoch of the open.
    pub(crate) opened: Epoch,
    pub(crate) bytes: u64,
    pub(crate) limbo: Option<Limbo>,
    /// Ordered by LSN and so by segment.
    pub(crate) pieces: Vec<Piece>,
}

/// The node cannot vouch for the extent from here on (J5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Limbo {
    pub(crate) from: Lsn,
    pub(crate) why: String,
}

/// An extent's frames in one segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) segment: u64,
    pub(crate) end: Lsn,
    pub(crate) bytes: u64,
    pub(crate) unindexed_bytes: u64,
    /// Never empty; the first is the piece's first frame.
    pub(crate) points: Vec<Point>,
}

/// A frame and the offset of its block in the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Point {
    pub(crate) lsn: Lsn,
    pub(crate) offset: u64,
    /// The frame itself when it is large, unless the point is from a closed segment's index, which does not tell.
    pub(crate) body: Option<Body>,
}

/// Where in its block a frame lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Body {
    /// From the start of the block, behind its header.
    skip: NonZeroU32,
    pub(crate) bytes: u32,
}

impl Point {
    /// Offset in the segment and length of the frame.
    pub(crate) fn span(&self) -> Option<(u64, u32)> {
        let body = self.body?;
        Some((self.offset + u64::from(body.skip.get()), body.bytes))
    }
}

impl Piece {
    /// Whether at least half of what the segment holds between the piece's ends are its frames, as far as the index knows.
    pub(crate) fn is_dense(&self) -> bool {
        let first = self.points.first().map_or(0, |p| p.offset);
        let last = self.points.last().map_or(0, |p| p.offset);
        self.bytes.saturating_mul(2) >= last - first
    }
}

impl Extent {
    pub(crate) fn opened(first: Lsn, opened: Epoch) -> Self {
        Self {
            first,
            end: first,
            last_crc: 0,
            writer: None,
            opened,
            bytes: 0,
            limbo: None,
            pieces: Vec::new(),
        }
    }

    pub(crate) fn inventory(&self) -> Inventory {
        match &self.limbo {
            Some(limbo) => Inventory::Limbo {
                from: limbo.from,
                why: limbo.why.clone(),
            },
            None => Inventory::Held {
                first: self.first,
                end: self.end,
            },
        }
    }

    /// End of what can be read, exclusive.
    pub(crate) fn readable_end(&self) -> Lsn {
        self.limbo
            .as_ref()
            .map_or(self.end, |l| self.end.min(l.from))
    }

    /// Sets the limbo, or moves it down.
    pub(crate) fn doubt_from(&mut self, from: Lsn, why: &str) {
        if self.limbo.as_ref().is_none_or(|l| from < l.from) {
            let why = why.to_owned();
            self.limbo = Some(Limbo { from, why });
        }
    }

    /// Records the place of a frame in the block at `at`, its body at `body` of the segment. `true`: the extent's first in
    /// that segment.
    pub(crate) fn place(&mut self, entry: &Entry, at: Position, body: u64) -> bool {
        let bytes = u64::from(entry.bytes);
        let (lsn, offset) = (entry.lsn, at.offset);
        // Found by a point of its own.
        let is_large = bytes >= POINT_EVERY_BYTES;
        let skip = u32::try_from(body - offset).ok().and_then(NonZeroU32::new);
        let body = skip.filter(|_| is_large).map(|skip| Body {
            skip,
            bytes: entry.bytes,
        });
        let point = Point { lsn, offset, body };
        if let Some(piece) = self.pieces.last_mut().filter(|p| p.segment == at.segment) {
            let last = piece.points.last().map_or(0, |p| p.offset);
            let due = piece.unindexed_bytes >= POINT_EVERY_BYTES
                || offset - last >= POINT_EVERY_WAL_BYTES;
            if is_large || due && offset != last {
                piece.points.push(point);
                piece.unindexed_bytes = 0;
            }
            piece.end = lsn.next();
            piece.bytes += bytes;
            piece.unindexed_bytes += bytes;
            return false;
        }
        self.pieces.push(Piece {
            segment: at.segment,
            end: lsn.next(),
            bytes,
            unindexed_bytes: bytes,
            points: vec![point],
        });
        true
    }
}

impl State {
    pub(crate) fn fence(&self, shard: ShardId) -> Epoch {
        self.shards.get(&shard).map_or(Epoch(0), |s| s.fence)
    }

    /// Whether damage may have swallowed a fence of the shard, with the reason.
    pub(crate) fn distrust(&self, shard: ShardId) -> Option<&str> {
        let trust = self.shards.get(&shard).map(|s| s.trust).unwrap_or_default();
        self.doubt.as_deref().filter(|_| trust == Trust::None)
    }

    /// The inventory of an extent, known or not.
    pub(crate) fn inventory(&self, extent: ExtentId) -> Inventory {
        if let Some(held) = self.extents.get(&extent) {
            return held.inventory();
        }
        let trust = self.shards.get(&extent.shard).map(|s| s.trust);
        let never = matches!(trust, Some(Trust::From(index)) if extent.index >= index);
        match &self.doubt {
            // J5: it may have been opened, and written, in what is damaged. Breaks:
            // a_newest_segment_without_its_first_block_is_damage_not_emptiness.
            Some(why) if !never => Inventory::Limbo {
                from: Lsn(0),
                why: why.clone(),
            },
            _ => Inventory::Absent,
        }
    }

    pub(crate) fn infos(&self) -> Vec<ExtentInfo> {
        let info = |(id, extent): (&ExtentId, &Extent)| ExtentInfo {
            extent: *id,
            inventory: extent.inventory(),
            bytes: extent.bytes,
        };
        self.extents.iter().map(info).collect()
    }

    /// Applies a durable entry of the block at `at`, its body at `body` of the segment. The writer epoch of a frame is the
    /// entry's.
    pub(crate) fn apply(&mut self, entry: &Entry, at: Position, body: u64) {
        match entry.kind {
            EntryKind::Open => {
                let opened = Extent::opened(entry.lsn, entry.epoch);
                self.extents.entry(entry.extent).or_insert(opened);
                if let Some(shard) = self.shards.get_mut(&entry.extent.shard)
                    && shard.trust == Trust::Fenced
                {
                    shard.trust = Trust::From(entry.extent.index);
                }
            }
            EntryKind::Fence => {
                let shard = self.shards.entry(entry.extent.shard).or_default();
                check_invariant!(
                    Invariant::FenceMonotonic,
                    shard.fence <= entry.epoch,
                    "fence {} of shard {} after {}",
                    entry.epoch,
                    entry.extent.shard,
                    shard.fence
                );
                shard.fence = shard.fence.max(entry.epoch);
                if shard.trust == Trust::None {
                    shard.trust = Trust::Fenced;
                }
            }
            EntryKind::Release => self.forget(entry.extent),
            EntryKind::Frame => self.frame(entry, at, body),
            EntryKind::Checkpoint | EntryKind::Index => {}
        }
    }

    fn frame(&mut self, entry: &Entry, at: Position, body: u64) {
        let Some(extent) = self.extents.get_mut(&entry.extent) else {
            return;
        };
        extent.bytes += u64::from(entry.bytes);
        if extent.place(entry, at, body) {
            *self.frames_in.entry(at.segment).or_default() += 1;
        }
        if entry.lsn == extent.end {
            extent.end = entry.lsn.next();
            extent.last_crc = entry.crc;
            extent.writer = Some(entry.epoch);
        }
    }

    /// J4: the shard and its fence stay. Breaks: `a_fence_stops_older_epochs_and_outlives_release_and_crash`.
    fn forget(&mut self, extent: ExtentId) {
        let pieces = self.extents.remove(&extent).map(|e| e.pieces);
        for piece in pieces.unwrap_or_default() {
            if let Some(count) = self.frames_in.get_mut(&piece.segment) {
                *count -= 1;
                if *count == 0 {
                    self.frames_in.remove(&piece.segment);
                }
            }
        }
    }

    /// Adds a closed segment's part of an extent, in the order of segments.
    pub(crate) fn add_piece(&mut self, id: ExtentId, piece: Piece) {
        if let Some(extent) = self.extents.get_mut(&id) {
            *self.frames_in.entry(piece.segment).or_default() += 1;
            extent.pieces.push(piece);
        }
    }

    /// Every extent's part of one segment.
    pub(crate) fn pieces_of(&self, segment: u64) -> impl Iterator<Item = (ExtentId, &Piece)> {
        self.extents.iter().flat_map(move |(id, extent)| {
            let in_it = extent.pieces.iter().filter(move |p| p.segment == segment);
            in_it.map(|piece| (*id, piece))
        })
    }
}
