//! Recovery: what a disk holds, from its last checkpoint and the blocks behind it.
//!
//! # Crash consistency
//! A bad block that a later block's mark proves to have been synced is damage: limbo (J5). One without that
//! proof was never acked on the strength of a mark; it is the torn tail and is cut. Residual risk, by design:
//! the very last block, synced and acked, then rotted before the idle mark was written, looks torn.

mod index;
mod replay;

use std::collections::BTreeMap;

use crate::OpenError;
use crate::damage::Damage;
use crate::disk::Disk;
use crate::format::Position;
use crate::segments::{Closed, Pool, Slot, file_number};
use crate::state::State;
use crate::survey::{Base, Content, base, survey};
use crate::view::SegmentFile;
use replay::Replay;

/// What recovery found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) files: BTreeMap<u64, SegmentFile>,
    pub(crate) pool: Pool,
    /// The segment to go on in, and where its next block goes. `None` on an empty disk.
    pub(crate) active: Option<(Slot, Position)>,
    /// Of the last block.
    pub(crate) sequence: u64,
    /// Files of another cookie.
    pub(crate) foreign: Vec<String>,
    /// Everything damaged.
    pub(crate) damage: Vec<Damage>,
    /// Bytes of closed segments that were to be verified but are beyond the budget.
    pub(crate) unverified_bytes: u64,
}

/// What of the closed segments is verified; the last segment always is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// Segments with frames of each shard's newest extent, newest first, up to this many bytes. What a
    /// takeover decides depends on those; older extents' ends are known above, and reads check them.
    Newest(u64),
    /// All.
    Everything,
}

impl Depth {
    fn bytes_max(self) -> u64 {
        match self {
            Self::Newest(bytes_max) => bytes_max,
            Self::Everything => u64::MAX,
        }
    }
}

/// Reads the disk; writes nothing.
///
/// # Errors
/// When files cannot be read or are of an unknown format. Damage is no error: it is in the result.
pub(crate) fn recover(disk: &dyn Disk, secret: u64, depth: Depth) -> Result<Recovered, OpenError> {
    let mut segments = BTreeMap::new();
    let mut pool = Pool::default();
    let mut foreign = Vec::new();
    for found in survey(disk, secret)? {
        let name = &found.slot.segment_file.name;
        pool.next_file = pool.next_file.max(file_number(name).unwrap_or(0));
        match found.content {
            Content::Foreign => foreign.push(name.to_string()),
            Content::Spare => pool.free.push(found.slot),
            Content::Segment(number) | Content::Headless(number, _) => {
                if let Some(other) = segments.insert(number, found.slot) {
                    pool.free.push(other);
                }
            }
        }
    }
    let newest = segments.last_key_value().map_or(0, |(number, _)| *number);
    pool.next_segment = newest + 1;
    let read = |e| OpenError::io(format!("recover the log node in {}", disk.folder()))(e);
    let base = newest_base(&segments, secret).map_err(read)?;
    let mut replay = Replay::new(secret, &segments);
    let mut live = Vec::new();
    if let Some((_, base)) = &base {
        live.clone_from(&base.checkpoint.segments);
        replay.load(&base.checkpoint).map_err(read)?;
    }
    let tail = replay.run(base.map(|(_, base)| base)).map_err(read)?;
    let unverified_bytes = replay.verify_closed(depth).map_err(read)?;
    let (state, sequence, damage) = replay.finish();
    let mut files = BTreeMap::new();
    let mut active = None;
    for (number, slot) in segments {
        let in_use = state.frames_in.contains_key(&number);
        let file = slot.segment_file.clone();
        if let Some(at) = tail.filter(|at| at.segment == number) {
            files.insert(number, file);
            active = Some((slot, at));
        } else if in_use {
            files.insert(number, file);
            let known = live.iter().find(|l| l.segment == number).copied();
            let live = known.unwrap_or(crate::format::LiveSegment {
                segment: number,
                index_at: 0,
                index_bytes: 0,
            });
            pool.closed.insert(number, Closed { slot, live });
        } else {
            pool.free.push(slot);
        }
    }
    Ok(Recovered {
        state,
        files,
        pool,
        active,
        sequence,
        foreign,
        damage,
        unverified_bytes,
    })
}

/// The newest segment whose checkpoint is intact.
fn newest_base(
    segments: &BTreeMap<u64, Slot>,
    secret: u64,
) -> std::io::Result<Option<(u64, Base)>> {
    for (number, slot) in segments.iter().rev() {
        if let Some(base) = base(slot, secret, *number)? {
            return Ok(Some((*number, base)));
        }
    }
    Ok(None)
}
