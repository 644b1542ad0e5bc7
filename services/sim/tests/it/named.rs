//! Seeds that found something, each with a line on what it was. A change of the generator gives them other lives, so what
//! they found is also tested where it was mended, or broken on purpose in `mutations`.
//!
//! Open: with disks as small as here (seed 412) takeovers in a row, while the object store is away, use up the reserve
//! of a full disk. Then no shard is served, and so nothing is tiered that would make room.

use tidemark_sim::{Broken, run};

const FOUND: &[(u64, &str)] = &[
    (
        7,
        "a fetch that crossed from a partition's own object to hot extents left records out",
    ),
    (
        32,
        "the same, from an object that covers more than lies below the tail in memory",
    ),
    (
        230,
        "extents without data, left by takeovers that found the disk full, kept it full: appends were refused for ever",
    ),
    (
        348,
        "a log node that was away while an extent was given up kept it: the disk stayed full",
    ),
];

#[test]
fn seeds_that_found_something_pass() {
    let tight = Broken {
        tight: true,
        ..Broken::default()
    };
    for (seed, what) in FOUND {
        let outcome = run(*seed, tight);
        let report = outcome.report();
        assert!(outcome.violations.is_empty(), "{what}\n{report}");
    }
}
