//! Bits that flip on a disk, and what the disk held before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use tidemark_journal::{ExtentId, Frame, FrameKind, Inventory, ReadFrames, Replica};
use tidemark_lognode::Disk;
use tidemark_lognode::sim::SimDisk;
use tidemark_meta::keys::extent::{ExtentKey, ExtentState};
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_types::{Lsn, ShardId};

use crate::ledger::Body;
use crate::trace::note;
use crate::world::World;

/// Bytes of a disk's segment that hold this scenario's few seconds of work.
const WRITTEN: u64 = 96 << 10;
/// A WAL block begins at a multiple of this.
const PAGE: usize = 4 << 10;
/// How a WAL block's header begins.
const BLOCK_MAGIC: [u8; 4] = 0x7464_776c_u32.to_be_bytes();
const READ_BYTES: usize = 64 << 20;

/// The frames of every extent of a machine.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    frames: BTreeMap<ExtentId, Vec<Frame>>,
    /// The extents whose rows are open: what is in them a takeover must vouch for.
    open: BTreeSet<ExtentId>,
}

/// Where rot fell.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) extent: ExtentId,
    pub(crate) lsn: Lsn,
    /// Where what must be given up may begin: at the frame, or anywhere in its block when that has no header any more.
    pub(crate) may_begin: RangeInclusive<Lsn>,
}

impl Stored {
    /// The batches in a range of LSNs; without an end, up to the extent's.
    pub(crate) fn bodies(&self, extent: ExtentId, from: Lsn, to: Option<Lsn>) -> BTreeSet<Body> {
        let frames = self.frames.get(&extent).into_iter().flatten();
        let lost = frames.filter(|f| f.lsn >= from && to.is_none_or(|to| f.lsn < to));
        let parts = lost.flat_map(|f| &f.body.parts);
        parts
            .filter_map(|p| p.bytes.get(tidemark_records::PREFIX_BYTES..).map(|_| p))
            .map(|p| p.bytes.slice(tidemark_records::PREFIX_BYTES..))
            .collect()
    }

    /// The open extent of each shard, save those that hold nothing: a shard that waits for its log node has none else.
    fn newest(&self) -> BTreeMap<ShardId, &Vec<Frame>> {
        let open = self.frames.iter().filter(|(id, _)| self.open.contains(id));
        let each = open.filter(|(_, frames)| !frames.is_empty());
        each.map(|(id, frames)| (id.shard, frames)).collect()
    }
}

/// Everything that a machine's log node holds.
pub(crate) async fn stored(world: &World, machine: usize) -> Stored {
    let tap = world.machines[machine].tap();
    let mut all = Stored::default();
    for info in tap.extents().await.unwrap_or_default() {
        let Inventory::Held { first, end } = info.inventory else {
            continue;
        };
        let mut frames: Vec<Frame> = Vec::new();
        while let Some(from) = frames
            .last()
            .map_or(Some(first), |f| Some(f.lsn.next()))
            .filter(|at| *at < end)
        {
            let read = ReadFrames {
                extent: info.extent,
                from,
                end,
                bytes_max: READ_BYTES,
            };
            match tap.read(read).await {
                Ok(more) if !more.is_empty() => frames.extend(more),
                _ => break,
            }
        }
        all.frames.insert(info.extent, frames);
        let ExtentId { shard, index } = info.extent;
        let mut tx = world.sim.begin();
        let row = keys::get(tx.as_mut(), &ExtentKey { shard, index }, Mode::Snapshot).await;
        if matches!(row, Ok(Some(row)) if row.state == ExtentState::Open) {
            all.open.insert(info.extent);
        }
    }
    all
}

/// Flips a bit of a frame of some shard's newest extent, or of the header of its block.
pub(crate) fn newest(world: &World, stored: &Stored) -> Option<Hit> {
    let newest = stored.newest();
    let mut frames: Vec<&Frame> = newest.values().flat_map(|frames| frames.iter()).collect();
    if frames.iter().any(|f| f.body.kind == FrameKind::Data) {
        frames.retain(|f| f.body.kind == FrameKind::Data);
    }
    let pick = usize::try_from(world.entropy.below(frames.len() as u64)).ok()?;
    let frame = *frames.get(pick)?;
    let disk = world.machines[0].disk();
    let prefix = frame.chunks().next()?;
    let (name, content, at) = find(&disk, prefix)?;
    let bit = 1 << world.entropy.below(8);
    let header = world.entropy.below(3) == 0;
    let (from, rotted) = if header {
        let block = (0..=at / PAGE)
            .rev()
            .find(|page| content[page * PAGE..].starts_with(&BLOCK_MAGIC))?;
        let block = block * PAGE;
        // The block's other frames go with it.
        let first = newest[&frame.extent.shard].iter().find(|f| {
            f.chunks()
                .next()
                .and_then(|p| position(&content, p))
                .is_some_and(|at| at > block)
        })?;
        (first.lsn, block)
    } else {
        // Not in what no checksum covers, since the head tells it: a batch's first bytes.
        let mut part_at = prefix.len();
        let skipped: Vec<_> = frame
            .body
            .parts
            .iter()
            .map(|part| {
                let from = part_at;
                part_at += part.bytes.len();
                from..from + part.skip as usize
            })
            .collect();
        let inside = usize::try_from(world.entropy.below(frame.encoded_len() as u64)).ok()?;
        let covered = !skipped.iter().any(|range| range.contains(&inside));
        let inside = if covered { inside } else { 0 };
        (frame.lsn, at + inside)
    };
    let hit = disk.rot(&name, rotted as u64, bit);
    note!(
        world.trace,
        "rot at {rotted} of {name}, in {} lsn {}, header: {header}: {hit}",
        frame.extent,
        frame.lsn
    );
    Some(Hit {
        extent: frame.extent,
        lsn: frame.lsn,
        may_begin: from..=frame.lsn,
    })
}

/// Where bytes are on a disk: `None` when they are there twice, since a write that failed left some of them behind.
fn find(disk: &SimDisk, needle: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let mut found = disk.files().into_iter().filter_map(|(name, bytes)| {
        let file = disk.open(&name).ok()?;
        let content = file.read_at(0, usize::try_from(bytes).ok()?).ok()?.to_vec();
        let at = position(&content, needle)?;
        let again = position(&content[at + 1..], needle).is_some();
        Some((name, content, at, again))
    });
    let (name, content, at, again) = found.next()?;
    (!again && found.next().is_none()).then_some((name, content, at))
}

fn position(content: &[u8], needle: &[u8]) -> Option<usize> {
    content.windows(needle.len()).position(|w| w == needle)
}

/// Flips bits of one to three stored bytes.
pub(crate) fn anywhere(world: &World) {
    let disk = world.machines[0].disk();
    let segments: Vec<(String, u64)> = disk.files();
    let segments: Vec<_> = segments
        .iter()
        .filter(|(_, bytes)| *bytes >= WRITTEN)
        .collect();
    for _ in 0..=world.entropy.below(3) {
        let pick = world.entropy.below(segments.len() as u64);
        let Some((name, _)) = usize::try_from(pick).ok().and_then(|i| segments.get(i)) else {
            return;
        };
        let at = world.entropy.below(WRITTEN);
        let bit = 1 << world.entropy.below(8);
        let hit = disk.rot(name, at, bit);
        note!(world.trace, "rot at {at} of {name}: {hit}");
    }
}

/// Rots, on one machine, a frame of each shard's open extent that another machine lacks, and that a later block proves
/// synced (J5: rot in the last block is the risk that remains).
pub(crate) async fn open_extents(world: &World, machine: usize, behind: usize) {
    let (stored, other) = (stored(world, machine).await, stored(world, behind).await);
    let disk = world.machines[machine].disk();
    for frames in stored.newest().into_values() {
        let held = frames
            .first()
            .and_then(|f| other.frames.get(&f.extent))
            .map_or(0, Vec::len);
        let places: Vec<_> = frames
            .iter()
            .skip(held)
            .filter_map(|f| Some((f, find(&disk, f.chunks().next()?)?)))
            .collect();
        let Some((_, (last_name, _, last_at))) = places.last() else {
            continue;
        };
        let in_last = |name: &String, at: usize| name == last_name && at / PAGE >= last_at / PAGE;
        let proven = places
            .iter()
            .rev()
            .find(|(_, (name, _, at))| !in_last(name, *at));
        if let Some((frame, (name, _, at))) = proven {
            let hit = disk.rot(name, (at + 20) as u64, 1);
            note!(
                world.trace,
                "rot on machine {machine}: {} lsn {}: {hit}",
                frame.extent,
                frame.lsn
            );
        }
    }
}
