//! The seam below the WAL: one folder of files, synchronous.

mod file;

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use file::FileDisk;

/// A folder on one disk.
///
/// Guarantees:
/// 1. What was written is durable when a later [`DiskFile::sync`] of the file returned `Ok`, and its name
///    when a later [`Disk::sync_dir`] did. Before that a crash keeps any subset of it, sector by sector.
/// 2. After an `Err` from a sync nothing is known about what was written before it; callers never retry it.
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Names of the files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `bytes` bytes with its space reserved; reads as zeros. Refused when the name exists.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// Whether calls block on a device. If not, the node runs on the caller's runtime, without threads.
    fn blocks(&self) -> bool {
        true
    }

    /// How long a simulated disk wants the next group to wait.
    fn stall(&self) -> Duration {
        Duration::ZERO
    }

    /// The folder, for messages.
    fn folder(&self) -> String;
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Bytes of the file.
    fn bytes(&self) -> io::Result<u64>;

    /// Makes the file at least `bytes` long, with its space reserved.
    fn grow(&self, bytes: u64) -> io::Result<()>;

    /// Writes all of `slices` at `offset`, or fails having written any part of it.
    fn write_at(&self, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()>;

    /// Reads up to `len` bytes at `offset`; fewer only at the end of the file.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Bytes>;

    /// The same for each of `ranges`, offsets and lengths: a device gets them together.
    fn read_many(&self, ranges: &[(u64, usize)]) -> io::Result<Vec<Bytes>> {
        one_by_one(self, ranges)
    }

    /// Forgets what of the file is cached and already called durable, so that reads ask the disk. What
    /// was written and not yet synced is kept.
    fn drop_cache(&self) -> io::Result<()>;
    /// Makes everything written durable.
    fn sync(&self) -> io::Result<()>;
}

fn one_by_one(file: &(impl DiskFile + ?Sized), ranges: &[(u64, usize)]) -> io::Result<Vec<Bytes>> {
    let read = |&(offset, len): &(u64, usize)| file.read_at(offset, len);
    ranges.iter().map(read).collect()
}
