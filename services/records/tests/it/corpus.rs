//! Replays the fuzz corpus: what was found once stays found.

use std::path::PathBuf;

use tidemark_records::Compression;

use crate::checks;
use crate::samples::small;

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", "batches"]
        .iter()
        .collect()
}

/// The seeds the fuzzer starts from; a test keeps the files equal to them.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for codec in Compression::ALL {
        let whole = small(codec).into_bytes().to_vec();
        seeds.push((format!("{codec}-cut"), whole[..whole.len() - 3].to_vec()));
        seeds.push((format!("{codec}-twice"), whole.repeat(2)));
    }
    let mut old = small(Compression::None).into_bytes().to_vec();
    old[16] = 1;
    seeds.push(("magic-1".to_owned(), old));
    seeds.push((
        "length-max".to_owned(),
        [&[0; 8][..], &[0x7f, 0xff, 0xff, 0xff], &[0; 60]].concat(),
    ));
    seeds
}

#[test]
fn corpus_passes() {
    let mut files = 0;
    for entry in std::fs::read_dir(folder()).expect("the corpus is in the tree") {
        let path = entry.unwrap().path();
        checks::batches(&std::fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files >= seeds().len(), "{files} files in the corpus");
}

#[test]
fn seeds_pass_and_are_in_the_corpus() {
    for (name, bytes) in seeds() {
        checks::batches(&bytes);
        let path = folder().join(&name);
        if std::env::var_os("TIDEMARK_WRITE").is_some() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a test that rewrites its fixture"
            )]
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(
            path.exists(),
            "run with TIDEMARK_WRITE=1 to write seed {name}"
        );
    }
}
