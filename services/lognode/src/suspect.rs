//! What a failed sync leaves behind for the next start.
//!
//! # Crash consistency
//! After a failed sync the kernel may call pages clean that never reached the disk: a restarted process reads
//! them back from the page cache, builds on them, and a power loss takes them away. Recovery therefore drops
//! every segment's cached pages before it reads one (see `survey`). The marker tells the next start, and its
//! operator, that this disk failed; it goes when a recovery from the disk itself was marked synced.

use std::io::{self, IoSlice};

use crate::disk::Disk;

/// The marker's name.
const NAME: &str = "suspect";
/// More of a marker is not read, bytes.
const BYTES_MAX: usize = 4096;

/// Leaves the marker, as far as a failing disk takes it.
pub(crate) fn leave(disk: &dyn Disk, why: &str) {
    let write = || {
        let file = match disk.create(NAME, 0) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            made => made?,
        };
        file.write_at(0, &[IoSlice::new(why.as_bytes())])?;
        file.sync()?;
        disk.sync_dir()
    };
    if let Err(error) = write() {
        tracing::warn!("log node in {}: mark it suspect: {error}", disk.folder());
    }
}

/// Why the process before gave up on this disk, if it did.
pub(crate) fn found(disk: &dyn Disk) -> io::Result<Option<String>> {
    match disk.open(NAME).and_then(|file| file.read_at(0, BYTES_MAX)) {
        Ok(why) => Ok(Some(String::from_utf8_lossy(&why).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Takes the marker away.
pub(crate) fn clear(disk: &dyn Disk) -> io::Result<()> {
    disk.remove(NAME)?;
    disk.sync_dir()
}
