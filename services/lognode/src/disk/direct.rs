//! Past the page cache: the kernel copies nothing, and what is written once and rarely read takes no memory from what
//! is read often. Small reads go through the page cache; the kernel keeps the two coherent. Large reads are those of
//! readers that fell behind what memory holds: their bytes are not in the cache, since they were written past it, and
//! filling fresh pages with them took more than half of such a read's CPU time.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::file::retry;

/// Memory, offset and length are multiples of it: a page, no device asks for more.
const ALIGN: usize = 4096;
/// Gathered per call: large enough for a device's full speed, small enough to stay in the processor's cache.
const GATHER_BYTES: usize = 1 << 20;

/// Reads from this size on go past the page cache; smaller ones look at a header here and there, and come again.
pub(super) const READ_BYTES_MIN: usize = 64 << 10;

/// Aligned memory in which slices are gathered; one for all files of a disk, which has one writer.
#[derive(Debug, Default)]
pub(super) struct Gather(Mutex<Vec<u8>>);

/// The part of `bytes` that begins at a multiple of [`ALIGN`].
fn aligned_from(bytes: &[u8]) -> usize {
    bytes.as_ptr().align_offset(ALIGN)
}

fn is_aligned(bytes: &[u8]) -> bool {
    aligned_from(bytes) == 0 && bytes.len().is_multiple_of(ALIGN)
}

/// Whether a write can go past the page cache.
pub(super) fn fits(offset: u64, slices: &[IoSlice<'_>]) -> bool {
    let bytes: usize = slices.iter().map(|s| s.len()).sum();
    offset.is_multiple_of(ALIGN as u64) && bytes.is_multiple_of(ALIGN) && bytes > 0
}

/// Opens the same file once more for direct access, only to read where one may no more. Not every file system has it.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2)");
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(direct);
    let both = options.clone().write(true).open(&itself);
    both.or_else(|_| options.open(&itself))
}

/// Reads whole blocks around `len` bytes at `offset` and gives those; fewer only at the end of the file.
pub(super) fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    let start = offset / ALIGN as u64 * ALIGN as u64;
    let skip = usize::try_from(offset - start).expect("less than a block");
    let bytes = (skip + len).next_multiple_of(ALIGN);
    let mut memory = vec![0; bytes + ALIGN];
    let from = aligned_from(&memory);
    let mut have = 0;
    while have < bytes {
        let room = &mut memory[from + have..from + bytes];
        let read = retry(|| rustix::io::pread(file, &mut *room, start + have as u64))?;
        let before = have;
        have += read;
        if read == 0 || start + have as u64 >= file.metadata()?.len() {
            break;
        }
        // What interrupted a read within a block: the block is asked for again.
        have = have / ALIGN * ALIGN;
        if have == before {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let end = have.min(skip + len);
    Ok(Bytes::from(memory).slice(from + skip.min(end)..from + end))
}

impl Gather {
    /// Writes all of `slices`, which [`fits`] allowed.
    pub(super) fn write_at(
        &self,
        file: &File,
        mut offset: u64,
        slices: &[IoSlice<'_>],
    ) -> io::Result<()> {
        if let [whole] = slices
            && is_aligned(whole)
        {
            return write_all(file, offset, whole);
        }
        let mut memory = self.0.lock();
        memory.resize(GATHER_BYTES + ALIGN, 0);
        let from = aligned_from(&memory);
        let window = &mut memory[from..from + GATHER_BYTES];
        let mut filled = 0;
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(GATHER_BYTES - filled));
                window[filled..filled + now.len()].copy_from_slice(now);
                filled += now.len();
                rest = later;
                if filled == GATHER_BYTES {
                    write_all(file, offset, window)?;
                    offset += filled as u64;
                    filled = 0;
                }
            }
        }
        write_all(file, offset, &window[..filled])
    }
}

/// A short write stops at any byte; the next goes on at the block it stopped in.
fn write_all(file: impl AsFd, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = retry(|| rustix::io::pwrite(&file, bytes, offset))? / ALIGN * ALIGN;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        offset += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::{Disk, FileDisk};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Whatever the slices, aligned or not, the file holds their bytes.
        #[test]
        fn any_slices_are_written(
            lens in prop::collection::vec(prop_oneof![0..5_000_usize, 1_000_000..1_200_000_usize], 1..6),
            block in 0..3_u64, cut in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let disk = FileDisk::open(folder.path()).unwrap();
            let file = disk.create("f", 8 << 20).unwrap();
            let mut bytes: Vec<u8> = Vec::new();
            for len in &lens {
                bytes.extend((0_u8..=250).cycle().take(*len));
            }
            if cut {
                bytes.truncate(bytes.len() / ALIGN * ALIGN);
            }
            let mut slices = Vec::new();
            let mut rest = &bytes[..];
            for len in lens {
                let (now, later) = rest.split_at(len.min(rest.len()));
                slices.push(IoSlice::new(now));
                rest = later;
            }
            let offset = block * ALIGN as u64;
            file.write_at(offset, &slices).unwrap();
            file.sync().unwrap();
            let read = file.read_at(offset, bytes.len()).unwrap();
            prop_assert!(read == bytes);
        }
    }

    #[test]
    fn any_stretch_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let file = disk.create("f", 1 << 20).unwrap();
        let bytes: Vec<u8> = (0_u8..=250).cycle().take(1 << 20).collect();
        file.write_at(0, &[IoSlice::new(&bytes)]).unwrap();
        // From within a block and to within one, to the end, past it, and small enough for the cache.
        for (at, len) in [
            (0, 1 << 20),
            (1, 100_000),
            (70_000, 65_537),
            (900_000, 1 << 20),
            (5 << 20, 100_000),
            (33, 4096),
        ] {
            let read = file.read_at(at, len).unwrap();
            let from = usize::try_from(at).unwrap().min(bytes.len());
            assert!(read == bytes[from..bytes.len().min(from + len)], "{at}");
        }
    }
}
