//! How much memory a piece of code holds at its peak, per thread.
#![allow(dead_code, reason = "two test binaries use different parts")]
#![allow(
    unsafe_code,
    reason = "an allocator that counts can only be written so"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

fn add(bytes: usize) {
    let live = LIVE.get().saturating_add(bytes);
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call goes on to the system's allocator as it came; the counters are plain thread-locals
// without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// Starts to count anew on this thread; what was held before is not counted.
pub(crate) fn reset() {
    LIVE.set(0);
    PEAK.set(0);
}

/// Bytes held on this thread at the peak since [`reset`].
pub(crate) fn peak() -> usize {
    PEAK.get()
}

/// Bytes held on this thread now, of those taken since [`reset`].
pub(crate) fn live() -> usize {
    LIVE.get()
}

/// Bytes that `run` held at its peak, above what was held before.
pub(crate) fn peak_of(run: impl FnOnce()) -> usize {
    reset();
    run();
    peak()
}
