//! Frames that are found by the index alone.

use tidemark_types::Lsn;

use super::runs::Wanted;
use crate::state::Piece;

/// How far they reach.
pub(super) struct Known {
    /// What follows on them; `None`: some before it were not known, and so are all that come after.
    next: Option<Lsn>,
    bytes: usize,
    bytes_max: usize,
}

/// Those of one segment.
#[derive(Debug)]
pub(super) struct Found {
    /// Each with its offset in the segment.
    pub(super) frames: Vec<(Wanted, u64)>,
    /// The block of the last one: whoever reads on begins there.
    pub(super) block: u64,
    /// No more may be read.
    pub(super) full: bool,
}

impl Known {
    /// None yet, of a read from `next` on that may take `bytes_max`.
    pub(super) const fn from(next: Lsn, bytes_max: usize) -> Self {
        Self {
            next: Some(next),
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes frames of `piece` up to `end`, from the point at `first` on, as far as they are known.
    pub(super) fn take(&mut self, piece: &Piece, first: usize, end: Lsn) -> Found {
        let mut found = Found {
            frames: Vec::new(),
            block: piece.points[first].offset,
            full: false,
        };
        for point in &piece.points[first..] {
            let Some((offset, bytes)) = point.span() else {
                break;
            };
            if self.next != Some(point.lsn) || point.lsn >= end {
                break;
            }
            if self.bytes > 0 && bytes as usize > self.bytes_max.saturating_sub(self.bytes) {
                found.full = true;
                return found;
            }
            let wanted = Wanted {
                lsn: point.lsn,
                bytes,
                entry: None,
            };
            found.frames.push((wanted, offset));
            found.block = point.offset;
            self.bytes += bytes as usize;
            self.next = Some(point.lsn.next());
        }
        self.next = self.next.filter(|next| *next == end);
        if self.next.is_none() && piece.is_dense() {
            // Some are not known, and nearly all that lies there is wanted: reading through it is cheapest.
            found.frames.clear();
            found.block = piece.points[first].offset;
        }
        found
    }
}
