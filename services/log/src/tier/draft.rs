//! A partition's own object in the making, and how it becomes part of the log: intent, put, swap.

use bytes::Bytes;
use tidemark_meta::keys::cold1::{Level1Object, Level1Row};
use tidemark_records::PREFIX_BYTES;
use tidemark_segment::{Builder, OutOfOrder};
use tidemark_types::{ObjectId, Offset, PartitionId};

use super::commit::CommitError;
use super::counters::{add, count};
use super::job::{Job, RoundError};
use super::objects::ObjectError;
use super::retain::not_before;
use super::rows::Level1;
use super::swap::{Swap, swap};
use crate::view::StoredBatch;

/// Why a run of compaction ended early; what it committed stays, and the next one goes on from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompactError {
    #[error("{0}")]
    Topics(#[from] tidemark_topics::TopicError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Put(#[from] RoundError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("{0}")]
    Order(#[from] OutOfOrder),
}

impl CompactError {
    /// Someone else owns the shard: nothing failed.
    pub(crate) const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Put(RoundError::NotOwner) | Self::Commit(CommitError::NotOwner(_))
        )
    }
}

/// See the module.
pub(crate) struct Draft {
    object: ObjectId,
    builder: Builder,
    partition: PartitionId,
    base: Offset,
    records: u64,
    horizon_ms: Option<i64>,
}

impl Draft {
    /// An object for the partition's offsets from `base` on.
    pub(crate) fn new(job: Job<'_>, partition: PartitionId, base: Offset) -> Self {
        let object = job.new_object();
        Self {
            object,
            builder: Builder::of_partition(object, base),
            partition,
            base,
            records: 0,
            horizon_ms: None,
        }
    }

    /// First offset it covers.
    pub(crate) const fn base(&self) -> Offset {
        self.base
    }

    /// When the first of its tombstones may go.
    pub(crate) const fn horizon_ms(&self) -> Option<i64> {
        self.horizon_ms
    }

    /// Bytes of its batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.builder.bytes()
    }

    /// Adds a batch; from its bytes behind the prefix: how many records it has, and when its tombstones may go.
    pub(crate) fn push(&mut self, batch: StoredBatch) -> Result<(), OutOfOrder> {
        let span = batch.span();
        self.records += records_of(&batch.rest);
        self.builder
            .push(self.partition, span, batch.prefix, batch.rest)
    }

    /// Notes that a tombstone in it may go at `ms`.
    pub(crate) fn tombstones_until(&mut self, ms: i64) {
        self.horizon_ms = Some(self.horizon_ms.map_or(ms, |earliest| earliest.min(ms)));
    }

    /// Puts the object, and has it cover `[base, end)` in place of `gone`. Without a batch the row stands alone.
    pub(crate) async fn publish(
        self,
        job: Job<'_>,
        gone: &[Level1],
        end: Offset,
        clean: Offset,
    ) -> Result<(), CompactError> {
        let object = self.object;
        let outcome = self.put_and_commit(job, gone, end, clean).await;
        give_up_if_failed(job, object, outcome).await
    }

    async fn put_and_commit(
        self,
        job: Job<'_>,
        gone: &[Level1],
        end: Offset,
        clean: Offset,
    ) -> Result<(), CompactError> {
        let tier = job.tier;
        let mut index = None;
        let mut object = None;
        if !self.builder.is_empty() {
            let built = self.builder.finish_partition(end);
            job.put(self.object, &built.chunks).await?;
            count(&tier.counters.compaction_puts);
            add(&tier.counters.compaction_put_bytes, built.bytes);
            object = Some(Level1Object {
                object: self.object,
                bytes: built.bytes,
                index_at: built.index_at,
                records: self.records,
                max_timestamp: built.max_timestamp,
            });
            index = Some(built.index);
        }
        let row = Level1Row {
            base: self.base,
            object,
            clean,
            horizon_ms: self.horizon_ms,
        };
        commit(job, self.partition, gone, Level1 { end, row }).await?;
        if let Some(index) = index {
            tier.objects.keep_index(self.object, index);
        }
        Ok(())
    }
}

/// Leaves no object behind until the next epoch when its run failed.
pub(crate) async fn give_up_if_failed(
    job: Job<'_>,
    object: ObjectId,
    outcome: Result<(), CompactError>,
) -> Result<(), CompactError> {
    if let Err(error) = outcome.as_ref()
        && !error.is_loss()
    {
        let is_foreign = matches!(error, CompactError::Put(error) if error.is_foreign());
        job.give_up(object, is_foreign).await;
    }
    outcome
}

/// Replaces rows in the store, then for readers.
pub(crate) async fn commit(
    job: Job<'_>,
    partition: PartitionId,
    gone: &[Level1],
    new: Level1,
) -> Result<(), CompactError> {
    let Job {
        env,
        tier,
        shard,
        ownership,
    } = job;
    let change = Swap {
        partition,
        gone,
        new,
        not_before_ms: not_before(env, tier),
    };
    job.until_known(&tier.counters.compaction_failures, || {
        swap(env, ownership, change)
    })
    .await?;
    shard.cold.swap(partition, gone, Some(new));
    let taken_out = gone.iter().filter(|row| row.row.object != new.row.object);
    add(&tier.counters.objects_condemned, taken_out.count() as u64);
    Ok(())
}

/// The record count that a batch's header states: the last of the 61 bytes before the records.
fn records_of(rest: &Bytes) -> u64 {
    const COUNT_AT: usize = 57 - PREFIX_BYTES;
    let count = rest.get(COUNT_AT..COUNT_AT + 4);
    let count = count.and_then(|bytes| bytes.try_into().ok());
    u64::from(count.map_or(0, u32::from_be_bytes))
}
