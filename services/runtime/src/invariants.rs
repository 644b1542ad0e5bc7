//! The invariants of DESIGN section 9 by name and number.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// An invariant of the service. The discriminant is its number in the design.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Invariant {
    /// An acked batch is readable at its offset until log_start passes it.
    AckedReadable = 1,
    /// (partition, offset) → one value, for every reader, for ever.
    OneValuePerOffset = 2,
    /// Offsets are dense in append order.
    OffsetsDense = 3,
    /// HW, LSO, log_start and leader epoch never regress, across owners too.
    NoRegress = 4,
    /// Nothing above the high watermark is served.
    NothingAboveHw = 5,
    /// At most one OPEN extent per shard, and `end = next.start`.
    OneOpenExtent = 6,
    /// A sealed end ≥ every committed LSN, and no later commit exceeds it.
    SealCoversCommits = 7,
    /// Sealed ⇒ each LSN is on enough replicas or in S3.
    SealedIsReplicated = 8,
    /// A fence is monotonic and survives a crash.
    FenceMonotonic = 9,
    /// One (pid, epoch, seq) commits once per partition.
    ProducerOnce = 10,
    /// read_committed sees all of a transaction or nothing.
    TransactionAtomic = 11,
    /// A committed group offset changes only by a valid generation.
    OffsetByGeneration = 12,
    /// Every referenced object exists with its checksum.
    ReferencedExists = 13,
    /// L0 ∪ L1 ∪ journal covers [log_start, HW) without gap or overlap.
    Covered = 14,
    /// Rebuilt owner state = the old owner's committed state.
    RebuiltEqual = 15,
    /// After faults heal, service resumes.
    Resumes = 16,
    /// No byte, name or count of a tenant is visible to another.
    TenantIsolated = 17,
}

impl Invariant {
    /// Every one, by number.
    pub const ALL: [Self; 17] = [
        Self::AckedReadable,
        Self::OneValuePerOffset,
        Self::OffsetsDense,
        Self::NoRegress,
        Self::NothingAboveHw,
        Self::OneOpenExtent,
        Self::SealCoversCommits,
        Self::SealedIsReplicated,
        Self::FenceMonotonic,
        Self::ProducerOnce,
        Self::TransactionAtomic,
        Self::OffsetByGeneration,
        Self::ReferencedExists,
        Self::Covered,
        Self::RebuiltEqual,
        Self::Resumes,
        Self::TenantIsolated,
    ];
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} ({self:?})", *self as u8)
    }
}

static VIOLATIONS: AtomicU64 = AtomicU64::new(0);

/// Violations counted since the process started; exported as a metric.
#[must_use]
pub fn violations() -> u64 {
    VIOLATIONS.load(Ordering::Relaxed)
}

/// Records a violation: panics in debug builds and tests, logs and counts in release.
#[doc(hidden)]
#[track_caller]
pub fn violated(which: Invariant, what: &fmt::Arguments<'_>) {
    VIOLATIONS.fetch_add(1, Ordering::Relaxed);
    tracing::error!(invariant = which as u8, "{which} violated: {what}");
    if cfg!(debug_assertions) {
        panic!("{which} violated: {what}");
    }
}

/// Checks an invariant: `check_invariant!(Invariant::OffsetsDense, next == base, "base {base} follows {next}")`.
#[macro_export]
macro_rules! check_invariant {
    ($which:expr, $holds:expr, $($what:tt)+) => {
        if !$holds {
            $crate::violated($which, &format_args!($($what)+));
        }
    };
}
