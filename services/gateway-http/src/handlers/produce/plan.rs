//! From records to batches, and from acks to answers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tidemark_log::{AppendAck, AppendError, AppendFuture, AppendOptions};
use tidemark_records::{BatchBuilder, Compression, Header, murmur2, partition_for_key};
use tidemark_topics::{CompressionType, Topic};
use tidemark_types::{ErrorCode, PartitionIndex};
use utoipa::ToSchema;

use super::record::Place;
use super::{Target, part_key};
use crate::{Ctx, Problem};

/// After this long an append's outcome counts as unknown (K5). Far beyond any takeover.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// What a record takes in a batch besides its key, value and headers, bytes: lengths, deltas, counts.
const RECORD_OVERHEAD_BYTES: usize = 40;

/// A record as it will be stored.
pub(super) struct Incoming {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<Header>,
    pub(super) partition: Option<i32>,
    pub(super) timestamp: i64,
}

impl Incoming {
    /// Bytes it takes in a batch, about.
    pub(super) fn size(&self) -> usize {
        let len = |part: Option<usize>| part.unwrap_or(0);
        let headers = self
            .headers
            .iter()
            .map(|h| h.key.len() + len(h.value.as_ref().map(|v| v.len())) + 10);
        RECORD_OVERHEAD_BYTES
            + len(self.key.as_ref().map(Vec::len))
            + len(self.value.as_ref().map(Vec::len))
            + headers.sum::<usize>()
    }
}

/// Records sorted into batches, one after the other per partition.
pub(super) struct Plan {
    topic: Arc<Topic>,
    partition: Option<i32>,
    keyless: PartitionIndex,
    compression: Compression,
    batches: Vec<(PartitionIndex, BatchBuilder)>,
    /// Partition → its last batch.
    open: BTreeMap<PartitionIndex, usize>,
    /// Per record: its batch, and its place in it.
    records: Vec<(usize, usize)>,
}

impl Plan {
    pub(super) fn new(ctx: &Ctx, target: &Target) -> Self {
        let compression = match target.topic.config.compression_type {
            CompressionType::Gzip => Compression::Gzip,
            CompressionType::Snappy => Compression::Snappy,
            CompressionType::Lz4 => Compression::Lz4,
            CompressionType::Zstd => Compression::Zstd,
            CompressionType::Uncompressed | CompressionType::Producer => Compression::None,
        };
        // Under an idempotency key a retry must choose the same partition.
        let turn = match &target.key {
            Some(key) => murmur2(key.as_bytes()).cast_unsigned(),
            None => ctx.next_keyless(),
        };
        let keyless = PartitionIndex((turn % count(&target.topic)).cast_signed());
        Self {
            topic: Arc::clone(&target.topic),
            partition: target.partition,
            keyless,
            compression,
            batches: Vec::new(),
            open: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.batches.iter().map(|(_, b)| b.size()).sum()
    }

    /// Adds a record to the last batch of its partition, or to a new one when the topic allows no larger batch.
    pub(super) fn add(&mut self, record: &Incoming) -> Result<(), Problem> {
        self.check_key(record)?;
        let index = self.choose(record)?;
        let max = self.topic.config.max_message_bytes;
        let has_room = |b: &(PartitionIndex, BatchBuilder)| b.1.size() + record.size() <= max;
        let last = self.open.get(&index).copied();
        let at = last
            .filter(|at| has_room(&self.batches[*at]))
            .unwrap_or_else(|| {
                self.batches
                    .push((index, BatchBuilder::new(self.compression)));
                self.batches.len() - 1
            });
        let builder = &mut self.batches[at].1;
        let place = builder.len();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let pushed = builder.push(record.timestamp, key, value, &record.headers);
        if let Err(e) = pushed {
            if place == 0 {
                self.batches.truncate(at);
            }
            return Err(Problem::of(&e));
        }
        self.open.insert(index, at);
        self.records.push((at, place));
        Ok(())
    }

    /// What a compacted topic demands of each record; the log would refuse the whole batch.
    fn check_key(&self, record: &Incoming) -> Result<(), Problem> {
        if record.key.is_some() || !self.topic.config.cleanup_policy.compact {
            return Ok(());
        }
        let why = format!(
            "append record: it has no key, which topic {} needs as it is compacted",
            self.topic.name
        );
        Err(Problem::new(ErrorCode::InvalidRecord, why))
    }

    fn choose(&self, record: &Incoming) -> Result<PartitionIndex, Problem> {
        let Some(index) = record.partition.or(self.partition) else {
            return Ok(match &record.key {
                Some(key) => partition_for_key(key, count(&self.topic)),
                None => self.keyless,
            });
        };
        let index = PartitionIndex(index);
        if self.topic.partition(index).is_none() {
            return Err(Problem::new(
                ErrorCode::UnknownTopicOrPartition,
                format!(
                    "choose partition {index}: topic {} has {}",
                    self.topic.name,
                    self.topic.partition_count()
                ),
            ));
        }
        Ok(index)
    }

    /// Enqueues every batch, in order. `fingerprint` is what the client sent; `part` numbers the first batch.
    pub(super) fn append(
        self,
        ctx: &Ctx,
        target: &Target,
        fingerprint: u64,
        part: usize,
    ) -> Result<Appending, Problem> {
        if target.expected_offset.is_some() && self.batches.len() > 1 {
            return Err(Problem::invalid(
                "append at an expected offset: the records do not fit into one batch of one partition",
            ));
        }
        let mut appends = Vec::with_capacity(self.batches.len());
        // All are built before any is appended.
        let mut built = Vec::with_capacity(self.batches.len());
        for (index, builder) in self.batches {
            built.push((index, builder.build().map_err(|e| Problem::of(&e))?));
        }
        for (i, (index, batch)) in built.into_iter().enumerate() {
            let options = AppendOptions {
                expected_offset: target.expected_offset,
                idempotency: target
                    .key
                    .as_deref()
                    .map(|key| part_key(key, part + i, fingerprint)),
                ..AppendOptions::default()
            };
            let (records, timestamp) = (batch.header().record_count, batch.header().max_timestamp);
            let append = ctx
                .log()
                .append(ctx.tenant(), &self.topic, index, batch, options);
            appends.push((index, records, timestamp, append));
        }
        Ok(Appending {
            durability: self.topic.config.durability.name(),
            topic: self.topic,
            appends,
            records: self.records,
            deadline: ctx.clock().now() + ACK_WAIT,
        })
    }
}

fn count(topic: &Topic) -> NonZeroU32 {
    u32::try_from(topic.partitions.len())
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN)
}

/// Batches on their way.
pub(super) struct Appending {
    topic: Arc<Topic>,
    durability: &'static str,
    appends: Vec<(PartitionIndex, i32, i64, AppendFuture)>,
    records: Vec<(usize, usize)>,
    deadline: tokio::time::Instant,
}

/// What became of a produce request.
#[derive(Serialize, ToSchema)]
pub(crate) struct Produced {
    /// The topic.
    topic: String,
    /// What the acks stand for: `local`, `quorum` or `object`.
    durability: &'static str,
    /// The batches, in the order in which they were appended.
    batches: Vec<AppendedBatch>,
    /// Where each record went, in the request's order.
    records: Vec<Place>,
    /// Per record, its batch.
    #[serde(skip)]
    batch_of: Vec<usize>,
}

/// What became of one batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppendedBatch {
    /// Its partition.
    partition: i32,
    /// The records in it.
    record_count: i32,
    /// Offset of its first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    base_offset: Option<i64>,
    /// The time the log gave its records, or the largest of their own, ms since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    /// It was appended before, under the same idempotency key.
    duplicate: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

impl Produced {
    /// The failed batches' problems.
    pub(super) fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.batches.iter().filter_map(|b| b.error.as_ref())
    }

    pub(super) fn all_failed(&self) -> bool {
        self.batches.iter().all(|b| b.error.is_some())
    }

    /// Per record: its place, and its batch's timestamp or problem.
    pub(super) fn into_records(
        self,
    ) -> impl Iterator<Item = (Place, Result<Option<i64>, Problem>)> {
        let batches = self.batches;
        let places = self.records.into_iter().zip(self.batch_of);
        places.map(move |(place, at)| {
            let batch = &batches[at];
            let outcome = match &batch.error {
                Some(problem) => Err(problem.clone()),
                None => Ok(batch.timestamp),
            };
            (place, outcome)
        })
    }
}

impl Appending {
    /// Waits for all acks.
    pub(super) async fn finish(self) -> Produced {
        let mut batches = Vec::with_capacity(self.appends.len());
        for (index, record_count, timestamp, append) in self.appends {
            let outcome = match tokio::time::timeout_at(self.deadline, append).await {
                Ok(outcome) => outcome.map_err(|e| refused(&e)),
                Err(_) => Err(Problem::new(
                    ErrorCode::OutcomeUnknown,
                    format!("append to partition {index}: no ack within {ACK_WAIT:?}"),
                )),
            };
            batches.push(appended(index, record_count, timestamp, outcome));
        }
        let records = self
            .records
            .iter()
            .map(|(batch, nth)| {
                let batch = &batches[*batch];
                let nth = i64::try_from(*nth).unwrap_or(i64::MAX);
                Place {
                    partition: batch.partition,
                    offset: batch.base_offset.map(|base| base + nth),
                }
            })
            .collect();
        Produced {
            topic: self.topic.name.clone(),
            durability: self.durability,
            batches,
            records,
            batch_of: self.records.into_iter().map(|(batch, _)| batch).collect(),
        }
    }
}

fn appended(
    index: PartitionIndex,
    record_count: i32,
    timestamp: i64,
    outcome: Result<AppendAck, Problem>,
) -> AppendedBatch {
    let ack = outcome.as_ref().ok();
    AppendedBatch {
        partition: index.0,
        record_count,
        base_offset: ack.map(|a| a.base_offset.0),
        timestamp: ack.map(|a| a.log_append_time_ms.unwrap_or(timestamp)),
        duplicate: ack.is_some_and(|a| a.duplicate),
        error: outcome.err(),
    }
}

fn refused(error: &AppendError) -> Problem {
    let problem = Problem::of(error);
    match error {
        AppendError::ExpectedOffset { next, .. } => problem.with("next_offset", next.0),
        _ => problem,
    }
}
