//! J5: damage below a synced mark is never taken for a torn tail, and never served.

use tidemark_sim::{Broken, Damage, Flaw, run_damage};

const SEEDS: u64 = 40;

/// How often rot keeps a shard closed depends on where it falls; that it does is shown over real files
/// (`lognode`'s damage tests) and on the real process (`tidemark-compat`'s).
#[test]
fn rot_is_never_served() {
    let mut closed = 0;
    for seed in 0..SEEDS {
        let (outcome, damage) = run_damage(seed, Broken::default());
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
        closed += u64::from(damage == Damage::Closed);
    }
    assert!(closed < SEEDS, "every damage kept a shard closed");
}

#[test]
fn torn_tail_cut_below_a_mark() {
    let broken = Broken {
        flaw: Some(Flaw::CutBelowMark),
        ..Broken::default()
    };
    let found = (0..SEEDS).find_map(|seed| {
        let (outcome, _) = run_damage(seed, broken);
        (!outcome.violations.is_empty()).then_some(outcome)
    });
    let found = found.expect("J5 broken goes unnoticed");
    println!("seed {}: {}", found.seed, found.violations[0]);
}
