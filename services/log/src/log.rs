//! The handle that gateways, groups and commands hold.

use std::sync::Arc;

use tidemark_records::Batch;
use tidemark_topics::Topic;
use tidemark_types::{
    LeaderEpoch, NodeId, Ownership, PartitionIndex, ProducerEpoch, ProducerId, ShardId, Tenant,
};

use crate::append::AppendFuture;
use crate::{
    AppendError, AppendOptions, EpochEnd, FetchRequest, FetchedPartition, Isolation, ListedOffset,
    LogConfig, LogStatus, OffsetSpec, PartitionOffsets, ReadError,
};

/// The shards of this process. Cheap to clone; all clones are one log.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LogConfig,
}

impl Log {
    /// Appends one checked batch. It is enqueued before this returns, in call order, so pipelined requests of
    /// one connection keep their order; the future only waits for the commit.
    ///
    /// The CRC is not checked again. Record count, size, timestamps, codec and keys are checked against the
    /// topic's configuration.
    pub fn append(
        &self,
        _tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        _batch: Batch,
        _options: AppendOptions,
    ) -> AppendFuture {
        AppendFuture::refused(match topic.partition(index) {
            None => AppendError::NoSuchPartition,
            Some(p) => AppendError::NotLeader(p.shard),
        })
    }

    /// Reads any number of partitions, waiting for data as the request says. Answers in the request's order.
    pub async fn fetch(&self, _tenant: &Tenant, request: FetchRequest) -> Vec<FetchedPartition> {
        let failed = FetchedPartition::failed(tidemark_types::ErrorCode::NotLeader);
        vec![failed; request.partitions.len()]
    }

    /// Finds an offset by position or time.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn list_offset(
        &self,
        _tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        _spec: OffsetSpec,
        _isolation: Isolation,
    ) -> Result<ListedOffset, ReadError> {
        Err(not_leader(topic, index))
    }

    /// Where a leader epoch ends (K6).
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn leader_epoch_end(
        &self,
        _tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        _current: Option<LeaderEpoch>,
        _epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        Err(not_leader(topic, index))
    }

    /// The partition's committed offsets.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn offsets(
        &self,
        _tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
    ) -> Result<PartitionOffsets, ReadError> {
        Err(not_leader(topic, index))
    }

    /// The node that serves a shard, as far as this process knows.
    #[must_use]
    pub fn owner(&self, _shard: ShardId) -> Option<NodeId> {
        None
    }

    /// This process's ownership of a shard while it serves it, for owner-side transactions.
    #[must_use]
    pub fn ownership(&self, _shard: ShardId) -> Option<Ownership> {
        None
    }

    /// The shard whose owner coordinates a group. The same in every version of the software: stored state
    /// depends on it.
    #[must_use]
    pub fn shard_of_group(&self, tenant: &Tenant, group: &str) -> ShardId {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in tenant.id().0.to_be_bytes().iter().chain(group.as_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // FNV-1a's low bits are weak for short inputs: fold the high half in.
        let folded = hash ^ (hash >> 32);
        let shards = u64::from(self.0.config.shards.max(1));
        ShardId(u32::try_from(folded % shards).expect("below a u32"))
    }

    /// A producer id that was never given out, with epoch 0 (InitProducerId without a transactional id).
    ///
    /// # Errors
    /// [`ReadError::NotLeader`]-like retriable codes while the metadata store gives no block.
    pub async fn init_producer_id(
        &self,
    ) -> Result<(ProducerId, ProducerEpoch), tidemark_meta::MetaError> {
        Err(tidemark_meta::MetaError::Unavailable(
            "the log does not serve yet".to_owned(),
        ))
    }

    /// Every shard's state, for `/readyz` and `tidemark status`.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        LogStatus { shards: Vec::new() }
    }
}

fn not_leader(topic: &Topic, index: PartitionIndex) -> ReadError {
    topic
        .partition(index)
        .map_or(ReadError::NoSuchPartition, |p| {
            ReadError::NotLeader(p.shard)
        })
}
