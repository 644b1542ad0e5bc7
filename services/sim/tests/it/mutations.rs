//! Each rule left out is noticed (PROTOCOL, last section): some seed violates what the rule is there for, by name, and
//! the same seed passes without. A run goes on until that harm shows, whatever else it violates.
//!
//! Not here: a fence that dies with its extent; `services/lease/tests/it/mutations.rs` shows it over log nodes in memory.
//! A collection without grace: readers find the rows again when an object is gone (O3), so it does no harm here. An ack
//! of another epoch's append (J3) cannot come from this log node, which answers each request by itself:
//! `journal`'s writer tests show it. A torn tail that is cut below a mark (J5) is in `damage`.

use tidemark_journal::Mutation as Journal;
use tidemark_log::Mutation as Log;
use tidemark_runtime::Invariant::{self, *};
use tidemark_sim::{Broken, Flaw, run};

/// Seeds tried at the most.
const SEEDS: u64 = 120;

/// What was acked is gone: it is missing, the end lies lower than it did, or its offset is given again.
const LOST: &[Invariant] = &[AckedReadable, NoRegress, OneValuePerOffset];
/// What a new owner rebuilds is not what was committed; its own check of the frames' offsets may be the first to see.
const REBUILT: &[Invariant] = &[RebuiltEqual, OffsetsDense];

const SOUND: Broken = Broken {
    journal: None,
    log: None,
    flaw: None,
    copies: None,
    cold: Some(false),
    tables: Some(false),
    tight: false,
    harm: &[],
};

/// Begins at a seed that is known to notice, so that rare ones need not be looked for every time.
fn noticed(first: u64, broken: Broken) {
    let sound = Broken {
        copies: broken.copies,
        cold: broken.cold,
        tables: broken.tables,
        tight: broken.tight,
        ..SOUND
    };
    let harm = |seed| {
        let found = run(seed, broken).violations;
        let harm =
            |v: &tidemark_sim::Violation| v.invariant.is_some_and(|i| broken.harm.contains(&i));
        Some((seed, found.into_iter().find(harm)?))
    };
    let found = (first..first + SEEDS).find_map(harm);
    let (seed, violation) = found.unwrap_or_else(|| panic!("{broken:?} goes unnoticed"));
    println!("{broken:?}: seed {seed}: {violation}");
    let without = run(seed, sound);
    assert!(without.violations.is_empty(), "{}", without.report());
}

const fn journal(mutation: Journal, copies: usize, harm: &'static [Invariant]) -> Broken {
    Broken {
        journal: Some(mutation),
        copies: Some(copies),
        harm,
        ..SOUND
    }
}

const fn log(mutation: Log, harm: &'static [Invariant]) -> Broken {
    Broken {
        log: Some(mutation),
        harm,
        ..SOUND
    }
}

const fn flaw(flaw: Flaw, copies: usize, harm: &'static [Invariant]) -> Broken {
    Broken {
        flaw: Some(flaw),
        copies: Some(copies),
        harm,
        ..SOUND
    }
}

const fn cold(log: Log, harm: &'static [Invariant]) -> Broken {
    Broken {
        log: Some(log),
        cold: Some(true),
        tight: true,
        harm,
        ..SOUND
    }
}

const fn table(log: Log, harm: &'static [Invariant]) -> Broken {
    Broken {
        tables: Some(true),
        tight: false,
        ..cold(log, harm)
    }
}

macro_rules! noticed {
    ($($name:ident: $first:expr, $broken:expr;)*) => {$(
        #[test]
        fn $name() {
            noticed($first, $broken);
        }
    )*};
}

noticed! {
    volatile_fence: 0, flaw(Flaw::VolatileFence, 1, &[FenceMonotonic]);
    volatile_entry_and_ack_before_sync: 392, flaw(Flaw::LyingSync, 1, LOST);
    ack_before_it_is_written: 0, flaw(Flaw::EarlyAck, 1, LOST);
    ack_before_prefix: 0, flaw(Flaw::AckBeforePrefix, 1, LOST);
    unfenced_reply: 0, flaw(Flaw::UnfencedReply, 1, LOST);
    rejoin_of_a_wiped_disk: 0, flaw(Flaw::RejoinWiped, 3, LOST);
    lsn_with_other_bytes: 0, flaw(Flaw::OtherBytes, 1, &[OneValuePerOffset]);
    // J1: stuck on intact data.
    previous_extent_only: 0, journal(Journal::PreviousExtentOnly, 1, &[Resumes]);
    ack_during_roll: 0, journal(Journal::AckDuringRoll, 1, LOST);
    read_beyond_the_seal: 18, journal(Journal::ReadBeyondEnd, 1, &[OneValuePerOffset]);
    stale_extent_read: 10, journal(Journal::StaleExtentRead, 1, &[SealCoversCommits]);
    seal_at_the_minimum: 0, journal(Journal::SealAtMinimum, 3, LOST);
    fence_quorum_one: 0, journal(Journal::FenceQuorumOne, 3, LOST);
    ack_quorum_one: 0, journal(Journal::AckQuorumOne, 3, LOST);
    forgotten_reply: 0, journal(Journal::ForgottenReply, 3, LOST);
    late_second_highest: 0, journal(Journal::LateSecondHighest, 3, LOST);
    no_reappend: 0, journal(Journal::NoReappend, 3, &[SealedIsReplicated]);
    speculative_checkpoint: 0, log(Log::SpeculativeCheckpoint, REBUILT);
    stale_tickets_after_a_roll: 0, log(Log::StaleTickets, LOST);
    dedup_state_before_data: 0, log(Log::DedupBeforeData, LOST);
    unproven_end: 0, log(Log::UnprovenEnd, &[NoRegress]);
    release_before_tier: 0, Broken {
        journal: Some(Journal::ReleaseUntiered),
        ..cold(Log::ReleaseUntiered, &[Covered])
    };
    release_before_a_later_checkpoint: 0, Broken {
        cold: Some(true),
        tight: true,
        ..journal(Journal::ReleaseBeforeCheckpoint, 1, &[Covered])
    };
    commit_of_a_cleared_intent: 0, cold(Log::UnconditionalCommit, &[ReferencedExists]);
    collection_of_an_intent_in_flight: 0, cold(Log::CollectInFlight, &[ReferencedExists]);
    condemned_while_live: 0, cold(Log::CondemnLive, &[ReferencedExists]);
    log_start_moved_back: 0, cold(Log::StartMovedBack, &[NoRegress]);
    log_start_forgotten: 0, cold(Log::ForgottenStart, &[NoRegress]);
    swap_of_what_others_have_changed: 195, table(Log::UnconditionalSwap, &[Covered, ReferencedExists]);
    tombstones_dropped_at_once: 0, table(Log::TombstonesAtOnce, &[AckedReadable]);
    merge_that_loses_a_range: 0, table(Log::MergeLosesRange, &[OffsetsDense]);
    condemned_when_in_part_rewritten: 0, table(Log::CondemnInPart, &[Covered]);
    // J12: a piece of a checkpoint passes for the whole.
    checkpoint_without_its_end: 0, Broken {
        journal: Some(Journal::PartialCheckpoint),
        ..log(Log::CheckpointWithoutEnd, REBUILT)
    };
}
