//! Bits that flip on a disk, and what the disk held before.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use tidemark_journal::{ExtentId, Frame, FrameKind, Inventory, ReadFrames, Replica};
use tidemark_lognode::Disk;
use tidemark_lognode::sim::SimDisk;
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

/// The frames of every extent of the first machine.
#[derive(Debug, Default)]
pub(crate) struct Stored(BTreeMap<ExtentId, Vec<Frame>>);

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
        let frames = self.0.get(&extent).into_iter().flatten();
        let lost = frames.filter(|f| f.lsn >= from && to.is_none_or(|to| f.lsn < to));
        let parts = lost.flat_map(|f| &f.body.parts);
        parts
            .filter_map(|p| p.bytes.get(tidemark_records::PREFIX_BYTES..).map(|_| p))
            .map(|p| p.bytes.slice(tidemark_records::PREFIX_BYTES..))
            .collect()
    }

    /// The newest extent of each shard.
    fn newest(&self) -> BTreeMap<ShardId, &Vec<Frame>> {
        let each = self.0.iter().filter(|(_, frames)| !frames.is_empty());
        each.map(|(id, frames)| (id.shard, frames)).collect()
    }
}

/// Everything the first machine's log node holds.
pub(crate) async fn stored(world: &World) -> Stored {
    let tap = &world.machines[0].tap;
    let mut all = BTreeMap::new();
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
        all.insert(info.extent, frames);
    }
    Stored(all)
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
        let skipped =
            prefix.len()..prefix.len() + frame.body.parts.first().map_or(0, |p| p.skip as usize);
        let inside = usize::try_from(world.entropy.below(frame.encoded_len() as u64)).ok()?;
        let inside = if skipped.contains(&inside) { 0 } else { inside };
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

fn find(disk: &SimDisk, needle: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    disk.files().into_iter().find_map(|(name, bytes)| {
        let file = disk.open(&name).ok()?;
        let content = file.read_at(0, usize::try_from(bytes).ok()?).ok()?.to_vec();
        let at = position(&content, needle)?;
        Some((name, content, at))
    })
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
