//! Writes past the page cache: the kernel copies nothing, and what is written once and rarely read takes no memory
//! from what is read often. Reads go through the page cache; the kernel keeps the two coherent.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use parking_lot::Mutex;
use rustix::fs::OFlags;

use super::file::retry;

/// Memory, offset and length are multiples of it: a page, no device asks for more.
const ALIGN: usize = 4096;
/// Gathered per call: large enough for a device's full speed, small enough to stay in the processor's cache.
const GATHER_BYTES: usize = 1 << 20;

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

/// Opens the same file once more for direct writes. Not every file system has them.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2)");
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(direct).open(itself)
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
}
