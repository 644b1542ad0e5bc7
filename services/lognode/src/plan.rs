//! Decides what a group commit accepts. Nothing here writes: a plan is an overlay over the durable state and
//! the block that would make it durable.

use std::collections::BTreeMap;

use tidemark_journal::{
    Append, Appended, ExtentId, Fence, Fenced, Frame, Inventory, OpenExtent, Release, ReplicaError,
};
use tidemark_types::{Epoch, Lsn, ShardId};

use crate::format::{BlockBuilder, Entry, EntryKind};
use crate::state::{Extent, State};

/// The part of an extent that appends change.
#[derive(Clone, Copy, Debug)]
struct Tail {
    first: Lsn,
    end: Lsn,
    last_crc: u32,
    writer: Option<Epoch>,
    opened: Epoch,
}

impl From<&Extent> for Tail {
    fn from(extent: &Extent) -> Self {
        Self {
            first: extent.first,
            end: extent.end,
            last_crc: extent.last_crc,
            writer: extent.writer,
            opened: extent.opened,
        }
    }
}

/// CRC of a held frame, from disk. `None`: it is not durable yet, so it is in this group.
pub(crate) type StoredCrc<'a> = &'a dyn Fn(ExtentId, Lsn) -> Result<Option<u32>, ReplicaError>;

/// What becomes of a request.
pub(crate) enum Verdict<T> {
    /// Answer this once the group is synced.
    Answer(Result<T, ReplicaError>),
    /// Commit the group first, then ask again.
    Flush,
}

/// A group being gathered.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) block: BlockBuilder,
    fences: BTreeMap<ShardId, Epoch>,
    /// Changed extents; `None`: released.
    tails: BTreeMap<ExtentId, Option<Tail>>,
}

impl Plan {
    fn fence_of(&self, state: &State, shard: ShardId) -> Epoch {
        let staged = self.fences.get(&shard).copied();
        staged.unwrap_or_else(|| state.fence(shard))
    }

    fn tail(&self, state: &State, extent: ExtentId) -> Option<Tail> {
        match self.tails.get(&extent) {
            Some(staged) => *staged,
            None => state.extents.get(&extent).map(Tail::from),
        }
    }

    fn record(&mut self, kind: EntryKind, extent: ExtentId, lsn: Lsn, epoch: Epoch) {
        let entry = Entry {
            kind,
            extent,
            lsn,
            epoch,
            bytes: 0,
            crc: 0,
        };
        self.block.push(entry, []);
    }

    /// J3, J4: refuses what is below the fence, or everything while damage may have swallowed the fence.
    /// Breaks: `a_fence_stops_older_epochs_and_outlives_release_and_crash`, and without the second half
    /// `a_lost_block_puts_whatever_may_have_been_in_it_in_limbo`.
    pub(crate) fn authorize(
        &self,
        state: &State,
        what: &'static str,
        extent: ExtentId,
        epoch: Epoch,
    ) -> Result<(), ReplicaError> {
        let fence = self.fence_of(state, extent.shard);
        if fence > epoch {
            return Err(ReplicaError::Fenced { what, fence });
        }
        match state.distrust(extent.shard) {
            Some(why) if !self.fences.contains_key(&extent.shard) => Err(ReplicaError::Damaged {
                extent,
                from: Lsn(0),
                why: why.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn open(&mut self, state: &State, r: &OpenExtent) -> Result<(), ReplicaError> {
        self.authorize(state, "open extent", r.extent, r.epoch)?;
        if let Some(tail) = self.tail(state, r.extent) {
            if tail.opened == r.epoch && tail.first == r.first_lsn {
                return Ok(());
            }
            let why = format!(
                "opened before at lsn {} by epoch {}",
                tail.first, tail.opened
            );
            let extent = r.extent;
            return Err(ReplicaError::BadFrame { extent, why });
        }
        let tail = Tail::from(&Extent::opened(r.first_lsn, r.epoch));
        self.tails.insert(r.extent, Some(tail));
        self.record(EntryKind::Open, r.extent, r.first_lsn, r.epoch);
        Ok(())
    }

    pub(crate) fn release(&mut self, state: &State, r: &Release) -> Result<(), ReplicaError> {
        self.authorize(state, "release extent", r.extent, r.epoch)?;
        if self.tail(state, r.extent).is_some() {
            // J4: the shard's fence stays; only a new open makes the extent again.
            self.tails.insert(r.extent, None);
            self.record(EntryKind::Release, r.extent, Lsn(0), r.epoch);
        }
        Ok(())
    }

    pub(crate) fn fence(&mut self, state: &State, r: &Fence) -> Result<Fenced, ReplicaError> {
        let (what, fence) = ("fence", self.fence_of(state, r.extent.shard));
        if fence > r.epoch {
            return Err(ReplicaError::Fenced { what, fence });
        }
        let known = fence == r.epoch && state.distrust(r.extent.shard).is_none();
        if !known && self.fences.get(&r.extent.shard) != Some(&r.epoch) {
            self.fences.insert(r.extent.shard, r.epoch);
            self.record(EntryKind::Fence, r.extent, Lsn(0), r.epoch);
        }
        let inventory = match self.tails.get(&r.extent) {
            None => state.inventory(r.extent),
            Some(None) => Inventory::Absent,
            Some(Some(tail)) => Inventory::Held {
                first: tail.first,
                end: tail.end,
            },
        };
        let epoch = r.epoch;
        Ok(Fenced { epoch, inventory })
    }

    pub(crate) fn append(
        &mut self,
        state: &State,
        r: &Append,
        stored: StoredCrc<'_>,
    ) -> Verdict<Appended> {
        let tail = match self.admit(state, r) {
            Ok(tail) => tail,
            Err(error) => return Verdict::Answer(Err(error)),
        };
        let held = match overlap(tail, r, stored) {
            Ok(Some(held)) => held,
            Ok(None) => return Verdict::Flush,
            Err(error) => return Verdict::Answer(Err(error)),
        };
        let mut tail = tail;
        for frame in &r.frames[held..] {
            if frame.lsn != tail.end || frame.prev_crc != tail.last_crc {
                let (extent, got, expected) = (r.extent, frame.lsn, tail.end);
                return Verdict::Answer(Err(ReplicaError::Gap {
                    extent,
                    got,
                    expected,
                }));
            }
            tail.end = frame.lsn.next();
            tail.last_crc = frame.crc;
            tail.writer = Some(frame.writer_epoch);
        }
        for frame in &r.frames[held..] {
            self.block.push(frame_entry(frame), frame.chunks());
        }
        self.tails.insert(r.extent, Some(tail));
        // J3: the append's epoch, not its frames'. Breaks: an_ack_names_its_append_and_an_extent_has_one_writer.
        let (epoch, end) = (r.epoch, tail.end);
        Verdict::Answer(Ok(Appended { epoch, end }))
    }

    /// Checks the authority, that the extent is open, and that every frame is what it says.
    fn admit(&self, state: &State, r: &Append) -> Result<Tail, ReplicaError> {
        self.authorize(state, "append", r.extent, r.epoch)?;
        let tail = self.tail(state, r.extent);
        // J4: an append never creates an extent. Breaks: only_an_open_makes_an_extent.
        let tail = tail.ok_or(ReplicaError::NoSuchExtent(r.extent))?;
        if let Some(limbo) = state.extents.get(&r.extent).and_then(|e| e.limbo.as_ref()) {
            return Err(ReplicaError::Damaged {
                extent: r.extent,
                from: limbo.from,
                why: limbo.why.clone(),
            });
        }
        let bad = |why: String| {
            let extent = r.extent;
            Err(ReplicaError::BadFrame { extent, why })
        };
        let mut writer = tail.writer;
        for frame in &r.frames {
            let lsn = frame.lsn;
            if frame.extent != r.extent {
                return bad(format!("frame {lsn} is of {}", frame.extent));
            }
            if frame.writer_epoch > r.epoch {
                return bad(format!("frame {lsn} is of a later epoch than its append"));
            }
            // J7: one extent, one writer epoch. Breaks: an_ack_names_its_append_and_an_extent_has_one_writer.
            if *writer.get_or_insert(frame.writer_epoch) != frame.writer_epoch {
                return bad(format!(
                    "frame {lsn} is of another writer epoch than the extent"
                ));
            }
            if lsn < tail.first {
                return bad(format!(
                    "frame {lsn} is below the extent's first, {}",
                    tail.first
                ));
            }
        }
        for pair in r.frames.windows(2) {
            if pair[1].lsn != pair[0].lsn.next() || pair[1].prev_crc != pair[0].crc {
                return bad(format!(
                    "frame {} does not follow the one before",
                    pair[1].lsn
                ));
            }
        }
        Ok(tail)
    }
}

/// How many of the frames are held already. They must be the held ones (J7). `None`: ask again when the
/// group is durable.
fn overlap(tail: Tail, r: &Append, stored: StoredCrc<'_>) -> Result<Option<usize>, ReplicaError> {
    let held = r.frames.iter().take_while(|f| f.lsn < tail.end).count();
    let Some(last) = held.checked_sub(1).map(|i| &r.frames[i]) else {
        return Ok(Some(0));
    };
    // Each frame names the CRC of the one before, so equality of the last proves the others.
    let crc = if last.lsn.next() == tail.end {
        tail.last_crc
    } else {
        match stored(r.extent, last.lsn)? {
            Some(crc) => crc,
            None => return Ok(None),
        }
    };
    // J7. Breaks: a_verbatim_reappend_is_idempotent_and_other_bytes_are_refused.
    if crc != last.crc {
        let extent = r.extent;
        let why = format!("frame {} is held with other bytes", last.lsn);
        return Err(ReplicaError::BadFrame { extent, why });
    }
    Ok(Some(held))
}

fn frame_entry(frame: &Frame) -> Entry {
    Entry {
        kind: EntryKind::Frame,
        extent: frame.extent,
        lsn: frame.lsn,
        epoch: frame.writer_epoch,
        bytes: u32::try_from(frame.encoded_len()).expect("bounded by FRAME_BYTES_MAX"),
        crc: frame.crc,
    }
}
