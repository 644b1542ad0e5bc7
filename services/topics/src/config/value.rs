//! Config values: parsed by their rule, written back in one canonical form.

use std::fmt;

use super::effective::Durability;
use super::spec::{ConfigError, ConfigSpec};

/// Longest single value, bytes: throttled-replica lists are the only long ones, and those have no effect.
const VALUE_BYTES_MAX: usize = 8 << 10;
/// How much of a refused value an error message repeats, characters.
const SHOWN_CHARS_MAX: usize = 80;

/// What a config's value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Bool,
    /// Kafka allows true as well, but it would promise what is not there.
    OnlyFalse(&'static str),
    /// A whole number in `min..=max`.
    Range {
        min: i64,
        max: i64,
    },
    /// A whole number in `min..=max`, or `or`.
    RangeOr {
        min: i64,
        max: i64,
        or: i64,
    },
    /// A number in 0..=1.
    Fraction,
    OneOf(&'static [&'static str]),
    /// Elements of a set, possibly none.
    Elements(&'static [&'static str]),
    /// `*` or `partition:broker` pairs.
    ThrottledReplicas,
    /// A durability class that the service offers.
    Durability,
}

/// A parsed value.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Value {
    Bool(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => v.fmt(f),
            Self::Whole(v) => v.fmt(f),
            // Java writes 1.0, never 1.
            Self::Fraction(v) => write!(f, "{v:?}"),
            Self::Text(v) => v.fmt(f),
            Self::List(v) => f.write_str(&v.join(",")),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::OnlyFalse(_) => f.write_str("false"),
            Self::Range { min, max } if *max >= i64::from(i32::MAX) => write!(f, "[{min},...]"),
            Self::Range { min, max } => write!(f, "[{min},...,{max}]"),
            Self::RangeOr { min, max, or } => write!(f, "[{min},...,{max}] or {or}"),
            Self::Fraction => f.write_str("[0,...,1]"),
            Self::OneOf(set) => write!(f, "one of [{}]", set.join(", ")),
            Self::Elements(set) => write!(f, "any of [{}]", set.join(", ")),
            Self::ThrottledReplicas => f.write_str("* or partition:broker,..."),
            Self::Durability => f.write_str("a class this service offers"),
        }
    }
}

impl ConfigSpec {
    /// Parses a value; its `Display` is the canonical form that is stored.
    pub(crate) fn parse(&self, raw: &str, offered: Durability) -> Result<Value, ConfigError> {
        let refused = |why: &str| ConfigError::Value {
            name: self.name.to_owned(),
            value: shown(raw),
            why: why.to_owned(),
        };
        if raw.len() > VALUE_BYTES_MAX {
            return Err(refused(&format!("longer than {VALUE_BYTES_MAX} bytes")));
        }
        let text = raw.trim();
        let within = || refused(&format!("Value must be {}", self.rule));
        match self.rule {
            Rule::Bool | Rule::OnlyFalse(_) => self.parse_bool(text, within),
            Rule::Range { min, max } => {
                let v = text.parse().map_err(|_| refused("Not a whole number"))?;
                if !(min..=max).contains(&v) {
                    return Err(within());
                }
                Ok(Value::Whole(v))
            }
            Rule::RangeOr { min, max, or } => {
                let v = text.parse().map_err(|_| refused("Not a whole number"))?;
                if v != or && !(min..=max).contains(&v) {
                    return Err(within());
                }
                Ok(Value::Whole(v))
            }
            Rule::Fraction => {
                let v: f64 = text.parse().map_err(|_| refused("Not a number"))?;
                if !(0.0..=1.0).contains(&v) {
                    return Err(within());
                }
                Ok(Value::Fraction(v.abs()))
            }
            Rule::OneOf(set) if set.contains(&text) => Ok(Value::Text(text.to_owned())),
            Rule::OneOf(_) => Err(within()),
            Rule::Elements(set) => {
                let list = elements(text);
                if list.iter().any(|e| !set.contains(&e.as_str())) {
                    return Err(within());
                }
                Ok(Value::List(list))
            }
            Rule::ThrottledReplicas => {
                let list = elements(text);
                if !(list == ["*"] || list.iter().all(|e| is_replica(e))) {
                    return Err(within());
                }
                Ok(Value::List(list))
            }
            Rule::Durability => self.parse_durability(text, offered, within),
        }
    }

    fn parse_bool(
        &self,
        text: &str,
        refused: impl Fn() -> ConfigError,
    ) -> Result<Value, ConfigError> {
        let value = match text.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return Err(refused()),
        };
        match self.rule {
            Rule::OnlyFalse(why) if value => Err(ConfigError::NotHonoured {
                name: self.name.to_owned(),
                value: text.to_owned(),
                why: why.to_owned(),
            }),
            _ => Ok(Value::Bool(value)),
        }
    }

    fn parse_durability(
        &self,
        text: &str,
        offered: Durability,
        refused: impl Fn() -> ConfigError,
    ) -> Result<Value, ConfigError> {
        let class = Durability::parse(text).ok_or_else(refused)?;
        if class != offered {
            return Err(ConfigError::NotHonoured {
                name: self.name.to_owned(),
                value: text.to_owned(),
                why: format!("this service offers the class '{}' only", offered.name()),
            });
        }
        Ok(Value::Text(text.to_owned()))
    }
}

/// The elements of a comma-separated list, trimmed, each once, in their order.
pub(crate) fn elements(text: &str) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for element in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        if seen.insert(element) {
            list.push(element.to_owned());
        }
    }
    list
}

fn is_replica(element: &str) -> bool {
    element.split_once(':').is_some_and(|(partition, broker)| {
        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
    })
}

fn shown(raw: &str) -> String {
    let mut chars = raw.chars();
    let mut out: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}
