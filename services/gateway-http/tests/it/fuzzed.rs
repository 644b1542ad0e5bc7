//! The fuzzer's corpus, replayed.

use crate::checks::Service;

#[test]
fn the_corpus_is_answered() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/body");
    let mut service = Service::start();
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        service.body(&std::fs::read(&path).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 30, "{replayed}");
}
