//! Files past the page cache: the kernel copies nothing, and what is written once and rarely read takes no memory from what
//! is read often. Small reads go through the page cache; the kernel keeps the two coherent. Large reads are those of
//! readers that fell behind what memory holds: their bytes are not in the cache, since they were written past it, and
//! filling fresh pages with them took more than half of such a read's CPU time.

mod many;
mod memory;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use bytes::Bytes;
use memory::Piece;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

pub use many::{RINGS_MAX, read_many};
pub use memory::{Memory, SLAB_BYTES};

/// Memory, offset and length are multiples of it, bytes: a page, no device asks for more.
pub const ALIGN: usize = 4096;
/// Gathered per call: large enough for a device's full speed, small enough to stay in the processor's cache.
const GATHER_BYTES: usize = 1 << 20;
/// Writes from this size on are gathered in a slab; a service that does little needs none.
const SLAB_WRITE_BYTES_MIN: usize = 64 << 10;

/// Reads from this size on go past the page cache; smaller ones look at a header here and there, and come again.
pub const READ_BYTES_MIN: usize = 64 << 10;

/// Aligned memory in which slices are gathered.
#[derive(Debug)]
pub struct Gather {
    memory: Memory,
    /// Of a write that is small, or for which the memory has no room.
    own: Mutex<Vec<u8>>,
}

/// The part of `bytes` that begins at a multiple of [`ALIGN`].
fn aligned_from<T>(bytes: &[T]) -> usize {
    bytes.as_ptr().align_offset(ALIGN)
}

fn is_aligned(bytes: &[u8]) -> bool {
    aligned_from(bytes) == 0 && bytes.len().is_multiple_of(ALIGN)
}

/// Whether a write can go past the page cache: `offset` and all of `slices` end at multiples of [`ALIGN`].
#[must_use]
pub fn fits(offset: u64, slices: &[IoSlice<'_>]) -> bool {
    let bytes: usize = slices.iter().map(|s| s.len()).sum();
    offset.is_multiple_of(ALIGN as u64) && bytes.is_multiple_of(ALIGN) && bytes > 0
}

/// Opens the same file once more for direct access, only to read where one may no more.
///
/// # Errors
/// What the system said; `InvalidInput` where the file system has no direct access.
pub fn reopen(file: &File) -> io::Result<File> {
    let direct = i32::try_from(OFlags::DIRECT.bits()).expect("a flag of open(2)");
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(direct);
    let both = options.clone().write(true).open(&itself);
    both.or_else(|_| options.open(&itself))
}

/// Reads whole blocks around `len` bytes at `offset` and gives those; fewer only at the end of the file. `file` is open for
/// direct access ([`reopen`]). Reads into `memory` where that has room.
///
/// # Errors
/// What the system said.
pub fn read_at(memory: &Memory, file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut read = AlignedRead::new(memory, offset, len);
    read.finish(file)?;
    Ok(read.into_bytes())
}

/// Memory for the blocks around what is asked for, and how much of them was read.
#[derive(Debug)]
struct AlignedRead {
    into: Room,
    /// Where in the file the first block begins.
    start: u64,
    /// What is asked for: behind so many bytes of the first block, so many.
    skip: usize,
    len: usize,
    /// Bytes of all blocks.
    bytes: usize,
    have: usize,
}

/// Where blocks are read into.
#[derive(Debug)]
enum Room {
    Piece(Piece),
    /// Memory of its own, and where in it the first block begins: behind as many bytes.
    Own(Vec<u8>, usize),
}

impl Room {
    fn new(memory: &Memory, bytes: usize) -> Self {
        if let Some(piece) = memory.piece(bytes) {
            return Self::Piece(piece);
        }
        let mut own: Vec<u8> = Vec::with_capacity(bytes + ALIGN);
        let from = aligned_from(own.spare_capacity_mut());
        own.resize(from, 0);
        Self::Own(own, from)
    }

    fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        match self {
            Self::Piece(piece) => piece.room(),
            Self::Own(own, _) => own.spare_capacity_mut(),
        }
    }

    /// The first `have` bytes of the room, which were read.
    fn into_bytes(self, have: usize) -> Bytes {
        match self {
            Self::Piece(piece) => Bytes::from_owner(piece).slice(..have),
            Self::Own(mut own, from) => {
                #[expect(
                    unsafe_code,
                    reason = "zeros that are overwritten at once cost a fifth of such a read's CPU time"
                )]
                // SAFETY: reads wrote the first `have` bytes of what was spare, which is within the capacity.
                unsafe {
                    own.set_len(from + have);
                }
                Bytes::from(own).slice(from..)
            }
        }
    }
}

impl AlignedRead {
    fn new(memory: &Memory, offset: u64, len: usize) -> Self {
        let start = offset / ALIGN as u64 * ALIGN as u64;
        let skip = usize::try_from(offset - start).expect("less than a block");
        let bytes = (skip + len).next_multiple_of(ALIGN);
        Self {
            into: Room::new(memory, bytes),
            start,
            skip,
            len,
            bytes,
            have: 0,
        }
    }

    /// Where the next block goes, and those behind it.
    fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.into.room()[self.have..self.bytes]
    }

    /// Where in the file that is.
    fn next_offset(&self) -> u64 {
        self.start + self.have as u64
    }

    /// Takes note of a read into [`Self::room`]; one that something interrupted within a block is asked for that block again.
    fn filled(&mut self, read: usize) {
        self.have += read;
        if self.have < self.bytes {
            self.have = self.have / ALIGN * ALIGN;
        }
    }

    /// Reads what is missing.
    fn finish(&mut self, file: &File) -> io::Result<()> {
        while self.have < self.bytes {
            let (before, next) = (self.have, self.next_offset());
            let read = retry(|| Ok(rustix::io::pread(file, self.room(), next)?.0.len()))?;
            let all = before + read == self.bytes || read == 0;
            if all || next + read as u64 >= file.metadata()?.len() {
                self.have += read;
                break;
            }
            self.filled(read);
            if self.have == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn into_bytes(self) -> Bytes {
        let end = self.have.min(self.skip + self.len);
        self.into
            .into_bytes(self.have)
            .slice(self.skip.min(end)..end)
    }
}

impl Gather {
    /// One that gathers in `memory`.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        Self {
            memory,
            own: Mutex::default(),
        }
    }

    /// Writes all of `slices`, which [`fits`] allowed, to a file that is open for direct access ([`reopen`]).
    ///
    /// # Errors
    /// What the system said; some of the bytes may have been written.
    pub fn write_at(&self, file: &File, offset: u64, slices: &[IoSlice<'_>]) -> io::Result<()> {
        if let [whole] = slices
            && is_aligned(whole)
        {
            return write_all(file, offset, whole);
        }
        let bytes: usize = slices.iter().map(|s| s.len()).sum();
        let window_bytes = bytes.min(GATHER_BYTES);
        let large = bytes >= SLAB_WRITE_BYTES_MIN;
        if large && let Some(mut piece) = self.memory.piece(window_bytes) {
            return gathered(file, offset, slices, piece.as_mut());
        }
        // A writer does not wait for another's whole write.
        let (mut kept, mut fresh) = (self.own.try_lock(), Vec::new());
        let own = kept.as_deref_mut().unwrap_or(&mut fresh);
        own.resize(own.len().max(window_bytes + ALIGN), 0);
        let from = aligned_from(own);
        gathered(file, offset, slices, &mut own[from..from + window_bytes])
    }
}

/// Writes `slices`, as much at a time as the window takes.
fn gathered(
    file: &File,
    mut offset: u64,
    slices: &[IoSlice<'_>],
    window: &mut [u8],
) -> io::Result<()> {
    let mut filled = 0;
    for slice in slices {
        let mut rest: &[u8] = slice;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(window.len() - filled));
            window[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            rest = later;
            if filled == window.len() {
                write_all(file, offset, window)?;
                offset += filled as u64;
                filled = 0;
            }
        }
    }
    write_all(file, offset, &window[..filled])
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

/// Calls until a signal interrupts no more.
///
/// # Errors
/// What the system said at last.
pub fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}
