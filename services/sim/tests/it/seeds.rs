//! Many lives of the service. `TIDEMARK_SIM_SEEDS=n` runs n of them, `TIDEMARK_SIM_SEED=s` one, with its trace;
//! `TIDEMARK_SIM_TIGHT=1` with next to no disk.

use tidemark_sim::{Broken, run};

const SEEDS: u64 = 500;
/// Tests that share the seeds, so that they run beside each other.
const SHARES: u64 = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn broken() -> Broken {
    Broken {
        tight: number("TIDEMARK_SIM_TIGHT") == Some(1),
        ..Broken::default()
    }
}

fn share(of: u64) {
    if let Some(seed) = number("TIDEMARK_SIM_SEED") {
        if of == 0 {
            let outcome = run(seed, broken());
            println!("{}", outcome.trace.join("\n"));
            assert!(outcome.violations.is_empty(), "{}", outcome.report());
        }
        return;
    }
    let seeds = number("TIDEMARK_SIM_SEEDS").unwrap_or(SEEDS);
    let (mut acked, mut failed) = (0, Vec::new());
    for seed in (of..seeds).step_by(usize::try_from(SHARES).expect("4")) {
        let outcome = run(seed, broken());
        acked += outcome.counts.0;
        if !outcome.violations.is_empty() {
            failed.push(outcome);
        }
    }
    let names: Vec<u64> = failed.iter().map(|o| o.seed).collect();
    let first = failed.first().map(tidemark_sim::Outcome::report);
    assert!(
        failed.is_empty(),
        "seeds {names:?} fail.\n{}",
        first.unwrap_or_default()
    );
    assert!(acked > seeds, "only {acked} batches were acked");
}

macro_rules! shares {
    ($($name:ident: $of:expr;)*) => {$(
        #[test]
        fn $name() {
            share($of);
        }
    )*};
}

shares! {
    first_quarter: 0;
    second_quarter: 1;
    third_quarter: 2;
    last_quarter: 3;
}
