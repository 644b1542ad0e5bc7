//! A disk that is gone takes nothing with it that was tiered, and nothing is served before an operator says so.

use tidemark_sim::{Ending, run_wiped};

const SEEDS: u64 = 20;

#[test]
fn a_service_that_was_stopped_outlives_its_disk_whole() {
    for seed in 0..SEEDS {
        let outcome = run_wiped(seed, Ending::Stopped);
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
    }
}

#[test]
fn one_that_was_killed_loses_what_was_not_tiered_and_no_more() {
    for seed in 0..SEEDS {
        let outcome = run_wiped(seed, Ending::Killed);
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
    }
}
