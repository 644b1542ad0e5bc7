//! What a config is: its type, default, rule and effect.

use super::value::Rule;

/// Why a config is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// No topic config has this name.
    #[error("Unknown topic config name: {0}")]
    Unknown(String),
    /// The value breaks the config's rule.
    #[error("Invalid value {value} for configuration {name}: {why}")]
    Value {
        /// The config.
        name: String,
        /// The value, shortened when long.
        value: String,
        /// The rule it breaks.
        why: String,
    },
    /// The value is one of Kafka's but would promise what this service does not do.
    #[error("Configuration {name}={value} cannot be honoured: {why}")]
    NotHonoured {
        /// The config.
        name: String,
        /// The value.
        value: String,
        /// What is missing.
        why: String,
    },
    /// Two configs contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// APPEND or SUBTRACT on a config that is no list.
    #[error("Can't APPEND to or SUBTRACT from configuration {0}: it is not a list")]
    NotAList(String),
    /// A SET, APPEND or SUBTRACT without a value.
    #[error("Null value not supported for : {0}")]
    NoValue(String),
    /// The topic's overrides together are too long to store.
    #[error(
        "The configuration is too large: {bytes} bytes of names and values, at most {max} are allowed"
    )]
    TooLarge {
        /// Bytes of all names and values.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// A config's type, as DescribeConfigs names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// Text, one of a set.
    String,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// A fraction.
    Double,
    /// Comma-separated elements.
    List,
}

impl ConfigType {
    /// The number DescribeConfigs answers (`ConfigResponse.ConfigType`).
    #[must_use]
    pub const fn kafka(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }

    /// The type's name, for documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
        }
    }
}

/// Whether a config does anything here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It does what Kafka's documentation says.
    Honoured,
    /// Background work applies it to what has been tiered; what is only hot yet is left alone.
    ToColdSegments,
    /// It tunes a mechanism that this service does not have; kept and shown, without effect on what clients see.
    None,
}

impl Effect {
    /// One sentence for the config's documentation.
    #[must_use]
    pub const fn note(self) -> &'static str {
        match self {
            Self::Honoured => "Honoured.",
            Self::ToColdSegments => "Applied to what has been tiered, by background work.",
            Self::None => "Accepted for compatibility, without effect here.",
        }
    }
}

/// One row of the table of topic configs.
#[derive(Debug)]
pub struct ConfigSpec {
    /// The config's name on a topic.
    pub name: &'static str,
    /// The broker config that holds its default, as DescribeConfigs lists it among the synonyms.
    pub broker_name: &'static str,
    /// Its type.
    pub ty: ConfigType,
    /// Its value when neither topic nor service sets it.
    pub default: &'static str,
    /// What it does here.
    pub effect: Effect,
    /// What it means, in a sentence or two.
    pub doc: &'static str,
    pub(crate) rule: Rule,
}

impl ConfigSpec {
    /// The documentation with the note on its effect here.
    #[must_use]
    pub fn documentation(&self) -> String {
        format!("{} {}", self.doc, self.effect.note())
    }

    /// The allowed values in words, for documentation.
    #[must_use]
    pub fn valid_values(&self) -> String {
        self.rule.to_string()
    }
}
