//! Bytes that are no requests: an error, no panic, and no more memory than the bound says.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use tidemark_wire::limits::DECODED_PER_FRAME_BYTE;
use tidemark_wire::{RequestHeader, produce::ProduceRequest, reencode, with_trimmed};

use crate::alloc::{self, peak_of};
use crate::samples;

/// Reads a frame (without its length prefix) as the gateway does.
pub(crate) fn read(frame: &[u8]) {
    let mut body = Bytes::copy_from_slice(frame);
    if let Ok(header) = RequestHeader::decode(&mut body) {
        if header.api_key == 0 && (0..=13).contains(&header.api_version) {
            let _ = ProduceRequest::decode(body.clone(), header.api_version);
        }
        let _ = reencode(header.api_key, header.api_version, body);
    }
}

/// Frames that lie about lengths, per API and version.
pub(crate) fn nasty() -> Vec<(String, Bytes)> {
    let lies: [(&str, &[u8]); 5] = [
        ("array-max", &[0x7f, 0xff, 0xff, 0xff]),
        ("varint-max", &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("varint-endless", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("null", &[0xff, 0xff, 0xff, 0xff]),
        ("empty", &[]),
    ];
    let mut seen = std::collections::BTreeSet::new();
    let mut out = Vec::new();
    for sample in samples::all() {
        let (key, version) = (sample.key as i16, sample.version);
        if !seen.insert((key, version)) {
            continue;
        }
        for (what, lie) in lies {
            let mut frame = header(key, version);
            frame.put_slice(lie);
            frame.put_bytes(1, 64);
            out.push((format!("{key}-{version}-{what}"), frame.freeze()));
        }
    }
    out
}

pub(crate) fn header(key: i16, version: i16) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(1);
    frame.put_i16(-1);
    if tidemark_wire::request_header_version(key, version) >= 2 {
        frame.put_u8(0);
    }
    frame
}

/// Decoding holds a frame's copy, and both the request read and the one written again.
fn bound(frame: usize) -> usize {
    (64 << 10) + frame * (DECODED_PER_FRAME_BYTE + 4)
}

#[test]
fn lies_about_lengths_cost_no_memory() {
    for (name, frame) in nasty() {
        let peak = peak_of(|| read(&frame));
        assert!(peak <= bound(frame.len()), "{name}: {peak} bytes");
    }
}

#[test]
fn frames_full_of_tiny_elements_stay_within_the_estimate() {
    for sample in samples::all() {
        let mut frame = header(sample.key as i16, sample.version);
        // A plausible count, then as many one-byte elements as fit.
        frame.put_slice(&[0xff, 0xff, 0x03]);
        frame.put_bytes(1, 64 << 10);
        let peak = peak_of(|| read(&frame));
        assert!(peak <= bound(frame.len()), "{:?}: {peak}", sample.key);
    }
}

/// Decodes as the gateway does; checks that what is kept is what is said.
fn check_held(key: i16, version: i16, body: &Bytes) -> bool {
    let mut decoded = false;
    alloc::reset();
    let result = with_trimmed(key, version, body.clone(), &mut |_, held| {
        decoded = true;
        let live = alloc::live();
        // A vector's smallest block; a boxed error; nothing that grows with the frame.
        assert!(
            live <= held + 256,
            "{key} version {version}: keeps {live} bytes, says {held}"
        );
    });
    assert_eq!(result.expect("known key").is_ok(), decoded);
    decoded
}

#[test]
fn what_requests_keep_is_what_they_say() {
    for sample in samples::all() {
        assert!(check_held(sample.key as i16, sample.version, &sample.body));
    }
    for (key, version, body) in samples::large() {
        assert!(check_held(key, version, &body), "{key} {version}");
    }
}

#[test]
fn every_truncation_of_every_request_is_an_error() {
    for sample in samples::all() {
        let (key, version) = (sample.key as i16, sample.version);
        for n in 0..sample.body.len() {
            let cut = reencode(key, version, sample.body.slice(..n));
            assert!(cut.expect("known key").is_err(), "{key} {version} {n}");
        }
        let longer = [&sample.body[..], &[0]].concat();
        let trailing = reencode(key, version, longer.into());
        assert!(trailing.expect("known key").is_err());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        key in 0i16..93, version in -1i16..20, body in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        let mut frame = header(key, version);
        frame.put_slice(&body);
        let peak = peak_of(|| read(&frame));
        prop_assert!(peak <= bound(frame.len()));
    }

    #[test]
    fn mutated_requests_never_panic(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8) {
        let samples = samples::all();
        let sample = pick.get(&samples);
        let mut frame = header(sample.key as i16, sample.version);
        frame.put_slice(&sample.body);
        let body = frame.len() - sample.body.len();
        let at = at.index(frame.len());
        frame[at] = byte;
        if at >= body {
            check_held(sample.key as i16, sample.version, &frame.clone().freeze().slice(body..));
        }
        let peak = peak_of(|| read(&frame));
        prop_assert!(peak <= bound(frame.len()));
    }
}
