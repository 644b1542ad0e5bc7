//! The effective configuration of one topic, typed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::spec::{ConfigError, ConfigSpec};
use super::table::config_spec;
use super::value::{Value, elements};
use crate::ConfigOp;

/// Names and values of a topic's overrides together, bytes: stays far below a metadata value's bound.
const OVERRIDES_BYTES_MAX: usize = 32 << 10;

/// What happens to old records. Neither: they are kept for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CleanupPolicy {
    /// Old records are removed by time and size.
    pub delete: bool,
    /// The latest value of each key is kept.
    pub compact: bool,
}

/// The codec a broker would recompress to; kept for display.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CompressionType {
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
    Producer,
}

/// Whose time a record carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The server's at the append.
    LogAppendTime,
}

/// How durable an acknowledged record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Synced on one replica.
    #[default]
    Local,
    /// Synced on two of three.
    Quorum,
    /// Payload in object storage, its order synced on two of three.
    Object,
}

impl Durability {
    /// The value of `tidemark.durability`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Quorum => "quorum",
            Self::Object => "object",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Local, Self::Quorum, Self::Object]
            .into_iter()
            .find(|class| class.name() == text)
    }
}

/// Values that the service sets in place of the table's defaults, checked.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ConfigDefaults {
    pub(crate) values: BTreeMap<String, String>,
    pub(crate) durability: Durability,
}

impl ConfigDefaults {
    /// Checks the service's defaults: topic config names with their values, and the class the service offers.
    ///
    /// # Errors
    /// [`ConfigError`] of the first bad one.
    pub fn new(
        values: BTreeMap<String, String>,
        durability: Durability,
    ) -> Result<Self, ConfigError> {
        let empty = Self {
            values: BTreeMap::new(),
            durability,
        };
        let checked = TopicConfig::new(values, &empty)?;
        Ok(Self {
            values: Arc::unwrap_or_clone(checked.overrides),
            durability,
        })
    }

    /// What `spec` is when a topic does not override it.
    pub(crate) fn default_of<'a>(&'a self, spec: &'a ConfigSpec) -> &'a str {
        self.values
            .get(spec.name)
            .map_or_else(|| self.shipped(spec), String::as_str)
    }

    /// What `spec` is when nobody sets it.
    pub(crate) fn shipped(&self, spec: &ConfigSpec) -> &'static str {
        match spec.name {
            "tidemark.durability" => self.durability.name(),
            _ => spec.default,
        }
    }
}

/// A topic's configuration as it holds: overrides over the service's defaults over Kafka's.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`; without effect.
    pub compression_type: CompressionType,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `tidemark.durability`.
    pub durability: Durability,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `max.message.bytes`: the largest batch, bytes.
    pub max_message_bytes: usize,
    /// `message.timestamp.after.max.ms`.
    pub message_timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `retention.bytes`; `None` is unlimited.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` is for ever.
    pub retention_ms: Option<u64>,
    /// What the topic itself sets, by name, in canonical form.
    pub overrides: Arc<BTreeMap<String, String>>,
}

impl TopicConfig {
    /// Checks overrides and resolves the effective values.
    ///
    /// # Errors
    /// [`ConfigError`] of the first bad one.
    pub fn new(
        overrides: BTreeMap<String, String>,
        defaults: &ConfigDefaults,
    ) -> Result<Self, ConfigError> {
        let mut canonical = BTreeMap::new();
        for (name, raw) in overrides {
            let spec = config_spec(&name).ok_or(ConfigError::Unknown(name))?;
            let value = spec.parse(&raw, defaults.durability)?;
            canonical.insert(spec.name.to_owned(), value.to_string());
        }
        let bytes = canonical.iter().map(|(k, v)| k.len() + v.len()).sum();
        if bytes > OVERRIDES_BYTES_MAX {
            return Err(ConfigError::TooLarge {
                bytes,
                max: OVERRIDES_BYTES_MAX,
            });
        }
        let config = Self::resolve(canonical, defaults);
        config.check_together(defaults)?;
        Ok(config)
    }

    /// Resolves overrides read from the store. What this version does not know or allow stays in the
    /// overrides, so nothing is lost, and the default holds in its place.
    #[must_use]
    pub fn from_stored(overrides: BTreeMap<String, String>, defaults: &ConfigDefaults) -> Self {
        Self::resolve(overrides, defaults)
    }

    /// The configuration without overrides.
    #[must_use]
    pub fn defaults(defaults: &ConfigDefaults) -> Self {
        Self::resolve(BTreeMap::new(), defaults)
    }

    /// The overrides after `ops`, not yet checked.
    pub(crate) fn apply(
        overrides: &BTreeMap<String, String>,
        ops: &[ConfigOp],
        defaults: &ConfigDefaults,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut out = overrides.clone();
        for op in ops {
            match op {
                ConfigOp::Set { name, value } => {
                    out.insert(name.clone(), value.clone());
                }
                ConfigOp::Delete { name } => {
                    if config_spec(name).is_none() && !out.contains_key(name) {
                        return Err(ConfigError::Unknown(name.clone()));
                    }
                    out.remove(name);
                }
                ConfigOp::Append { name, value } => {
                    let mut list = current_list(&out, name, defaults)?;
                    let added = elements(value);
                    list.extend(
                        added
                            .into_iter()
                            .filter(|e| !list.contains(e))
                            .collect::<Vec<_>>(),
                    );
                    out.insert(name.clone(), list.join(","));
                }
                ConfigOp::Subtract { name, value } => {
                    let removed = elements(value);
                    let mut list = current_list(&out, name, defaults)?;
                    list.retain(|e| !removed.contains(e));
                    out.insert(name.clone(), list.join(","));
                }
                ConfigOp::RetainOnly { names } => out.retain(|name, _| names.contains(name)),
            }
        }
        Ok(out)
    }

    fn resolve(overrides: BTreeMap<String, String>, defaults: &ConfigDefaults) -> Self {
        let r = Resolver {
            overrides: &overrides,
            defaults,
        };
        let policy = r.list("cleanup.policy");
        Self {
            cleanup_policy: CleanupPolicy {
                delete: policy.iter().any(|e| e == "delete"),
                compact: policy.iter().any(|e| e == "compact"),
            },
            compression_type: compression(&r.text("compression.type")),
            delete_retention_ms: r.whole("delete.retention.ms"),
            durability: Durability::parse(&r.text("tidemark.durability")).unwrap_or_default(),
            max_compaction_lag_ms: r.whole("max.compaction.lag.ms"),
            max_message_bytes: usize::try_from(r.whole("max.message.bytes")).unwrap_or(0),
            message_timestamp_after_max_ms: r.whole("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: r.whole("message.timestamp.before.max.ms"),
            message_timestamp_type: match r.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: r.fraction("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: r.whole("min.compaction.lag.ms"),
            retention_bytes: u64::try_from(r.whole("retention.bytes")).ok(),
            retention_ms: u64::try_from(r.whole("retention.ms")).ok(),
            overrides: Arc::new(overrides),
        }
    }

    /// What Kafka checks across configs (`LogConfig.validateValues`).
    fn check_together(&self, defaults: &ConfigDefaults) -> Result<(), ConfigError> {
        let r = Resolver {
            overrides: &self.overrides,
            defaults,
        };
        let (min, max) = (self.min_compaction_lag_ms, self.max_compaction_lag_ms);
        if min > max {
            return Err(ConfigError::Conflict(format!(
                "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
            )));
        }
        for (local, whole) in [
            ("local.retention.ms", "retention.ms"),
            ("local.retention.bytes", "retention.bytes"),
        ] {
            let (l, w) = (r.whole(local), r.whole(whole));
            if l != -2 && w >= 0 && (l == -1 || l > w) {
                return Err(ConfigError::Conflict(format!(
                    "{local} ({l}) must not exceed {whole} ({w})"
                )));
            }
        }
        Ok(())
    }
}

/// Reads effective values by name.
struct Resolver<'a> {
    overrides: &'a BTreeMap<String, String>,
    defaults: &'a ConfigDefaults,
}

impl Resolver<'_> {
    fn value(&self, name: &str) -> Value {
        let spec = config_spec(name).expect("only names of the table are read");
        let parse = |raw: &str| spec.parse(raw, self.defaults.durability).ok();
        self.overrides
            .get(name)
            .and_then(|raw| parse(raw))
            .or_else(|| parse(self.defaults.default_of(spec)))
            .or_else(|| parse(spec.default))
            .expect("the table's defaults parse")
    }

    fn whole(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Whole(v) => v,
            other => unreachable!("{name} is a whole number, not {other:?}"),
        }
    }

    fn fraction(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Fraction(v) => v,
            other => unreachable!("{name} is a fraction, not {other:?}"),
        }
    }

    fn text(&self, name: &str) -> String {
        self.value(name).to_string()
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::List(v) => v,
            other => unreachable!("{name} is a list, not {other:?}"),
        }
    }
}

fn current_list(
    overrides: &BTreeMap<String, String>,
    name: &str,
    defaults: &ConfigDefaults,
) -> Result<Vec<String>, ConfigError> {
    let spec = config_spec(name).ok_or_else(|| ConfigError::Unknown(name.to_owned()))?;
    if spec.ty != super::ConfigType::List {
        return Err(ConfigError::NotAList(name.to_owned()));
    }
    let current = overrides
        .get(name)
        .map_or_else(|| defaults.default_of(spec), String::as_str);
    Ok(elements(current))
}

fn compression(name: &str) -> CompressionType {
    match name {
        "uncompressed" => CompressionType::Uncompressed,
        "gzip" => CompressionType::Gzip,
        "snappy" => CompressionType::Snappy,
        "lz4" => CompressionType::Lz4,
        "zstd" => CompressionType::Zstd,
        _ => CompressionType::Producer,
    }
}

/// Every name in the table resolves; used by the tests to keep the table and this file together.
#[cfg(test)]
pub(super) fn every_default_resolves(defaults: &ConfigDefaults) -> bool {
    let overrides = BTreeMap::new();
    let r = Resolver {
        overrides: &overrides,
        defaults,
    };
    super::config_table()
        .iter()
        .all(|spec| !matches!(r.value(spec.name), Value::Text(t) if t.is_empty()))
}
