//! The conformance suite, run by every engine, bare and decorated.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod conformance;
mod engines;
#[cfg(feature = "s3")]
mod s3_faults;
#[cfg(feature = "s3")]
mod s3_outages;
#[cfg(feature = "s3")]
mod scripted;
#[cfg(feature = "s3")]
mod unusable;
#[cfg(feature = "s3")]
mod versity;

macro_rules! conformance {
    ($engine:ident = $env:path, $attribute:meta: $($test:ident)*) => {
        mod $engine {
            $(
                #[$attribute]
                async fn $test() {
                    if let Some(env) = $env().await {
                        crate::conformance::$test(env).await;
                    }
                }
            )*
        }
    };
}

macro_rules! on_every_engine {
    ($($test:ident)*) => {
        conformance!(sim = crate::engines::sim, tokio::test(start_paused = true): $($test)*);
        conformance!(faulty_without_faults = crate::engines::faulty_without_faults, tokio::test(start_paused = true): $($test)*);
        conformance!(retrying_in_a_storm = crate::engines::retrying_in_a_storm, tokio::test(start_paused = true): $($test)*);
        conformance!(fs = crate::engines::fs, tokio::test: $($test)*);
        conformance!(decorated_fs = crate::engines::decorated_fs, tokio::test: $($test)*);
        #[cfg(feature = "s3")]
        conformance!(versitygw = crate::versity::versitygw, tokio::test: $($test)*);
        #[cfg(feature = "s3")]
        conformance!(decorated_versitygw = crate::versity::decorated_versitygw, tokio::test: $($test)*);
        #[cfg(feature = "s3")]
        conformance!(named_s3 = crate::versity::named_s3, tokio::test: $($test)*);
    };
}

on_every_engine! {
    what_was_put_is_read_back
    any_body_is_read_back
    ranges_are_exact_or_refused
    absent_objects_are_not_found
    a_conditional_put_has_one_winner
    a_repeated_put_knows_its_own_object
    replacing_is_whole
    deleting_is_idempotent
    listing_is_ordered_and_complete
    listing_obeys_prefix_and_after
    a_listing_tells_sizes_and_ages
    impossible_calls_are_refused
    a_large_object_survives
}
