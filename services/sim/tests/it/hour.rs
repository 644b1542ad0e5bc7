//! An hour without the object store.

use tidemark_sim::run_hour;

const SEEDS: u64 = 4;

/// Appends until the disks are full, reads all the time, and everything by itself once the hour is over.
#[test]
fn an_hour_without_the_object_store_is_survived() {
    let mut all = tidemark_sim::Hour::default();
    for seed in 0..SEEDS {
        let (outcome, hour) = run_hour(seed);
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
        assert!(
            hour.acked > 0 && hour.refused > 100,
            "seed {seed}: {hour:?}"
        );
        assert!(hour.read > 600, "seed {seed}: {hour:?}");
        all.troubles += hour.troubles;
    }
    assert!(all.troubles > 10 * SEEDS, "{all:?}");
}
