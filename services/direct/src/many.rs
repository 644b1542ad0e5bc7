//! Reads that are handed to the kernel together: one call submits all of them, and the thread is woken once, when all are done.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use bytes::Bytes;
use io_uring::{IoUring, opcode, types};

use crate::{Stretch, read_at};

/// Reads in flight per thread.
const ENTRIES: u32 = 32;

thread_local! {
    static RING: RefCell<Ring> = const { RefCell::new(Ring::Untried) };
}

/// The thread's queue.
enum Ring {
    Untried,
    Open(Box<IoUring>),
    /// The system has none, or a container forbids it: reads go one by one.
    Refused,
}

impl Ring {
    fn open(&mut self) -> Option<&mut IoUring> {
        if let Self::Untried = self {
            // Completions wait until this thread asks for all of them: without these, each one wakes it.
            let ring = IoUring::builder()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .build(ENTRIES);
            *self = ring.map_or(Self::Refused, |ring| Self::Open(Box::new(ring)));
        }
        match self {
            Self::Open(ring) => Some(ring),
            Self::Untried | Self::Refused => None,
        }
    }
}

/// As [`read_at`](crate::read_at) for each of `wanted`, offsets and lengths in bytes.
///
/// # Errors
/// What the system said to any of them.
pub fn read_many(file: &File, wanted: &[(u64, usize)]) -> io::Result<Vec<Bytes>> {
    if let [(offset, len)] = *wanted {
        return Ok(vec![read_at(file, offset, len)?]);
    }
    RING.with_borrow_mut(|ring| read_by(ring, file, wanted))
}

fn read_by(ring: &mut Ring, file: &File, wanted: &[(u64, usize)]) -> io::Result<Vec<Bytes>> {
    let mut out = Vec::with_capacity(wanted.len());
    for some in wanted.chunks(ENTRIES as usize) {
        let mut stretches: Vec<_> = some.iter().map(|&(o, l)| Stretch::new(o, l)).collect();
        if let Some(open) = ring.open()
            && !fill(open, file, &mut stretches)
        {
            *ring = Ring::Refused;
            // The kernel may still write to them.
            mem::forget(stretches);
            stretches = some.iter().map(|&(o, l)| Stretch::new(o, l)).collect();
        }
        for mut stretch in stretches {
            // What failed or stopped early is read once more, and says why.
            stretch.read(file)?;
            out.push(stretch.into_bytes());
        }
    }
    Ok(out)
}

/// Reads into all of `stretches`, at most [`ENTRIES`] of them. `false`: the queue is broken, and some may still be written to.
fn fill(ring: &mut IoUring, file: &File, stretches: &mut [Stretch]) -> bool {
    let fd = types::Fd(file.as_raw_fd());
    for (i, stretch) in stretches.iter_mut().enumerate() {
        let next = stretch.next();
        let room = stretch.room();
        let Ok(len) = u32::try_from(room.len()) else {
            continue;
        };
        let read = opcode::Read::new(fd, room.as_mut_ptr().cast(), len)
            .offset(next)
            .build()
            .user_data(i as u64);
        #[expect(
            unsafe_code,
            reason = "the kernel writes to memory behind the back of the compiler"
        )]
        // SAFETY: the caller keeps file and memory until all reads are done, or for ever when this answers `false`.
        let pushed = unsafe { ring.submission().push(&read) };
        if pushed.is_err() {
            return false;
        }
    }
    let mut left = ring.submission().len();
    while left > 0 {
        match ring.submit_and_wait(left) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        for done in ring.completion() {
            left -= 1;
            let stretch = usize::try_from(done.user_data())
                .ok()
                .and_then(|i| stretches.get_mut(i));
            if let (Some(stretch), Ok(read)) = (stretch, usize::try_from(done.result())) {
                stretch.filled(read);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::reopen;

    /// With the queue and without one: what reads one by one give, to the end of the file and past it.
    #[test]
    fn together_they_read_what_each_reads_by_itself() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0_u8..=250).cycle().take(1_000_001).collect();
        file.write_all(&bytes).unwrap();
        file.as_file().sync_all().unwrap();
        let direct = reopen(file.as_file()).unwrap();
        let mut wanted: Vec<_> = (0..70_u64).map(|i| (i * 13_001, 9_000)).collect();
        wanted.extend([
            (0, 1_000_001),
            (999_000, 5_000),
            (5_000_000, 4096),
            (8192, 0),
        ]);
        for mut ring in [Ring::Untried, Ring::Refused] {
            let read = read_by(&mut ring, &direct, &wanted).unwrap();
            for ((offset, len), read) in wanted.iter().zip(&read) {
                let from = usize::try_from(*offset).unwrap().min(bytes.len());
                let end = bytes.len().min(from + len);
                assert!(*read == bytes[from..end], "{len} at {offset}");
            }
            assert_eq!(read.len(), wanted.len());
        }
    }

    /// An error is that of the read that met it, and the queue serves the next ones.
    #[test]
    fn a_read_that_fails_is_said() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 100_000]).unwrap();
        let only_written = std::fs::OpenOptions::new().write(true).open(file.path());
        let wanted = [(0, 4096), (8192, 4096)];
        let mut ring = Ring::Untried;
        assert!(read_by(&mut ring, &only_written.unwrap(), &wanted).is_err());
        let read = read_by(&mut ring, file.as_file(), &wanted).unwrap();
        assert!(read.iter().all(|read| *read == [7; 4096][..]));
        assert!(!matches!(ring, Ring::Untried), "the same queue");
    }
}
