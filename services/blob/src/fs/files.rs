//! The blocking half: what is done to files, in which order.
//!
//! # Crash consistency
//! Bytes and trailer are written and synced under a temporary name, then linked (or renamed) to their own, then every
//! folder from there up to the root is synced: also those that another put has just made and not synced yet.
//! A crash before leaves a temporary file, which the next open deletes.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tidemark_direct::{self as direct, Gather, Memory};

use super::trailer::{TRAILER_BYTES, Trailer};
use crate::{BlobInfo, BlobKey, Put, PutMode};

/// Folder for files that are being written; no key begins with a dot.
pub(super) const TEMPORARY: &str = ".tmp";
/// Bytes written between syncs: bounds what the kernel has to write at once, beside the write-ahead log.
const SYNC_BYTES: u64 = 8 << 20;
/// Objects from this size on are written past the page cache.
const DIRECT_BYTES_MIN: u64 = 64 << 10;

/// What a step did to the put it is of.
#[derive(Debug)]
pub(super) enum PutFailure {
    /// Nothing was linked.
    Nothing(io::Error),
    /// Linked, but perhaps not durably.
    Unknown(io::Error),
    /// Another put's object is there.
    Exists,
}

/// What reading found.
#[derive(Debug)]
pub(super) enum ReadFailure {
    Io(io::Error),
    /// The file has no trailer or one that disagrees with its size.
    Damaged(String),
    /// The range passes the object's end.
    Beyond(u64),
}

impl From<io::Error> for ReadFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The folder. Methods block.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    counter: AtomicU64,
    /// Read: a put counts on the folders it has found or made. Written: one that is empty is removed.
    folders: RwLock<()>,
    gather: Gather,
    /// Without slabs: chunks that readers keep would leave a quarter of each unused.
    memory: Memory,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            counter: AtomicU64::new(0),
            folders: RwLock::new(()),
            gather: Gather::new(Memory::new(1)),
            memory: Memory::new(0),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the folder is still ours: a mount that went away takes this with it.
    pub(super) fn is_there(&self) -> bool {
        self.root.join(TEMPORARY).is_dir()
    }

    /// Makes the folder and deletes what a crash left half-written. How many there were.
    pub(super) fn prepare(&self) -> io::Result<usize> {
        let temporary = self.root.join(TEMPORARY);
        std::fs::create_dir_all(&temporary)?;
        let mut leftovers = 0;
        for entry in std::fs::read_dir(&temporary)? {
            std::fs::remove_file(entry?.path())?;
            leftovers += 1;
        }
        sync_folder(&self.root)?;
        Ok(leftovers)
    }

    fn path(&self, key: &BlobKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    pub(super) fn put(&self, put: &Put) -> Result<(), PutFailure> {
        let path = self.path(&put.key);
        if put.mode == PutMode::IfAbsent && self.is_of(put, &path)? {
            return self.sync_upward(&path).map_err(PutFailure::Unknown);
        }
        let temporary = self.write_temporary(put).map_err(PutFailure::Nothing)?;
        while !self.place(put, &temporary, &path)? {}
        self.sync_upward(&path).map_err(PutFailure::Unknown)
    }

    /// Gives the written file its name. `false`: another's object was there, and is deleted by now.
    fn place(&self, put: &Put, temporary: &Temporary, path: &Path) -> Result<bool, PutFailure> {
        let _folders = self.folders.read();
        self.make_folders(path).map_err(PutFailure::Nothing)?;
        let placed = match put.mode {
            PutMode::IfAbsent => std::fs::hard_link(&temporary.0, path),
            PutMode::Replace => std::fs::rename(&temporary.0, path),
        };
        match placed {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => self.is_of(put, path),
            Err(e) => Err(PutFailure::Nothing(e)),
        }
    }

    /// Makes the folders that `path` stands in. Never the root: where it went away (a mount, a folder that was moved), one made
    /// anew would pass for an empty bucket.
    pub(super) fn make_folders(&self, path: &Path) -> io::Result<()> {
        let inside = path.ancestors().skip(1).take_while(|f| *f != self.root);
        let missing: Vec<&Path> = inside.take_while(|folder| !folder.is_dir()).collect();
        for folder in missing.into_iter().rev() {
            match std::fs::create_dir(folder) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                made => made?,
            }
        }
        Ok(())
    }

    /// Whether the object at `path` is this very put's. Another's is a failure.
    fn is_of(&self, put: &Put, path: &Path) -> Result<bool, PutFailure> {
        match open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(PutFailure::Nothing(e)),
            Ok(file) => match trailer(&file) {
                Ok(found) if found.put == put.id => Ok(true),
                _ => Err(PutFailure::Exists),
            },
        }
    }

    fn write_temporary(&self, put: &Put) -> io::Result<Temporary> {
        let name = format!(
            "{}-{}",
            put.id,
            self.counter.fetch_add(1, Ordering::Relaxed)
        );
        let path = self.root.join(TEMPORARY).join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        let temporary = Temporary(path);
        let trailer = Trailer {
            put: put.id,
            bytes: put.body.len(),
        };
        if put.body.len() < DIRECT_BYTES_MIN
            || write_direct(&self.gather, &file, put, trailer).is_err()
        {
            // A direct write that failed is no loss: what it wrote is overwritten. Not every file system has them.
            write_cached(&file, put, trailer)?;
        }
        file.sync_all()?;
        Ok(temporary)
    }

    fn sync_upward(&self, path: &Path) -> io::Result<()> {
        for folder in path.ancestors().skip(1) {
            // A neighbour's delete may have removed the folder of a put that lost its race: nothing to sync there.
            match sync_folder(folder) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            if folder == self.root {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, key: &BlobKey, start: u64, len: usize) -> Result<Bytes, ReadFailure> {
        let file = open(&self.path(key))?;
        let trailer = trailer(&file)?;
        if start.saturating_add(len as u64) > trailer.bytes {
            return Err(ReadFailure::Beyond(trailer.bytes));
        }
        if len >= direct::READ_BYTES_MIN
            && let Ok(past_cache) = direct::reopen(&file)
            && let Ok(bytes) = direct::read_at(&self.memory, &past_cache, start, len)
            && bytes.len() == len
        {
            return Ok(bytes);
        }
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }

    pub(super) fn info(&self, key: &BlobKey) -> Result<BlobInfo, ReadFailure> {
        let file = open(&self.path(key))?;
        Ok(BlobInfo {
            bytes: trailer(&file)?.bytes,
            modified_ms: super::walk::modified_ms(&file.metadata()?),
        })
    }

    /// Deletes durably, then removes folders that are left empty.
    pub(super) fn delete(&self, key: &BlobKey) -> io::Result<()> {
        let path = self.path(key);
        match std::fs::remove_file(&path) {
            Err(e) if !is_absent(&e) => return Err(e),
            _ => {}
        }
        let mut folders = path.ancestors().skip(1).take_while(|f| *f != self.root);
        match path.parent().map(sync_folder) {
            Some(Err(e)) if !is_absent(&e) => return Err(e),
            _ => {}
        }
        let _folders = self.folders.write();
        // Refused when not empty, as it should be.
        while folders
            .next()
            .is_some_and(|folder| std::fs::remove_dir(folder).is_ok())
        {}
        Ok(())
    }
}

/// A file of [`TEMPORARY`], deleted when dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Renamed away, or deleted by the next open.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes object and trailer past the page cache: the bytes are not copied into memory that is wanted for others, and
/// the processor spends a third of the time.
fn write_direct(gather: &Gather, file: &File, put: &Put, trailer: Trailer) -> io::Result<()> {
    let (trailer, padding) = (trailer.encode(), [0; direct::ALIGN]);
    let bytes = put.body.len() + TRAILER_BYTES as u64;
    let missing = bytes.next_multiple_of(direct::ALIGN as u64) - bytes;
    let missing = usize::try_from(missing).expect("less than a block");
    let parts = put.body.chunks().iter().map(|c| &c[..]);
    let parts = parts.chain([&trailer[..], &padding[..missing]]);
    let slices: Vec<IoSlice<'_>> = parts.map(IoSlice::new).collect();
    gather.write_at(&direct::reopen(file)?, 0, &slices)?;
    file.set_len(bytes)
}

/// As [`write_direct`], through the page cache.
fn write_cached(mut file: &File, put: &Put, trailer: Trailer) -> io::Result<()> {
    file.set_len(0)?;
    let mut unsynced = 0;
    for chunks in put.body.chunks().chunks(256) {
        let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|c| IoSlice::new(c)).collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let written = match file.write_vectored(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            IoSlice::advance_slices(&mut left, written);
            unsynced += written as u64;
            if unsynced >= SYNC_BYTES {
                file.sync_data()?;
                unsynced = 0;
            }
        }
    }
    file.write_all(&trailer.encode())
}

fn trailer(file: &File) -> Result<Trailer, ReadFailure> {
    let held = file.metadata()?.len();
    let damaged = || ReadFailure::Damaged(format!("a file of {held} bytes without its trailer"));
    let bytes = held.checked_sub(TRAILER_BYTES as u64).ok_or_else(damaged)?;
    let mut encoded = [0; TRAILER_BYTES];
    file.read_exact_at(&mut encoded, bytes)?;
    Trailer::decode(&encoded)
        .filter(|t| t.bytes == bytes)
        .ok_or_else(damaged)
}

/// Whether it says that no object is there: no such file, or a folder where one would be.
pub(super) fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(
        error.kind(),
        E::NotFound | E::NotADirectory | E::IsADirectory
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the room for the files of objects"
)]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    open(folder)?.sync_all()
}
