//! Partition rows, a transaction's worth at a time.

use futures_util::FutureExt;
use tidemark_meta::keys::change::{ChangeKey, touch};
use tidemark_meta::keys::partition::{PartitionKey, PartitionRecord, ShardPartitionKey};
use tidemark_meta::keys::topic::{TopicKey, TopicRecord, TopicState};
use tidemark_meta::keys::{clear, get, put, scan};
use tidemark_meta::{MetaError, Mode, Transaction};
use tidemark_types::{Offset, PartitionId, PartitionIndex, TopicId};

use super::{Address, Refusal, Run, TopicStore, place};

/// Partitions whose rows one transaction writes or clears. Each has 2 keys, a transaction at most 2,000; at under
/// 250 bytes of keys, values and conflict ranges for both, it stays under 500 kB.
pub(super) const CHUNK: u32 = 900;

const _: () = assert!(CHUNK * 2 + 10 < 2_000 && CHUNK * 250 < 500_000);

/// What a step of an unfinished change found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// There is more to do.
    More,
    /// The topic is as it should be.
    Ready(TopicRecord),
    /// The topic is gone.
    Gone,
}

pub(super) fn partition_id(topic: TopicId, index: u32) -> PartitionId {
    PartitionId {
        topic,
        index: PartitionIndex(i32::try_from(index).unwrap_or(i32::MAX)),
    }
}

/// Writes the rows of partitions `from..to`.
pub(super) fn write_rows(tx: &mut dyn Transaction, at: Address, from: u32, to: u32, shards: u32) {
    for index in from..to {
        let partition = partition_id(at.topic, index);
        let placement = place(at.topic, index, shards);
        let record = PartitionRecord {
            tenant: at.tenant,
            shard: placement.shard,
            leader_epoch_base: placement.leader_epoch_base,
            log_start: Offset(0),
        };
        put(tx, &PartitionKey(partition), &record);
        let shard = placement.shard;
        put(tx, &ShardPartitionKey { shard, partition }, &());
    }
}

/// Clears the rows of up to a chunk of partitions. `true`: none is left.
pub(super) async fn clear_rows(
    tx: &mut dyn Transaction,
    topic: TopicId,
) -> Result<bool, MetaError> {
    let range = PartitionKey::of_topic(topic, PartitionIndex(0));
    let limit = usize::try_from(CHUNK).unwrap_or(usize::MAX);
    // Conflicting reads: whoever moves a row's log start at the same time must not bring it back.
    let rows = scan::<PartitionKey>(tx, range, limit, Mode::Serializable).await?;
    for (key, record) in &rows {
        clear(tx, key);
        let shard = record.shard;
        let partition = key.0;
        clear(tx, &ShardPartitionKey { shard, partition });
    }
    Ok(rows.len() < limit)
}

impl TopicStore {
    /// Carries an unfinished change of a topic to its end, whoever began it. Safe beside others that do the same:
    /// the cursor is in the topic's row, which every step reads and writes.
    pub(crate) async fn finish(&self, at: Address) -> Result<Progress, Refusal> {
        loop {
            let (progress, _) = self.change(|tx| step(tx, at, self.shards).boxed()).await?;
            if progress != Progress::More {
                return Ok(progress);
            }
        }
    }
}

async fn step(tx: &mut dyn Transaction, at: Address, shards: u32) -> Run<Progress> {
    let Address { tenant, topic } = at;
    let key = TopicKey { tenant, topic };
    let Some(mut record) = get(tx, &key, Mode::Serializable).await? else {
        return Ok(Progress::Gone);
    };
    let (target, written, growing) = match record.state {
        TopicState::Ready => return Ok(Progress::Ready(record)),
        TopicState::Deleting => {
            if clear_rows(tx, topic).await? {
                clear(tx, &key);
                return Ok(Progress::Gone);
            }
            put(tx, &key, &record);
            return Ok(Progress::More);
        }
        TopicState::Creating { target, written } => (target, written, false),
        TopicState::Growing { target, written } => (target, written, true),
    };
    let to = target.min(written.saturating_add(CHUNK));
    write_rows(tx, at, written, to, shards);
    record.state = match (to < target, growing) {
        (false, _) => {
            record.partitions = target;
            record.revision += 1;
            touch(tx, ChangeKey::topics(tenant));
            TopicState::Ready
        }
        (true, false) => TopicState::Creating {
            target,
            written: to,
        },
        (true, true) => TopicState::Growing {
            target,
            written: to,
        },
    };
    put(tx, &key, &record);
    Ok(match record.state {
        TopicState::Ready => Progress::Ready(record),
        _ => Progress::More,
    })
}
