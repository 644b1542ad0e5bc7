//! The conformance suite, run by every engine.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod conformance;
mod engines;

macro_rules! conformance {
    ($engine:ident, $attribute:meta: $($test:ident)*) => {
        mod $engine {
            $(
                #[$attribute]
                async fn $test() {
                    if let Some(env) = crate::engines::$engine().await {
                        crate::conformance::$test(env).await.close().await;
                    }
                }
            )*
        }
    };
}

macro_rules! on_every_engine {
    ($($test:ident)*) => {
        conformance!(sim, tokio::test(start_paused = true): $($test)*);
        conformance!(faulty_without_faults, tokio::test(start_paused = true): $($test)*);
        conformance!(embedded, tokio::test(start_paused = true): $($test)*);
        #[cfg(feature = "foundationdb")]
        conformance!(foundationdb, tokio::test: $($test)*);
    };
}

on_every_engine! {
    reads_see_one_version_and_never_what_is_uncommitted
    a_lost_update_is_prevented
    write_skew_is_prevented
    a_phantom_conflicts
    a_limited_range_conflicts_only_with_what_it_returned
    neighbours_do_not_conflict
    clearing_a_range_conflicts_with_reads_in_it
    snapshot_reads_do_not_conflict
    transactions_without_writes_never_conflict
    blind_writes_never_conflict
    reading_what_the_transaction_set_does_not_conflict
    explicit_conflicts_count

    own_writes_are_merged_into_reads
    ranges_obey_order_limit_and_direction
    a_cleared_range_drops_what_was_set_before_and_keeps_what_is_set_after
    atomics_count_without_conflicts
    atomics_on_own_writes_fold
    a_dropped_transaction_has_no_effect

    versionstamps_grow_and_match_the_answer
    a_versionstamped_write_is_not_readable_before_its_commit
    a_later_clear_covers_a_versionstamped_key
    versions_grow_and_reads_never_go_back

    a_watch_fires_when_the_value_changes
    a_watch_armed_late_still_fires
    a_watch_without_a_commit_never_arms

    limits_are_enforced
    wrong_calls_are_refused
    an_old_transaction_is_too_old

    what_was_acked_is_there_after_reopening
    random_interleavings_match_a_model
    concurrent_transfers_apply_exactly_once
}

conformance!(stormy, tokio::test(start_paused = true): concurrent_transfers_apply_exactly_once);
