//! Arbitrary bodies and query strings of every route that takes a body: `cargo +nightly fuzz run body`.
#![no_main]

use std::cell::RefCell;

#[path = "../checks.rs"]
mod checks;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/world.rs"]
mod world;

thread_local! {
    static SERVICE: RefCell<Option<checks::Service>> = const { RefCell::new(None) };
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| SERVICE.with_borrow_mut(|service| {
    service.take_if(|s| s.is_used_up());
    service.get_or_insert_with(checks::Service::start).body(data);
}));
