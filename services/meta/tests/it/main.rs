//! The conformance suite, run by every engine.

mod conformance;
mod engines;

macro_rules! conformance {
    ($engine:ident, $($test:ident)*) => {
        mod $engine {
            $(
                #[tokio::test(start_paused = true)]
                async fn $test() {
                    crate::conformance::$test(&crate::engines::$engine().await).await;
                }
            )*
        }
    };
}

macro_rules! on_engines {
    ($($test:ident)*) => {
        conformance!(sim, $($test)*);
    };
}

on_engines! {
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
}
