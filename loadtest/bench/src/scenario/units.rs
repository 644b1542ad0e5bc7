//! Durations (`"5s"`) and sizes (`"128KiB"`, or a number of bytes) as people write them.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// A duration, written as `"500ms"` or `"1m 30s"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug, Default)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        humantime::parse_duration(&text).map(Self).map_err(|e| {
            de::Error::custom(format!(
                "{text:?} is no duration ({e}); write \"5s\" or \"500ms\""
            ))
        })
    }
}

/// A number of bytes, written as `"128KiB"` or as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub struct Size(pub u64);

impl Size {
    /// As a length in memory.
    #[must_use]
    pub fn memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// As a field of the wire.
    #[must_use]
    pub fn field(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a size such as \"128KiB\" or a number of bytes")
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Size, E> {
        u64::try_from(n)
            .map(Size)
            .map_err(|_| E::custom("a size is not negative"))
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Size, E> {
        Ok(Size(n))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse::<bytesize::ByteSize>()
            .map(|b| Size(b.as_u64()))
            .map_err(|e| {
                E::custom(format!(
                    "{text:?} is no size ({e}); write \"128KiB\" or \"4GB\""
                ))
            })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(SizeVisitor)
    }
}

/// How large records are.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Sizes {
    /// All alike: `"1KiB"`.
    Fixed(Size),
    /// Uniform: `{ from = "100B", to = "2KiB" }`, both included.
    Uniform {
        /// The smallest.
        from: Size,
        /// The largest.
        to: Size,
    },
    /// By weight: `[{ bytes = "100B", weight = 9 }, { bytes = "10KiB", weight = 1 }]`.
    Weighted(Vec<Weighted>),
}

/// One size of several.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weighted {
    /// The size.
    pub bytes: Size,
    /// How often, relative to the others.
    pub weight: u32,
}

impl Sizes {
    /// The smallest that occurs; 0 when nothing does.
    #[must_use]
    pub fn smallest(&self) -> u64 {
        match self {
            Self::Fixed(size) => size.0,
            Self::Uniform { from, to } => from.0.min(to.0),
            Self::Weighted(all) => all.iter().map(|w| w.bytes.0).min().unwrap_or(0),
        }
    }

    /// The largest that occurs.
    #[must_use]
    pub fn largest(&self) -> u64 {
        match self {
            Self::Fixed(size) => size.0,
            Self::Uniform { from, to } => from.0.max(to.0),
            Self::Weighted(all) => all.iter().map(|w| w.bytes.0).max().unwrap_or(0),
        }
    }

    /// The mean, bytes.
    #[must_use]
    pub fn mean(&self) -> u64 {
        match self {
            Self::Fixed(size) => size.0,
            Self::Uniform { from, to } => u64::midpoint(from.0, to.0),
            Self::Weighted(all) => {
                let weights: u64 = all.iter().map(|w| u64::from(w.weight)).sum();
                let sum: u64 = all.iter().map(|w| w.bytes.0 * u64::from(w.weight)).sum();
                sum / weights.max(1)
            }
        }
    }

    /// The size that the random number `draw` picks.
    #[must_use]
    pub fn pick(&self, draw: u64) -> usize {
        let bytes = match self {
            Self::Fixed(size) => size.0,
            Self::Uniform { from, to } => {
                let (low, high) = (from.0.min(to.0), from.0.max(to.0));
                low + draw % (high - low + 1)
            }
            Self::Weighted(all) => {
                let weights: u64 = all.iter().map(|w| u64::from(w.weight)).sum();
                let mut left = draw % weights.max(1);
                let found = all.iter().find(|w| {
                    let here = left < u64::from(w.weight);
                    left = left.saturating_sub(u64::from(w.weight));
                    here
                });
                found.map_or(0, |w| w.bytes.0)
            }
        };
        Size(bytes).memory()
    }
}
