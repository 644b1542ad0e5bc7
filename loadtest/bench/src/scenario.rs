//! Scenarios: what load to make, as one small TOML file.
//!
//! A scenario is a list of phases that run one after the other against the same topics; a phase produces, reads,
//! or just holds things open, and ends after a duration, a count of records or an amount of bytes. All of a
//! scenario is checked before anything is sent, and every refusal says what would be accepted.

mod check;
mod units;

use std::time::Duration;

use serde::Deserialize;

pub use self::units::{Size, Sizes, Span};

/// A scenario that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not TOML, or not of the scenario's shape; the text shows the line.
    #[error("read scenario: {0}")]
    Shape(String),
    /// The shape is right and the meaning is not.
    #[error("read scenario: {what}\nhint: {hint}")]
    Meaning {
        /// What is wrong.
        what: String,
        /// What would be right.
        hint: &'static str,
    },
}

/// A whole scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for tables and charts.
    pub name: String,
    /// What the numbers mean and do not mean.
    #[serde(default)]
    pub why: String,
    /// Peers that can run it, when not all that speak its protocols can; the report says which were left out.
    #[serde(default)]
    pub only: Vec<String>,
    /// The topics that are written and read.
    #[serde(default)]
    pub topics: Topics,
    /// The records.
    #[serde(default)]
    pub record: Record,
    /// What is done, in order.
    pub phases: Vec<Phase>,
}

/// The topics of a run. They are new for every run, so every record in them is this run's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// How many.
    pub count: u32,
    /// Partitions of each.
    pub partitions: u32,
    /// Replication factor; −1 leaves it to the server.
    pub replication: i16,
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            count: 1,
            partitions: 4,
            replication: -1,
        }
    }
}

/// What the records look like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Record {
    /// Bytes of a record's value.
    pub size: Sizes,
    /// Distinct keys; 0 for records without a key.
    pub keys: u64,
    /// Compression of batches.
    pub codec: Codec,
    /// Share of random bytes, 0 to 1: what a codec can make of the records.
    pub entropy: f64,
    /// Seed of sizes, keys and contents.
    pub seed: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            size: Sizes::Fixed(Size(1024)),
            keys: 0,
            codec: Codec::None,
            entropy: 1.0,
            seed: 1,
        }
    }
}

/// Compression of batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the codecs'")]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// One step of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Its name in reports.
    pub name: String,
    /// Ends after this long.
    pub duration: Option<Span>,
    /// Ends after this many records were produced.
    pub records: Option<u64>,
    /// Ends after this many bytes of values were produced.
    pub bytes: Option<Size>,
    /// Left out of the numbers at the start.
    #[serde(default)]
    pub warmup: Span,
    /// Who writes.
    pub produce: Option<Produce>,
    /// Who reads.
    #[serde(default)]
    pub consume: Vec<Consume>,
    /// What merely exists.
    pub idle: Option<Idle>,
    /// Stops and starts the server first, and measures how long until its first answer; needs a run that owns the server.
    #[serde(default)]
    pub restart: bool,
    /// The restart's stop is SIGKILL instead of SIGTERM: the server recovers.
    #[serde(default)]
    pub kill: bool,
}

/// The protocol of a client.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Kafka's.
    #[default]
    Kafka,
    /// Tidemark's HTTP API.
    Http,
    /// NATS `JetStream`: sequential acks only.
    Nats,
}

/// The producers of a phase.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Produce {
    /// What they speak.
    pub protocol: Protocol,
    /// How many, each with its own connection.
    pub producers: u32,
    /// Records a second of all of them together, on a schedule that does not wait for the server (open loop).
    /// Absent: as fast as acks allow (closed loop).
    pub rate: Option<f64>,
    /// A batch is sent when it has this many bytes …
    pub batch_bytes: Size,
    /// … or its first record is this old.
    pub linger: Span,
    /// Unanswered requests per connection.
    pub in_flight: u32,
    /// One record per batch, the next after the last one's ack.
    pub sequential: bool,
    /// With producer ids and sequence numbers.
    pub idempotent: bool,
    /// A batch that is not acknowledged within this time fails the run.
    pub delivery_timeout: Span,
}

impl Default for Produce {
    fn default() -> Self {
        Self {
            protocol: Protocol::Kafka,
            producers: 1,
            rate: None,
            batch_bytes: Size(16 << 10),
            linger: Span(Duration::ZERO),
            in_flight: 5,
            sequential: false,
            idempotent: true,
            delivery_timeout: Span(Duration::from_secs(120)),
        }
    }
}

/// Where readers begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// At the first record.
    #[default]
    Start,
    /// Behind the last record there is when they start.
    End,
}

/// A set of readers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Consume {
    /// What they speak: `kafka` or `http`.
    pub protocol: Protocol,
    /// How many groups; each reads everything.
    pub groups: u32,
    /// Readers of a group, each with its own connection and its share of the partitions.
    pub members: u32,
    /// Where they begin.
    pub from: From,
    /// They start this long after the phase: catch-up readers.
    pub after: Span,
    /// Commit the group's offsets this often; 0 never.
    pub commit_every: Span,
    /// Bytes a fetch may return.
    pub fetch_bytes: Size,
    /// Bytes a fetch may return per partition.
    pub partition_bytes: Size,
    /// How long a fetch waits for data.
    pub max_wait: Span,
    /// Compare every byte that is read with what was written. Counts and order are always checked.
    pub content: bool,
}

impl Default for Consume {
    fn default() -> Self {
        Self {
            protocol: Protocol::Kafka,
            groups: 1,
            members: 1,
            from: From::Start,
            after: Span(Duration::ZERO),
            commit_every: Span(Duration::from_secs(5)),
            fetch_bytes: Size(50 << 20),
            partition_bytes: Size(1 << 20),
            max_wait: Span(Duration::from_millis(500)),
            content: true,
        }
    }
}

/// What merely exists while the phase lasts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Idle {
    /// Topics made at the phase's start, besides the scenario's.
    pub topics: u32,
    /// Partitions of each of them.
    pub partitions: u32,
    /// Connections that said `ApiVersions` and then nothing.
    pub connections: u32,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// [`ScenarioError`], with the line or a hint.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self =
            toml::from_str(text).map_err(|e| ScenarioError::Shape(e.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Every protocol that the scenario's clients speak.
    #[must_use]
    pub fn protocols(&self) -> Vec<Protocol> {
        let mut all: Vec<Protocol> = self
            .phases
            .iter()
            .flat_map(|p| {
                let produce = p.produce.iter().map(|x| x.protocol);
                let idle = p.idle.iter().map(|_| Protocol::Kafka);
                produce
                    .chain(p.consume.iter().map(|x| x.protocol))
                    .chain(idle)
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Phase {
    /// When it ends by itself, in records, for records of `mean_bytes` on average.
    #[must_use]
    pub fn records_max(&self, mean_bytes: u64) -> Option<u64> {
        let by_bytes = self.bytes.map(|b| (b.0 / mean_bytes.max(1)).max(1));
        match (self.records, by_bytes) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

#[cfg(test)]
mod tests;
