//! J5: damage below a synced mark is never taken for a torn tail, and never served.

use tidemark_runtime::Invariant;
use tidemark_sim::{Broken, Damage, Flaw, run_damage};

const SEEDS: u64 = 40;

/// Most rot is aimed at a shard's newest extent, which a takeover must vouch for: the shard stays closed, and an
/// unclean seal (J10) opens it again without the damaged range and with everything else.
#[test]
fn rot_is_never_served() {
    let mut closed = 0;
    for seed in 0..SEEDS {
        let (outcome, damage) = run_damage(seed, Broken::default());
        assert!(outcome.violations.is_empty(), "{}", outcome.report());
        closed += u64::from(damage == Damage::Closed);
    }
    assert!(
        closed > SEEDS / 2,
        "only {closed} damages kept a shard closed"
    );
    assert!(closed < SEEDS, "every damage kept a shard closed");
}

#[test]
fn torn_tail_cut_below_a_mark() {
    let broken = Broken {
        flaw: Some(Flaw::CutBelowMark),
        ..Broken::default()
    };
    // What was acked and read is gone.
    let lost = |v: &tidemark_sim::Violation| v.invariant == Some(Invariant::AckedReadable);
    let found = (0..SEEDS).find_map(|seed| {
        let found = run_damage(seed, broken).0.violations;
        Some((seed, found.into_iter().find(lost)?))
    });
    let (seed, found) = found.expect("J5 broken goes unnoticed");
    println!("seed {seed}: {found}");
}
