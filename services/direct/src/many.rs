//! Reads that the kernel gets together: the thread sleeps once for all of them, not once for each.
//!
//! They go through io_uring, a ring per reading thread. Without one (the system or a container forbids it, or [`RINGS_MAX`]
//! threads have one) they go one by one: slower, the same answers.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use io_uring::{IoUring, opcode, types};

use crate::{AlignedRead, Memory};

/// Reads in flight per ring.
const ENTRIES: u32 = 32;
/// Rings at a time, each with a descriptor: far more threads than a disk needs to be busy.
pub const RINGS_MAX: usize = 64;

static RINGS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static RING: RefCell<Ring> = const { RefCell::new(Ring::Untried) };
}

/// A thread's ring.
enum Ring {
    Untried,
    Open(Box<IoUring>, Place),
    /// There was none when it was asked for, or it failed.
    Refused,
}

/// One of [`RINGS_MAX`], until dropped.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let place = Self;
        (RINGS.fetch_add(1, Ordering::Relaxed) < RINGS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RINGS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ring {
    fn open(&mut self) -> Option<&mut IoUring> {
        if let Self::Untried = self {
            let place = Place::take()?;
            *self = match build() {
                Ok(ring) => Self::Open(Box::new(ring), place),
                Err(error) => {
                    warn(&error);
                    Self::Refused
                }
            };
        }
        match self {
            Self::Open(ring, _) => Some(ring),
            Self::Untried | Self::Refused => None,
        }
    }
}

/// From Linux 6.1 on completions wait until the thread asks for all of them; before, each one wakes it.
fn build() -> io::Result<IoUring> {
    let quiet = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(ENTRIES);
    match quiet {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => IoUring::new(ENTRIES),
        other => other,
    }
}

fn warn(error: &io::Error) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!("reads of the disk go one by one and take more CPU: no io_uring ({error}); allow it to this process");
    });
}

/// As [`read_at`](crate::read_at) for each of `ranges`, offsets and lengths in bytes.
///
/// # Errors
/// What the system said to the first that failed.
pub fn read_many(memory: &Memory, file: &File, ranges: &[(u64, usize)]) -> io::Result<Vec<Bytes>> {
    RING.with_borrow_mut(|ring| read_by(ring, memory, file, ranges))
}

fn read_by(
    ring: &mut Ring,
    memory: &Memory,
    file: &File,
    ranges: &[(u64, usize)],
) -> io::Result<Vec<Bytes>> {
    let mut out = Vec::with_capacity(ranges.len());
    for batch in ranges.chunks(ENTRIES as usize) {
        let new = |&(offset, len): &(u64, usize)| AlignedRead::new(memory, offset, len);
        let mut reads: Vec<_> = batch.iter().map(new).collect();
        if reads.len() > 1
            && let Some(open) = ring.open()
            && let Err(failed) = fill(open, file, &mut reads)
        {
            warn(&failed.error);
            *ring = Ring::Refused;
            if failed.in_flight {
                // The kernel may still write to them.
                mem::forget(reads);
                reads = batch.iter().map(new).collect();
            }
        }
        for mut read in reads {
            // What failed or stopped early is read once more, and says why.
            read.finish(file)?;
            out.push(read.into_bytes());
        }
    }
    Ok(out)
}

/// A ring that serves no more.
struct Failed {
    error: io::Error,
    /// Some of the reads may go on.
    in_flight: bool,
}

/// Fills all of `reads`, at most [`ENTRIES`] of them, as far as the disk gives it.
fn fill(ring: &mut IoUring, file: &File, reads: &mut [AlignedRead]) -> Result<(), Failed> {
    let fd = types::Fd(file.as_raw_fd());
    let mut pushed = 0;
    for (i, read) in reads.iter_mut().enumerate() {
        let offset = read.next_offset();
        let room = read.room();
        let Ok(len) = u32::try_from(room.len()) else {
            continue;
        };
        let entry = opcode::Read::new(fd, room.as_mut_ptr().cast(), len)
            .offset(offset)
            .build()
            .user_data(i as u64);
        #[expect(
            unsafe_code,
            reason = "the kernel writes to memory behind the back of the compiler"
        )]
        // SAFETY: the caller keeps file and memory until all reads are done, or the memory for ever when some may go on.
        let entered = unsafe { ring.submission().push(&entry) };
        pushed += usize::from(entered.is_ok());
    }
    let mut left = pushed;
    while left > 0 {
        match ring.submit_and_wait(left) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let in_flight = ring.submission().len() < left;
                return Err(Failed { error, in_flight });
            }
        }
        for done in ring.completion() {
            left -= 1;
            let read = usize::try_from(done.user_data())
                .ok()
                .and_then(|i| reads.get_mut(i));
            if let (Some(read), Ok(bytes)) = (read, usize::try_from(done.result())) {
                read.filled(bytes);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::reopen;

    const BYTES: usize = 1_000_001;

    fn file() -> (tempfile::NamedTempFile, Vec<u8>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0_u8..=250).cycle().take(BYTES).collect();
        file.write_all(&bytes).unwrap();
        file.as_file().sync_all().unwrap();
        (file, bytes)
    }

    /// More than fit a ring, within blocks and across them, to the end of the file and past it.
    fn ranges() -> Vec<(u64, usize)> {
        let mut ranges: Vec<_> = (0..70_u64).map(|i| (i * 13_001, 9_000)).collect();
        ranges.extend([(0, BYTES), (999_000, 5_000), (5_000_000, 4096), (8192, 0)]);
        ranges
    }

    /// Out of a pool with room, and out of one that has none left on the way.
    fn assert_read(ring: &mut Ring) {
        assert_read_into(ring, &Memory::new(8));
        assert_read_into(ring, &Memory::new(0));
        let little = Memory::new(1);
        assert_read_into(ring, &little);
        assert_read_into(ring, &little);
    }

    fn assert_read_into(ring: &mut Ring, memory: &Memory) {
        let (file, bytes) = file();
        let direct = reopen(file.as_file()).unwrap();
        let read = read_by(ring, memory, &direct, &ranges()).unwrap();
        assert_eq!(read.len(), ranges().len());
        for ((offset, len), read) in ranges().iter().zip(&read) {
            let from = usize::try_from(*offset).unwrap().min(bytes.len());
            let end = bytes.len().min(from + len);
            assert!(*read == bytes[from..end], "{len} at {offset}");
        }
    }

    #[test]
    fn with_a_ring_and_without_one_the_answers_are_the_same() {
        let mut ring = Ring::Untried;
        assert_read(&mut ring);
        assert_eq!(matches!(ring, Ring::Open(..)), build().is_ok());
        assert_read(&mut Ring::Refused);
        let mut plain = match IoUring::new(ENTRIES) {
            Ok(ring) => open(ring),
            Err(_) => Ring::Refused,
        };
        assert_read(&mut plain);
    }

    fn open(ring: IoUring) -> Ring {
        Ring::Open(Box::new(ring), Place::take().unwrap())
    }

    #[test]
    fn a_ring_that_fails_is_gone_on_without() {
        // The kernel refuses to enter a ring that was never enabled.
        let Ok(disabled) = IoUring::builder().setup_r_disabled().build(ENTRIES) else {
            return;
        };
        let mut ring = open(disabled);
        assert_read(&mut ring);
        assert!(matches!(ring, Ring::Refused));
    }

    /// An error is that of the read that met it; the same ring serves the next ones.
    #[test]
    fn a_read_that_fails_is_said() {
        let (file, bytes) = file();
        let only_written = std::fs::OpenOptions::new().write(true).open(file.path());
        let ranges = [(0, 4096), (8192, 4096)];
        let mut ring = Ring::Untried;
        let memory = Memory::new(1);
        assert!(read_by(&mut ring, &memory, &only_written.unwrap(), &ranges).is_err());
        let read = read_by(&mut ring, &memory, file.as_file(), &ranges).unwrap();
        assert!(*read[0] == bytes[..4096] && *read[1] == bytes[8192..12_288]);
        assert_eq!(matches!(ring, Ring::Open(..)), build().is_ok());
    }
}
