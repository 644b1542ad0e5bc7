//! Memory for direct access: pieces of slabs that lie in huge pages, where the system has them.
//!
//! The kernel pins what it reads into page by page, and describes it to the device run by run. Pages of 4 KiB lie anywhere, so
//! 128 KiB are 33 of both; in a huge page they are one run. A virtual machine's disk pays for each run once more.
//!
//! # Bounds
//! A slab is held for as long as any of its pieces is, so somebody who keeps one for long holds all of it. At most `slabs_max`
//! slabs exist; beyond them, and for what is too large, there is none and ordinary memory serves.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use crate::ALIGN;

/// What x86-64 and most of the others call a huge page, bytes.
const HUGE_BYTES: usize = 2 << 20;
/// A slab: three reads of 1 MiB that begin and end within blocks, thirty of 128 KiB.
pub const SLAB_BYTES: usize = 2 * HUGE_BYTES;
/// Larger pieces would leave more than a quarter of a slab unused.
const PIECE_BYTES_MAX: usize = SLAB_BYTES / 3 / ALIGN * ALIGN;
/// Slabs kept for whoever comes next, since the kernel zeroes new ones: as many as an object of usual size gives back at once
/// when it was put, and two.
const FREE_MAX: usize = 6;

/// A pool of slabs. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    slabs_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All that are mapped.
    slabs: usize,
    /// Where pieces are taken from, and how much of it was given out.
    open: Option<(Arc<Slab>, usize)>,
    free: Vec<Mapping>,
}

impl Memory {
    /// A pool of at most `slabs_max` slabs of [`SLAB_BYTES`].
    #[must_use]
    pub fn new(slabs_max: usize) -> Self {
        Self(Arc::new(Pool {
            slabs_max,
            state: Mutex::default(),
        }))
    }

    /// A piece of at least `bytes`, aligned to [`ALIGN`]; `None`: too large, or all slabs are in use. It holds anything.
    pub(crate) fn piece(&self, bytes: usize) -> Option<Piece> {
        let bytes = bytes.next_multiple_of(ALIGN);
        if bytes > PIECE_BYTES_MAX {
            return None;
        }
        let mut state = self.0.state.lock();
        if let Some((slab, used)) = &mut state.open {
            if Arc::get_mut(slab).is_some() {
                // Every piece came back.
                *used = 0;
            }
            if *used + bytes <= SLAB_BYTES {
                let from = *used;
                *used += bytes;
                let slab = Arc::clone(slab);
                return Some(Piece { slab, from, bytes });
            }
        }
        let mapping = match state.free.pop() {
            Some(mapping) => mapping,
            None if state.slabs < self.0.slabs_max => {
                let mapping = Mapping::new()?;
                state.slabs += 1;
                mapping
            }
            None => return None,
        };
        let slab = Arc::new(Slab {
            mapping: Some(mapping),
            pool: Arc::downgrade(&self.0),
        });
        let before = state.open.replace((Arc::clone(&slab), bytes));
        // Dropping a slab takes the lock.
        drop(state);
        drop(before);
        let from = 0;
        Some(Piece { slab, from, bytes })
    }
}

/// Given back when its last piece is gone.
#[derive(Debug)]
struct Slab {
    /// Absent only while it is dropped.
    mapping: Option<Mapping>,
    pool: Weak<Pool>,
}

impl Drop for Slab {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        let mut state = pool.state.lock();
        if state.free.len() < FREE_MAX {
            state.free.extend(self.mapping.take());
        } else {
            state.slabs -= 1;
        }
    }
}

/// A part of a slab that nobody else has.
#[derive(Debug)]
pub(crate) struct Piece {
    slab: Arc<Slab>,
    from: usize,
    bytes: usize,
}

impl Piece {
    /// All of it, for calls that fill memory which holds nothing yet: they write bytes, or leave those that are there.
    pub(crate) fn room(&mut self) -> &mut [MaybeUninit<u8>] {
        let bytes: *mut [u8] = self.as_mut();
        #[expect(unsafe_code, reason = "such calls take no other slice")]
        // SAFETY: the same memory, of the same lifetime, whose bytes the callers only overwrite by bytes.
        unsafe {
            &mut *(bytes as *mut [MaybeUninit<u8>])
        }
    }

    fn start(&self) -> NonNull<u8> {
        let mapping = self.slab.mapping.as_ref();
        let mapping = mapping.expect("pieces keep their slab");
        #[expect(unsafe_code, reason = "pieces of a slab are parted by their offsets")]
        // SAFETY: a piece lies within its slab.
        unsafe {
            mapping.start.add(self.from)
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "pieces of a slab are parted by their offsets")]
        // SAFETY: the bytes are mapped for as long as the slab is, the kernel zeroed them, and the pool gives each of them to one
        // piece at a time.
        unsafe {
            std::slice::from_raw_parts(self.start().as_ptr(), self.bytes)
        }
    }
}

impl AsMut<[u8]> for Piece {
    fn as_mut(&mut self) -> &mut [u8] {
        #[expect(unsafe_code, reason = "pieces of a slab are parted by their offsets")]
        // SAFETY: as in `as_ref`.
        unsafe {
            std::slice::from_raw_parts_mut(self.start().as_ptr(), self.bytes)
        }
    }
}

/// [`SLAB_BYTES`] that begin where a huge page does.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
}

#[expect(unsafe_code, reason = "memory mapped by hand is a pointer")]
// SAFETY: it is memory, of no thread in particular.
unsafe impl Send for Mapping {}
#[expect(unsafe_code, reason = "memory mapped by hand is a pointer")]
// SAFETY: shared, it is only ever read through pieces, which part it.
unsafe impl Sync for Mapping {}

impl Mapping {
    #[expect(unsafe_code, reason = "the standard allocators give no huge pages")]
    fn new() -> Option<Self> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        let all = SLAB_BYTES + HUGE_BYTES;
        // SAFETY: a new mapping wherever the kernel finds room; what is unmapped and advised of is parts of it.
        unsafe {
            let mapped = mm::mmap_anonymous(ptr::null_mut(), all, protection, flags).ok()?;
            let before = mapped.cast::<u8>().align_offset(HUGE_BYTES);
            let start = mapped.byte_add(before);
            if before > 0 {
                mm::munmap(mapped, before).ok()?;
            }
            let behind = all - before - SLAB_BYTES;
            if behind > 0 {
                mm::munmap(start.byte_add(SLAB_BYTES), behind).ok()?;
            }
            // Without huge pages it is memory all the same.
            let _ = mm::madvise(start, SLAB_BYTES, Advice::LinuxHugepage);
            let start = NonNull::new(start.cast())?;
            Some(Self { start })
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "what was mapped is unmapped")]
        // SAFETY: nobody has a piece of it any more.
        let unmapped = unsafe { mm::munmap(self.start.as_ptr().cast(), SLAB_BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(piece: &mut Piece, byte: u8) {
        piece.as_mut().fill(byte);
    }

    #[test]
    fn pieces_are_aligned_and_nobody_elses() {
        let memory = Memory::new(2);
        let mut pieces = Vec::new();
        for (i, bytes) in (0..).zip([1, ALIGN, PIECE_BYTES_MAX, 100_000, PIECE_BYTES_MAX]) {
            let mut piece = memory.piece(bytes).unwrap();
            fill(&mut piece, i);
            assert!(piece.as_ref().len() >= bytes);
            assert_eq!(piece.as_ref().as_ptr().align_offset(ALIGN), 0);
            pieces.push(piece);
        }
        for (i, piece) in (0..).zip(&pieces) {
            assert!(piece.as_ref().iter().all(|b| *b == i));
        }
    }

    #[test]
    fn no_more_is_taken_than_allowed_and_what_came_back_serves_again() {
        let memory = Memory::new(2);
        assert!(memory.piece(PIECE_BYTES_MAX + 1).is_none());
        let take = || memory.piece(PIECE_BYTES_MAX);
        let mut pieces: Vec<_> = std::iter::from_fn(take).collect();
        assert_eq!(pieces.len(), 6, "three of each slab");
        // One piece holds its slab.
        pieces.drain(1..3);
        assert!(take().is_none());
        pieces.remove(0);
        let again: Vec<_> = std::iter::from_fn(take).collect();
        assert_eq!(again.len(), 3);
        drop((pieces, again));
        let all: Vec<_> = std::iter::from_fn(take).collect();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_slab_of_which_nothing_is_in_use_begins_anew() {
        let memory = Memory::new(1);
        for _ in 0..100 {
            let one = memory.piece(1 << 20).unwrap();
            let two = memory.piece(1 << 20).unwrap();
            drop((one, two));
        }
        assert_eq!(memory.0.state.lock().slabs, 1);
    }

    #[test]
    fn all_but_a_few_free_slabs_are_given_back_and_come_again() {
        let memory = Memory::new(FREE_MAX + 3);
        for _ in 0..3 {
            let all: Vec<_> = std::iter::from_fn(|| memory.piece(PIECE_BYTES_MAX)).collect();
            assert_eq!(all.len(), 3 * (FREE_MAX + 3));
            drop(all);
            assert_eq!(memory.0.state.lock().slabs, FREE_MAX + 1, "one is open");
        }
    }

    #[test]
    fn threads_never_meet_in_a_piece() {
        let memory = Memory::new(2);
        std::thread::scope(|scope| {
            for thread in 1..=4_usize {
                let memory = &memory;
                scope.spawn(move || {
                    let mut held = std::collections::VecDeque::new();
                    for round in 0..100 {
                        let bytes = (round * 7_919 * thread) % PIECE_BYTES_MAX + 1;
                        let byte = u8::try_from(thread * 50 + round % 50).unwrap();
                        if let Some(mut piece) = memory.piece(bytes) {
                            fill(&mut piece, byte);
                            held.push_back((byte, piece));
                        }
                        if held.len() > thread {
                            let (byte, piece) = held.pop_front().unwrap();
                            assert!(piece.as_ref().iter().all(|b| *b == byte));
                        }
                    }
                });
            }
        });
        assert!(memory.0.state.lock().slabs <= 2);
    }

    #[test]
    fn pieces_outlive_the_pool() {
        let memory = Memory::new(1);
        let mut piece = memory.piece(10).unwrap();
        drop(memory);
        fill(&mut piece, 7);
        assert_eq!(piece.as_ref()[..10], [7; 10]);
    }
}
