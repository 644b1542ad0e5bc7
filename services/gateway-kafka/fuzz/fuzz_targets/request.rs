//! A whole request without its length prefix: header, then the decoder of its API and version. What decodes and is
//! written again decodes to the same bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidemark_wire::produce::ProduceRequest;
use tidemark_wire::{RequestHeader, reencode};

fuzz_target!(|frame: &[u8]| {
    let mut body = Bytes::copy_from_slice(frame);
    let Ok(header) = RequestHeader::decode(&mut body) else {
        return;
    };
    let (key, version) = (header.api_key, header.api_version);
    if key == 0 && (0..=13).contains(&version) {
        let _ = ProduceRequest::decode(body.clone(), version);
    }
    if let Some(Ok(again)) = reencode(key, version, body) {
        let twice = reencode(key, version, again.clone()).expect("the key is known");
        assert_eq!(twice.expect("what was written decodes"), again);
    }
});
