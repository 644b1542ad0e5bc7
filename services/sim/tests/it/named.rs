//! Seeds that found something, each with a line on what it was. A change of the generator gives them other lives, so what
//! they found is also tested where it was mended, or broken on purpose in `mutations`.

use tidemark_sim::{Broken, run};

/// The disks hold next to nothing.
const TIGHT: Broken = Broken {
    tables: Some(false),
    ..TIGHT_TABLES
};
/// The same, and there may be tables.
const TIGHT_TABLES: Broken = Broken {
    tight: true,
    ..NOTHING
};
const NOTHING: Broken = Broken {
    journal: None,
    log: None,
    flaw: None,
    copies: None,
    cold: None,
    tables: None,
    tight: false,
    harm: &[],
};

const FOUND: &[(u64, Broken, &str)] = &[
    (
        7,
        TIGHT,
        "a fetch that crossed from a partition's own object to hot extents left records out",
    ),
    (
        32,
        TIGHT,
        "the same, from an object that covers more than lies below the tail in memory",
    ),
    (
        230,
        TIGHT,
        "extents without data, left by takeovers that found the disk full, kept it full: appends were refused for ever",
    ),
    (
        348,
        TIGHT,
        "a log node that was away while an extent was given up kept it: the disk stayed full",
    ),
    (
        412,
        TIGHT,
        "takeovers in a row at a full disk: only owners with a checkpoint tiered, so there was never room for one",
    ),
    (
        364,
        NOTHING,
        "owners that died before they could mark a committed checkpoint, then a full disk that took no other: nothing was ever released",
    ),
    (
        429,
        TIGHT_TABLES,
        "a fetch of what was deleted while it read answered nothing at all, as at the end of the log",
    ),
    (
        503,
        TIGHT_TABLES,
        "two of three log nodes full of checkpoints that broke off: no other fitted, and nothing was ever released",
    ),
    (
        409,
        NOTHING,
        "retention.bytes counted what lay in two objects twice, and deleted that much too early",
    ),
];

#[test]
fn seeds_that_found_something_pass() {
    for (seed, broken, what) in FOUND {
        let outcome = run(*seed, *broken);
        let report = outcome.report();
        assert!(outcome.violations.is_empty(), "{what}\n{report}");
    }
}
