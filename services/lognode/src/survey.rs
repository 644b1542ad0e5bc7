//! What a folder holds before anything of it is believed.

use std::io;
use std::sync::Arc;

use crate::OpenError;
use crate::disk::Disk;
use crate::format::{BlockKind, Checkpoint, EntryKind, HeaderError, Position, VERSION};
use crate::segments::{Slot, file_number, is_unfinished};
use crate::view::SegmentFile;
use crate::window::{Window, checked};

const CHUNK_BYTES: usize = 1 << 20;

/// A segment file and what its blocks say it is.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) slot: Slot,
    pub(crate) content: Content,
}

/// What a file's blocks say it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// Prepared and never used, or nothing that was ever proven: free.
    Spare,
    /// The segment of this number; its first block's header is intact.
    Segment(u64),
    /// The first block is damaged, but intact blocks of this segment follow at this offset.
    Headless(u64, u64),
    /// Another disk's, or another life's of this one: the cookie was lost.
    Foreign,
}

/// A checkpoint, where its block ends, and its sequence.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) end: Position,
    pub(crate) sequence: u64,
}

/// Looks at every file. Reads a page of each, and more only of damaged ones.
pub(crate) fn survey(disk: &dyn Disk, secret: u64) -> Result<Vec<Found>, OpenError> {
    let folder = disk.folder();
    let names = disk
        .list()
        .map_err(OpenError::io(format!("list {folder}")))?;
    let mut found = Vec::new();
    for name in names {
        if file_number(&name).is_none() {
            continue;
        }
        let slot = open(disk, &name).map_err(OpenError::io(format!("read {folder}/{name}")))?;
        let mut window = Window::new(&*slot.segment_file.file, 4096);
        let first = window.first_header();
        let content = match first.map_err(OpenError::io(format!("read {folder}/{name}")))? {
            Err(HeaderError::Version(version)) => {
                let (file, known) = (format!("{folder}/{name}"), VERSION);
                return Err(OpenError::UnknownFormat {
                    file,
                    version,
                    known,
                });
            }
            Ok(header) if header.secret != secret => Content::Foreign,
            Ok(header) if header.kind == BlockKind::Spare => Content::Spare,
            Ok(header) if header.kind == BlockKind::First && header.at.offset == 0 => {
                Content::Segment(header.at.segment)
            }
            _ => headless(&slot, secret).map_err(OpenError::io(format!("read {folder}/{name}")))?,
        };
        found.push(Found { slot, content });
    }
    Ok(found)
}

/// Files that a crash left half prepared.
pub(crate) fn unfinished(disk: &dyn Disk) -> io::Result<Vec<String>> {
    let mut names = disk.list()?;
    names.retain(|name| is_unfinished(name));
    Ok(names)
}

fn open(disk: &dyn Disk, name: &str) -> io::Result<Slot> {
    let file = disk.open(name)?;
    // What is read from here on is what the disk holds, not what a failed sync left in the cache.
    file.drop_cache()?;
    let bytes = file.bytes()?;
    let name = Arc::from(name);
    let segment_file = SegmentFile { name, file };
    Ok(Slot {
        segment_file,
        bytes,
        written: 0,
    })
}

/// Looks for intact blocks behind a damaged first one. The highest segment counts: lower ones are of the
/// file's former life.
fn headless(slot: &Slot, secret: u64) -> io::Result<Content> {
    let mut window = Window::new(&*slot.segment_file.file, CHUNK_BYTES);
    let mut best: Option<(u64, u64)> = None;
    let mut offset = 0;
    while offset < slot.bytes {
        if let Some(header) = window.any_header(offset)?
            && header.secret == secret
            && header.at.offset == offset
            && best.is_none_or(|(segment, _)| header.at.segment > segment)
        {
            best = Some((header.at.segment, offset));
        }
        offset += crate::format::BLOCK_ALIGN;
    }
    Ok(best.map_or(Content::Spare, |(segment, at)| {
        Content::Headless(segment, at)
    }))
}

/// Reads a segment's checkpoint; `None` when its first block is damaged.
pub(crate) fn base(slot: &Slot, secret: u64, segment: u64) -> io::Result<Option<Base>> {
    let mut window = Window::new(&*slot.segment_file.file, 4096);
    let at = Position { segment, offset: 0 };
    let Some(block) = window.block(secret, at)? else {
        return Ok(None);
    };
    let Some((entry, offset)) = block.bodies().next() else {
        return Ok(None);
    };
    let body = window.body(entry, offset)?;
    let intact = checked(entry, EntryKind::Checkpoint, &body);
    let checkpoint = intact.and_then(|()| Checkpoint::decode(&body)).ok();
    Ok(checkpoint.map(|checkpoint| Base {
        checkpoint,
        end: Position {
            segment,
            offset: u64::from(block.header.block_bytes),
        },
        sequence: block.header.sequence,
    }))
}
