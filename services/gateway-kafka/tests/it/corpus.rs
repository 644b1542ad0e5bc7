//! The fuzzers' corpus, replayed. `TIDEMARK_WRITE=1` writes the seeds: a valid request and frames that lie,
//! for the lowest and highest version of every API.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::BufMut;

use crate::{hostile, samples};

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/request"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that rewrites its fixture"
)]
fn write_seeds() {
    let mut ends: BTreeMap<i16, (i16, i16)> = BTreeMap::new();
    let samples = samples::all();
    for s in &samples {
        let end = ends.entry(s.key as i16).or_insert((s.version, s.version));
        *end = (end.0.min(s.version), end.1.max(s.version));
    }
    let keeps = |key: i16, version: i16| [ends[&key].0, ends[&key].1].contains(&version);
    std::fs::create_dir_all(corpus()).expect("the corpus folder can be made");
    for (i, s) in samples.iter().enumerate() {
        let (key, version) = (s.key as i16, s.version);
        if keeps(key, version) {
            let mut frame = hostile::header(key, version);
            frame.put_slice(&s.body);
            let name = format!("{key}-{version}-valid-{i}");
            std::fs::write(corpus().join(name), &frame).expect("the seed is written");
        }
    }
    for (name, frame) in hostile::nasty() {
        let mut parts = name.split('-').map(|p| p.parse().unwrap_or(-1));
        let (key, version) = (parts.next().unwrap_or(-1), parts.next().unwrap_or(-1));
        if keeps(key, version) && !name.ends_with("empty") {
            std::fs::write(corpus().join(name), &frame).expect("the seed is written");
        }
    }
}

#[test]
fn corpus_never_panics() {
    if std::env::var_os("TIDEMARK_WRITE").is_some() {
        write_seeds();
    }
    let mut replayed = 0;
    for entry in std::fs::read_dir(corpus()).expect("the corpus is in the tree") {
        let path = entry.expect("the corpus can be listed").path();
        hostile::read(&std::fs::read(&path).expect("the seed can be read"));
        replayed += 1;
    }
    assert!(replayed > 100, "only {replayed} seeds");
}
