//! Arbitrary bytes as concatenated batches: `cargo +nightly fuzz run batches`.
#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::batches(data));
