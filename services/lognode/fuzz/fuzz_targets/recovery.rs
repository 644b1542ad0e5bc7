//! Arbitrary damage to a WAL: `cargo +nightly fuzz run recovery`.
#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::recovery(data));
