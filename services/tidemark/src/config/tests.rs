use std::collections::BTreeMap;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_defaults() {
    let toml = file(
        "[kafka]\nlisten = \"127.0.0.1:1\"\nconnections_max = 7\n[http]\nlisten = \"127.0.0.1:2\"\n",
    );
    let flags = BTreeMap::from([("kafka.listen".to_owned(), "127.0.0.1:3".to_owned())]);
    let env = env(&[
        ("TIDEMARK_KAFKA_LISTEN", "127.0.0.1:4"),
        ("TIDEMARK_HTTP_LISTEN", "127.0.0.1:5"),
    ]);
    let loaded = load(Some(toml.path()), env, &flags).unwrap();
    assert_eq!(loaded.settings.kafka.listen.port(), 3);
    assert_eq!(loaded.settings.http.listen.port(), 5);
    assert_eq!(loaded.settings.kafka.connections_max, 7);
    assert_eq!(loaded.settings.log, LogSettings::default());
    assert_eq!(
        loaded.sources["kafka.listen"],
        Source::Flag("kafka-listen".into())
    );
    assert!(loaded.warnings.is_empty());
}

#[test]
fn unknown_keys_are_warned_about_with_the_nearest_name() {
    let toml = file("[kafka]\nlissten = \"127.0.0.1:1\"\n[nonsense]\nx = 1\n");
    let loaded = load(
        Some(toml.path()),
        env(&[("TIDEMARK_KAFKA_NOPE", "1")]),
        &BTreeMap::new(),
    )
    .unwrap();
    assert_eq!(loaded.warnings.len(), 3, "{:?}", loaded.warnings);
    assert!(
        loaded.warnings[0].contains("did you mean kafka.listen"),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn a_bad_value_names_the_setting_and_where_it_came_from() {
    for (pair, told) in [
        (("TIDEMARK_LOG_TAIL_CACHE", "many"), "is no byte count"),
        (("TIDEMARK_NODE_DRAIN", "soon"), "is no duration"),
        (("TIDEMARK_TOPICS_PARTITIONS", "x"), "i32"),
        (("TIDEMARK_TOPICS_AUTO_CREATE", "maybe"), "boolean"),
        (("TIDEMARK_LOG_SHARDS", "0"), "0 is not in 1 to"),
        (("TIDEMARK_LOG_SHARDS", "100000000"), "is not in 1 to"),
        (("TIDEMARK_TOPICS_PARTITIONS", "0"), "0 is not in 1 to"),
        (
            ("TIDEMARK_WAL_SEGMENT_SIZE", "0"),
            "0 is not in 1MiB to 4GiB",
        ),
        (
            ("TIDEMARK_WAL_SEGMENT_SIZE", "1TiB"),
            "1TiB is not in 1MiB to 4GiB",
        ),
        (
            ("TIDEMARK_WAL_DISK_BUDGET", "255MiB"),
            "it must be at least 256MiB",
        ),
        (
            ("TIDEMARK_KAFKA_REQUEST_MEMORY", "1KiB"),
            "1KiB is not in 100MiB to",
        ),
        (
            ("TIDEMARK_GROUPS_SESSION_TIMEOUT_MIN", "2h"),
            "above the largest, 30m",
        ),
        (
            ("TIDEMARK_GROUPS_SESSION_TIMEOUT_MAX", "1s"),
            "the smallest session timeout, 6s",
        ),
        (
            ("TIDEMARK_GROUPS_SESSION_TIMEOUT_MIN", "0s"),
            "is not in 1ms to",
        ),
    ] {
        let error = load(None, env(&[pair]), &BTreeMap::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains(pair.0) && error.contains(told), "{error}");
    }
}

/// Values that go together are judged together, whatever the order in which they are set.
#[test]
fn settings_that_depend_on_each_other_may_come_from_anywhere() {
    let toml = file(
        "[wal]\ndisk_budget = \"64MiB\"\nsegment_size = \"8MiB\"\n[groups]\nsession_timeout_min = \"2h\"\n",
    );
    let env = env(&[("TIDEMARK_GROUPS_SESSION_TIMEOUT_MAX", "3h")]);
    let loaded = load(Some(toml.path()), env, &BTreeMap::new()).unwrap();
    assert_eq!(loaded.settings.wal.disk_budget, ByteCount::mib(64));
    let toml = file("[wal]\nsegment_size = \"1GiB\"\ndisk_budget = \"3GiB\"\n");
    let refused = load(Some(toml.path()), [], &BTreeMap::new()).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("wal.disk_budget") && text.contains("4GiB"),
        "{text}"
    );
}

#[test]
fn a_missing_or_malformed_file_is_named() {
    let missing = load(
        Some("/nowhere/tidemark.toml".as_ref()),
        [],
        &BTreeMap::new(),
    )
    .unwrap_err();
    assert!(missing.to_string().contains("/nowhere/tidemark.toml"));
    let toml = file("[kafka\n");
    let malformed = load(Some(toml.path()), [], &BTreeMap::new()).unwrap_err();
    assert!(malformed.to_string().contains("line 1"), "{malformed}");
}

#[test]
fn values_are_written_as_they_are_read() {
    for text in ["64MiB", "1GiB", "65537", "0"] {
        assert_eq!(text.parse::<ByteCount>().unwrap().to_string(), text);
    }
    for text in ["250ms", "6s", "15m", "7days"] {
        assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
    }
}

#[test]
fn every_setting_is_documented_and_its_names_are_unique() {
    let envs: std::collections::BTreeSet<_> = SETTINGS.iter().map(SettingDoc::env).collect();
    assert_eq!(envs.len(), SETTINGS.len());
    assert!(SETTINGS.iter().all(|d| !d.doc.is_empty()));
}
