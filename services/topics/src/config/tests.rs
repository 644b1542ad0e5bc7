use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ConfigOp;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn set(pairs: &[(&str, &str)]) -> Result<TopicConfig, ConfigError> {
    TopicConfig::new(map(pairs), &ConfigDefaults::default())
}

#[test]
fn the_table_is_sorted_and_its_defaults_are_canonical() {
    let names: Vec<_> = config_table().iter().map(|s| s.name).collect();
    assert!(names.is_sorted());
    for spec in config_table() {
        let value = spec.parse(spec.default, Durability::Local).unwrap();
        assert_eq!(value.to_string(), spec.default, "{}", spec.name);
        assert!(spec.doc.ends_with('.'), "{}", spec.name);
    }
    assert!(effective::every_default_resolves(&ConfigDefaults::default()));
}

#[test]
fn defaults_are_kafkas() {
    let config = TopicConfig::defaults(&ConfigDefaults::default());
    assert_eq!(config.retention_ms, Some(604_800_000));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.message_timestamp_after_max_ms, 3_600_000);
    assert_eq!(config.message_timestamp_type, TimestampType::CreateTime);
    assert!(config.cleanup_policy.delete && !config.cleanup_policy.compact);
    assert_eq!(config.durability, Durability::Local);
}

#[test]
fn what_connect_and_streams_set_is_accepted() {
    let config = set(&[
        ("cleanup.policy", "compact, delete"),
        ("segment.bytes", "52428800"),
        ("retention.ms", "-1"),
        ("min.insync.replicas", "2"),
        ("message.timestamp.type", "CreateTime"),
        ("unclean.leader.election.enable", "FALSE"),
        ("compression.type", "lz4"),
    ])
    .unwrap();
    assert!(config.cleanup_policy.compact);
    assert_eq!(config.retention_ms, None);
    assert_eq!(config.overrides["cleanup.policy"], "compact,delete");
    assert_eq!(config.overrides["unclean.leader.election.enable"], "false");
}

#[test]
fn bad_values_are_refused() {
    for (name, value) in [
        ("retention.ms", "soon"),
        ("retention.ms", "-2"),
        ("max.message.bytes", "2147483647"),
        ("cleanup.policy", "shred"),
        ("compression.type", "rar"),
        ("compression.gzip.level", "0"),
        ("min.cleanable.dirty.ratio", "1.5"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("preallocate", "yes"),
        ("segment.bytes", "14"),
        ("leader.replication.throttled.replicas", "1:2,x"),
        ("min.insync.replicas", "0"),
    ] {
        let error = set(&[(name, value)]).unwrap_err();
        assert!(
            matches!(error, ConfigError::Value { .. }),
            "{name}={value}: {error}"
        );
    }
    assert_eq!(
        set(&[("message.format.version", "2.8")]),
        Err(ConfigError::Unknown("message.format.version".into()))
    );
    assert!(matches!(
        set(&[("segment.ms", &"1".repeat(9000))]),
        Err(ConfigError::Value { value, .. }) if value.chars().count() < 100
    ));
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    for (name, value) in [
        ("tidemark.durability", "object"),
        ("tidemark.durability", "quorum"),
        ("remote.storage.enable", "true"),
    ] {
        let error = set(&[(name, value)]).unwrap_err();
        assert!(matches!(error, ConfigError::NotHonoured { .. }), "{error}");
    }
    let quorum = ConfigDefaults::new(BTreeMap::new(), Durability::Quorum).unwrap();
    let config = TopicConfig::defaults(&quorum);
    assert_eq!(config.durability, Durability::Quorum);
}

#[test]
fn configs_that_contradict_each_other_are_refused() {
    for pairs in [
        [
            ("min.compaction.lag.ms", "10"),
            ("max.compaction.lag.ms", "9"),
        ],
        [("local.retention.ms", "10"), ("retention.ms", "9")],
        [("local.retention.bytes", "-1"), ("retention.bytes", "9")],
    ] {
        assert!(
            matches!(set(&pairs), Err(ConfigError::Conflict(_))),
            "{pairs:?}"
        );
    }
}

#[test]
fn sources_and_synonyms_follow_precedence() {
    let defaults =
        ConfigDefaults::new(map(&[("retention.ms", "5000")]), Durability::Local).unwrap();
    let own = map(&[("retention.ms", "7")]);
    let find = |overrides: &BTreeMap<_, _>, name: &str| {
        describe::describe(overrides, &defaults)
            .into_iter()
            .find(|e| e.spec.name == name)
            .unwrap()
    };
    let entry = find(&own, "retention.ms");
    assert_eq!(
        (entry.value.as_str(), entry.source),
        ("7", ConfigSource::Topic)
    );
    let names: Vec<_> = entry
        .synonyms
        .iter()
        .map(|s| (s.name, s.value.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("retention.ms", "7"),
            ("log.retention.ms", "5000"),
            ("log.retention.ms", "604800000")
        ]
    );
    let entry = find(&BTreeMap::new(), "retention.ms");
    assert_eq!(
        (entry.value.as_str(), entry.source),
        ("5000", ConfigSource::Service)
    );
    assert_eq!(find(&own, "flush.ms").source, ConfigSource::Default);
}

#[test]
fn ops_change_lists_and_drop_overrides() {
    let d = ConfigDefaults::default();
    let append = |value: &str| ConfigOp::Append {
        name: "cleanup.policy".into(),
        value: value.into(),
    };
    let both = TopicConfig::apply(&BTreeMap::new(), &[append("compact,delete")], &d).unwrap();
    assert_eq!(both["cleanup.policy"], "delete,compact");
    let subtract = ConfigOp::Subtract {
        name: "cleanup.policy".into(),
        value: "delete".into(),
    };
    let compact = TopicConfig::apply(&both, &[subtract], &d).unwrap();
    assert_eq!(compact["cleanup.policy"], "compact");
    let kept = ConfigOp::RetainOnly { names: vec![] };
    assert!(
        TopicConfig::apply(&compact, &[kept], &d)
            .unwrap()
            .is_empty()
    );
    let wrong = ConfigOp::Append {
        name: "retention.ms".into(),
        value: "1".into(),
    };
    assert!(matches!(
        TopicConfig::apply(&both, &[wrong], &d),
        Err(ConfigError::NotAList(_))
    ));
    let unknown = ConfigOp::Delete {
        name: "nope".into(),
    };
    assert!(matches!(
        TopicConfig::apply(&both, &[unknown], &d),
        Err(ConfigError::Unknown(_))
    ));
}

#[test]
fn stored_overrides_that_this_version_does_not_know_survive() {
    let stored = map(&[
        ("from.the.future", "1"),
        ("retention.ms", "x"),
        ("flush.ms", "9"),
    ]);
    let config = TopicConfig::from_stored(stored.clone(), &ConfigDefaults::default());
    assert_eq!(*config.overrides, stored);
    assert_eq!(config.retention_ms, Some(604_800_000));
}

proptest! {
    #[test]
    fn a_canonical_value_is_its_own_canonical_form(
        which in 0..config_table().len(),
        raw in prop_oneof!["-?[0-9]{1,19}", "[0-9.]{1,6}", "(true|FALSE| true )", "[a-zL,: *0-9]{0,20}",
            Just("compact ,delete,compact".to_owned())],
    ) {
        let spec = &config_table()[which];
        if let Ok(value) = spec.parse(&raw, Durability::Local) {
            let canonical = value.to_string();
            prop_assert_eq!(spec.parse(&canonical, Durability::Local), Ok(value));
            let config = TopicConfig::new(map(&[(spec.name, &raw)]), &ConfigDefaults::default());
            if let Ok(config) = config {
                let again = TopicConfig::new((*config.overrides).clone(), &ConfigDefaults::default());
                prop_assert_eq!(again, Ok(config));
            }
        }
    }
}
