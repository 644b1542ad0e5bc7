//! First of all: what a seed does once it does again. Nothing else here means anything without that.

use tidemark_sim::{Broken, run};

#[test]
fn twice_the_same_trace() {
    for seed in [1, 2, 3, 4, 5, 6] {
        let (once, again) = (run(seed, Broken::default()), run(seed, Broken::default()));
        assert!(once.trace.len() > 100, "seed {seed} does nothing");
        let lines = once.trace.iter().zip(&again.trace);
        let differ = lines.enumerate().find(|(_, (a, b))| a != b);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(once, again, "seed {seed}");
    }
}
