//! A crash at every step of tiering, release, compaction, retention and collection.

use tidemark_sim::{Outcome, Steps, run_steps};

const SEED: u64 = 3;
/// Tests that share the steps, so that they run beside each other.
const SHARES: u64 = 2;

fn sound((outcome, steps): (Outcome, Steps), at: Option<u64>) -> Steps {
    let report = outcome.report();
    assert!(outcome.violations.is_empty(), "step {at:?}\n{report}");
    steps
}

fn share(of: u64) {
    let all = sound(run_steps(SEED, None), None);
    let (tier, count) = (all.tier, all.steps);
    // Everything there is to crash in happens.
    assert!(tier.objects > 5 && tier.extents_released > 5, "{tier:?}");
    assert!(tier.compaction_puts > 5, "{tier:?}");
    assert!(tier.records_compacted > 5, "{tier:?}");
    assert!(tier.objects_condemned > 5, "{tier:?}");
    assert!(tier.objects_deleted > 5, "{tier:?}");
    assert!(count > 100, "{count} steps");
    for at in (of..count).step_by(usize::try_from(SHARES).expect("2")) {
        let steps = sound(run_steps(SEED, Some(at)), Some(at));
        assert!(steps.died, "step {at} of {count} never came");
    }
}

#[test]
fn a_crash_at_every_even_step() {
    share(0);
}

#[test]
fn a_crash_at_every_odd_step() {
    share(1);
}
