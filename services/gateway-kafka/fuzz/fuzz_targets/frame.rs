//! The first twelve bytes of a frame: judged without a panic, lengths within their bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemark_wire::frame::{FrameHead, HEAD_BYTES, bytes_max};

fuzz_target!(|raw: [u8; HEAD_BYTES]| {
    if let Ok(head) = FrameHead::parse(&raw) {
        assert!(head.length <= bytes_max(head.api_key));
    }
});
