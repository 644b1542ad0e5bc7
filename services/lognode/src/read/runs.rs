//! Which stretches of a segment to read next.

use bytes::Bytes;
use tidemark_direct::ALIGN;
use tidemark_journal::{ExtentId, Frame};
use tidemark_types::{DecodeError, Lsn};

use super::gathered::Gathered;
use crate::format::Entry;
use crate::window::{frame, frame_at};

/// What lies between two frames is read with them up to here: a page, which the disk reads anyway.
const GAP_BYTES_MAX: usize = ALIGN;
/// A run of frames ends here: they share its memory, and one that is held longer holds all of it.
const RUN_BYTES_MAX: usize = 1 << 20;

/// A frame that is to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) lsn: Lsn,
    pub(super) bytes: u32,
    /// What its block says of it, where that was looked at.
    pub(super) entry: Option<Entry>,
}

impl Wanted {
    /// The frame out of the bytes that were read for it, checked in full.
    pub(super) fn check(&self, extent: ExtentId, body: &Bytes) -> Result<Frame, DecodeError> {
        match &self.entry {
            Some(entry) => frame(entry, body),
            None => frame_at((extent, self.lsn), body),
        }
    }
}

/// Frames that are read next.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) runs: Vec<Run>,
    pub(super) frame_bytes: usize,
    /// What follows on the last of them.
    next: Option<Lsn>,
}

/// Frames with little between them.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) offset: u64,
    pub(super) bytes: usize,
    /// Each with where its body begins in the run.
    pub(super) frames: Vec<(Wanted, usize)>,
}

impl Runs {
    pub(super) fn next_lsn(&self, out: &Gathered) -> Lsn {
        self.next.unwrap_or(out.next)
    }

    pub(super) fn add(&mut self, wanted: Wanted, offset: u64) {
        let bytes = wanted.bytes as usize;
        self.frame_bytes += bytes;
        self.next = Some(wanted.lsn.next());
        if let Some(last) = self.runs.last_mut()
            && let Ok(skip) = usize::try_from(offset - last.offset)
            && skip - last.bytes <= GAP_BYTES_MAX
            && skip + bytes <= RUN_BYTES_MAX
        {
            last.bytes = skip + bytes;
            last.frames.push((wanted, skip));
            return;
        }
        self.runs.push(Run {
            offset,
            bytes,
            frames: vec![(wanted, 0)],
        });
    }
}
