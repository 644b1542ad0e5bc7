//! Threads that sleep for a disk or a socket, and whose waking somebody waits for.
//!
//! Linux lets a thread that wakes wait for the end of the running one's slice, milliseconds, however little it wants: a
//! write that takes the disk 0.1 ms is then acknowledged after 4 ms as soon as anything else computes on the machine. A
//! thread that asks for short slices gets no larger share of the processor, but its turn sooner (Linux 6.12 and later;
//! earlier kernels ignore it).

use std::time::Duration;

/// Asks for slices of this length, 0.1 to 100 ms, for the calling thread. A system that knows of no such thing does
/// nothing.
pub fn ask_for_slices(of: Duration) {
    #[cfg(target_os = "linux")]
    linux::ask_for_slices(u64::try_from(of.as_nanos()).unwrap_or(u64::MAX));
    #[cfg(not(target_os = "linux"))]
    let _ = of;
}

#[cfg(target_os = "linux")]
mod linux {
    /// Threads of the usual policies have slices; what an operator gave another policy is left alone.
    const WITH_SLICES: [u32; 2] = [libc::SCHED_OTHER as u32, libc::SCHED_BATCH as u32];

    /// The kernel's `struct sched_attr` in its first version.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        /// Of the usual policies: the slice, ns.
        runtime: u64,
        deadline: u64,
        period: u64,
    }

    const BYTES: u32 = 48;
    const _: () = assert!(size_of::<Attributes>() == BYTES as usize);

    pub(super) fn ask_for_slices(ns: u64) {
        if let Some(now) = get().filter(|now| WITH_SLICES.contains(&now.policy)) {
            set(&Attributes {
                size: BYTES,
                runtime: ns,
                ..now
            });
        }
    }

    fn get() -> Option<Attributes> {
        let mut found = Attributes::default();
        #[expect(unsafe_code, reason = "the C library has no function for it")]
        // SAFETY: the kernel writes at most `BYTES` bytes to a struct of that size; 0 is the calling thread.
        let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, BYTES, 0) };
        (got == 0).then_some(found)
    }

    fn set(wanted: &Attributes) {
        #[expect(unsafe_code, reason = "the C library has no function for it")]
        // SAFETY: the kernel reads `wanted.size` bytes, which the struct has; 0 is the calling thread.
        let _refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const *wanted, 0) };
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_rest_of_a_threads_schedule_is_kept() {
            let before = get().expect("every kernel since 3.14 answers");
            ask_for_slices(200_000);
            let after = get().expect("as before");
            assert_eq!((after.policy, after.nice), (before.policy, before.nice));
            // Kernels before 6.12 know no slices of threads.
            assert!([0, 200_000].contains(&after.runtime) || after.runtime == before.runtime);
            ask_for_slices(before.runtime);
        }
    }
}
