//! Recovery of arbitrary damage: the fuzzer's corpus, and inputs of its form made here.

use proptest::prelude::*;

use crate::checks;

#[test]
fn the_corpus_is_recovered() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/recovery");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = std::fs::read(&path).unwrap();
        println!("{}", path.display());
        checks::recovery(&data);
        replayed += 1;
    }
    assert!(replayed >= 8, "{replayed}");
}

/// An edit, most of them near a block's start, where headers and tables are.
fn edit() -> impl Strategy<Value = [u8; 6]> {
    let offset = prop_oneof![
        3 => (0u16..16, 0u16..400).prop_map(|(page, byte)| page * 4096 + byte),
        1 => any::<u16>(),
    ];
    let rest = (any::<u8>(), offset, 0u8..5, any::<u8>(), any::<u8>());
    rest.prop_map(|(file, offset, op, a, b)| {
        let [hi, lo] = offset.to_be_bytes();
        [file, hi, lo, op, a, b]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_damage_is_recovered(edits in prop::collection::vec(edit(), 1..6), forged: bool) {
        let mut data = vec![u8::from(forged)];
        data.extend(edits.concat());
        checks::recovery(&data);
    }

    #[test]
    fn any_bytes_are_recovered(
        mut pages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
    ) {
        let mut data = vec![0xff];
        for page in &mut pages {
            data.extend_from_slice(b"tdwl\0\x01");
            page.resize(4096 - 6, 0);
            data.append(page);
        }
        checks::recovery(&data);
    }
}
