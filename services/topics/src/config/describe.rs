//! A topic's configuration as DescribeConfigs shows it: value, source and synonyms (KIP-226).

use std::collections::BTreeMap;

use super::effective::ConfigDefaults;
use super::spec::ConfigSpec;
use super::table::config_table;

/// Where a value comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigSource {
    /// The topic overrides it.
    Topic,
    /// The service's settings set it for all topics.
    Service,
    /// Nobody set it.
    Default,
}

impl ConfigSource {
    /// The number DescribeConfigs answers (`ConfigResponse.ConfigSource`).
    #[must_use]
    pub const fn kafka(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::Service => 4,
            Self::Default => 5,
        }
    }
}

/// One of the values a config could take, by precedence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigSynonym {
    /// The name under which it is set there.
    pub name: &'static str,
    /// The value there.
    pub value: String,
    /// Where that is.
    pub source: ConfigSource,
}

/// One effective config of a topic.
#[derive(Clone, Debug)]
pub struct ConfigEntry {
    /// What the config is.
    pub spec: &'static ConfigSpec,
    /// Its effective value.
    pub value: String,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// All its values, the effective one first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// Every config of the table with its value under `overrides`, in the order of the names.
pub(crate) fn describe(
    overrides: &BTreeMap<String, String>,
    defaults: &ConfigDefaults,
) -> Vec<ConfigEntry> {
    config_table()
        .iter()
        .map(|spec| {
            let own = overrides.get(spec.name).map(|value| ConfigSynonym {
                name: spec.name,
                value: value.clone(),
                source: ConfigSource::Topic,
            });
            let service = defaults.values.get(spec.name).map(|value| ConfigSynonym {
                name: spec.broker_name,
                value: value.clone(),
                source: ConfigSource::Service,
            });
            let shipped = ConfigSynonym {
                name: spec.broker_name,
                value: defaults.shipped(spec).to_owned(),
                source: ConfigSource::Default,
            };
            let synonyms: Vec<_> = own.into_iter().chain(service).chain([shipped]).collect();
            ConfigEntry {
                spec,
                value: synonyms[0].value.clone(),
                source: synonyms[0].source,
                synonyms,
            }
        })
        .collect()
}
