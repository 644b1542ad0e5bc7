//! The handle that gateways, groups and commands hold.

use std::sync::Arc;

use bytes::Bytes;
use tidemark_blob::BlobStore;
use tidemark_lease::Leases;
use tidemark_meta::{MetaError, MetaStore};
use tidemark_records::Batch;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::{Topic, Topics};
use tidemark_types::{
    LeaderEpoch, NodeId, Offset, Ownership, PartitionIndex, ProducerEpoch, ProducerId, ShardId,
    Tenant,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::append::AppendFuture;
use crate::cold::ColdCache;
use crate::counters::Counters;
use crate::env::Env;
use crate::maps::Maps;
use crate::owner::Inbox;
use crate::pids::ProducerIds;
use crate::room::{Room, Wanted};
use crate::shard::{Control, Shard};
use crate::starts::{self, LogStarts};
use crate::tier::Tier;
use crate::view::TailCache;
use crate::waiters::Numbers;
use crate::{
    AppendError, AppendOptions, EpochEnd, FetchRequest, FetchedPartition, Isolation, ListedOffset,
    LogConfig, LogCounters, LogStatus, OffsetSpec, PartitionOffsets, ReadError, TierConfig,
    TierCounters, TruncateError, actor, lookup, poll, tier, truncate,
};

/// Orders to one shard's actor that may wait.
const CONTROL_QUEUE: usize = 1024;

/// The shards of this process. Cheap to clone; all clones are one log.
#[derive(Clone, Debug)]
pub struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    env: Arc<Env>,
    producer_ids: ProducerIds,
    shards: Vec<Arc<Shard>>,
}

impl Log {
    /// Starts an actor per shard; each takes its shard, replays and serves. Returns at once:
    /// [`Log::status`] says how far they are.
    #[must_use]
    pub fn start(
        config: LogConfig,
        leases: Leases,
        topics: Topics,
        meta: Arc<dyn MetaStore>,
        clock: Clock,
        entropy: Entropy,
        tasks: &Tasks,
    ) -> Self {
        Self::start_tiered(config, leases, topics, meta, None, clock, entropy, tasks)
    }

    /// As [`Log::start`], with an object store that the log's older part moves to.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "the components of a log, each once"
    )]
    pub fn start_tiered(
        config: LogConfig,
        leases: Leases,
        topics: Topics,
        meta: Arc<dyn MetaStore>,
        cold: Option<(Arc<dyn BlobStore>, TierConfig)>,
        clock: Clock,
        entropy: Entropy,
        tasks: &Tasks,
    ) -> Self {
        let tier =
            cold.map(|(store, config)| Arc::new(Tier::new(store, config, &clock, &entropy, tasks)));
        let (starts, due) = LogStarts::new(clock.now());
        let read_starts = starts::run(Arc::clone(&meta), due, tasks.token());
        tasks.spawn("reader of log starts", read_starts);
        let env = Arc::new(Env {
            starts,
            fetches: Numbers::default(),
            meta,
            tier,
            cache: TailCache::new(config.tail_cache_bytes),
            cold: ColdCache::new(config.cold_cache_bytes, Maps::new(config.index_cache_bytes)),
            counters: Counters::default(),
            config,
            leases,
            clock,
            entropy,
        });
        let audit = Arc::new(Notify::new());
        let mut shards = Vec::new();
        for id in (0..env.config.shards).map(ShardId) {
            let (queue_in, queue) = mpsc::channel(env.config.inflight_batches_max.max(1));
            let (control_in, control) = mpsc::channel(CONTROL_QUEUE);
            let bounds = (
                env.config.inflight_bytes_max,
                env.config.inflight_batches_max,
            );
            let shard = Arc::new(Shard::new(id, queue_in, control_in, bounds));
            let inbox = Inbox { queue, control };
            let run = actor::run(
                Arc::clone(&env),
                Arc::clone(&shard),
                inbox,
                Arc::clone(&audit),
                tasks.token(),
            );
            tasks.spawn(format!("owner of shard {id}"), run);
            if let Some(tier) = &env.tier {
                tier::spawn(&env, tier, &topics, &shard, tasks);
            }
            shards.push(shard);
        }
        if let Some(tier) = &env.tier {
            let collect = tier::collect::run(Arc::clone(&env), Arc::clone(tier), tasks.token());
            tasks.spawn("collector of cold segments", collect);
        }
        let watch = actor::watch_deleted(topics, shards.clone(), audit, tasks.token());
        tasks.spawn("watch of deleted topics", watch);
        Self(Arc::new(Inner {
            env,
            producer_ids: ProducerIds::default(),
            shards,
        }))
    }

    /// Appends one checked batch. It is enqueued before this returns, in call order, so pipelined requests of
    /// one connection keep their order; the future only waits for the commit.
    ///
    /// The CRC is not checked again. Record count, size, timestamps and keys are checked against the topic's
    /// configuration.
    pub fn append(
        &self,
        tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        batch: Batch,
        options: AppendOptions,
    ) -> AppendFuture {
        match self.room(tenant, topic, index, batch.bytes().len()) {
            Ok(room) => self.append_in(room, topic, batch, options),
            Err(error) => AppendFuture::refused(error),
        }
    }

    /// Room for a batch of `bytes` bytes, if its shard has some now: one that is refused may wait for it with
    /// [`Log::room_within`].
    ///
    /// # Errors
    /// [`AppendError`]; one for which [`AppendError::is_pressure`] holds may pass.
    pub fn room(
        &self,
        tenant: &Tenant,
        topic: &Topic,
        index: PartitionIndex,
        bytes: usize,
    ) -> Result<Room, AppendError> {
        self.wanted(tenant, topic, index, bytes)?.now(&self.0.env)
    }

    /// As [`Log::room`], waiting for it until `deadline`, behind those who came before. Not everyone may wait: the
    /// line is as long as what the shard holds.
    ///
    /// # Errors
    /// [`AppendError`], at once or at the deadline.
    pub async fn room_within(
        &self,
        tenant: &Tenant,
        topic: &Topic,
        index: PartitionIndex,
        bytes: usize,
        deadline: Instant,
    ) -> Result<Room, AppendError> {
        let wanted = self.wanted(tenant, topic, index, bytes)?;
        wanted.within(&self.0.env, deadline).await
    }

    /// As [`Log::append`], for a batch whose room was taken before.
    pub fn append_in(
        &self,
        room: Room,
        topic: &Topic,
        batch: Batch,
        options: AppendOptions,
    ) -> AppendFuture {
        room.append(&self.0.env, topic, batch, options)
            .unwrap_or_else(AppendFuture::refused)
    }

    fn wanted(
        &self,
        tenant: &Tenant,
        topic: &Topic,
        index: PartitionIndex,
        bytes: usize,
    ) -> Result<Wanted<'_>, AppendError> {
        let placement = topic
            .partition(index)
            .filter(|_| topic.tenant == tenant.id())
            .ok_or(AppendError::NoSuchPartition)?;
        let shard = self.shard(placement.shard);
        Ok(Wanted {
            shard: shard.ok_or(AppendError::NotLeader(placement.shard))?,
            index,
            leader_epoch_base: placement.leader_epoch_base,
            bytes,
        })
    }

    /// Reads any number of partitions, waiting for data as the request says. Answers in the request's order.
    pub async fn fetch(&self, tenant: &Tenant, request: FetchRequest) -> Vec<FetchedPartition> {
        let answers = poll::fetch(&self.0.env, &self.0.shards, tenant, &request).await;
        let chunks = answers.iter().flat_map(|a| &a.batches);
        self.0.env.counters.read(chunks.map(Bytes::len).sum());
        answers
    }

    /// As [`Log::fetch`], for callers who may ask again for the same.
    pub async fn fetch_borrowed(
        &self,
        tenant: &Tenant,
        request: &FetchRequest,
    ) -> Vec<FetchedPartition> {
        poll::fetch(&self.0.env, &self.0.shards, tenant, request).await
    }

    /// Finds an offset by position or time.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn list_offset(
        &self,
        tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<ListedOffset, ReadError> {
        let (shard, current) = poll::check(&self.0.shards, tenant, topic, index, None)?;
        let id = topic.partition_id(index);
        lookup::list(&self.0.env, shard, id, spec, current, isolation).await
    }

    /// Deletes a partition's records below `before`, all committed ones for `None`: the offset is where it begins from
    /// now on, for every reader (K3). Answers where it begins; an offset that lies before that changes nothing.
    ///
    /// # Errors
    /// [`TruncateError`].
    pub async fn delete_records(
        &self,
        tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        before: Option<Offset>,
    ) -> Result<Offset, TruncateError> {
        let (shard, _) = poll::check(&self.0.shards, tenant, topic, index, None)?;
        truncate::delete_records(&self.0.env, shard, topic, index, before).await
    }

    /// Where a leader epoch ends (K6). `current` is the leader epoch the client knows, checked when present. An
    /// answer that rests on where the log ends now, or on which epoch is the newest, is given with proof of
    /// ownership (K1).
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn leader_epoch_end(
        &self,
        tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
        current: Option<LeaderEpoch>,
        epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ReadError> {
        let (shard, ours) = poll::check(&self.0.shards, tenant, topic, index, current)?;
        let id = topic.partition_id(index);
        lookup::epoch_end(&self.0.env, shard, id, epoch, ours).await
    }

    /// The partition's committed offsets.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn offsets(
        &self,
        tenant: &Tenant,
        topic: &Arc<Topic>,
        index: PartitionIndex,
    ) -> Result<PartitionOffsets, ReadError> {
        let (shard, leader_epoch) = poll::check(&self.0.shards, tenant, topic, index, None)?;
        let view = shard.view(topic.partition_id(index));
        let env = &self.0.env;
        if let Some(view) = &view {
            env.starts.touch(view, env.clock.now());
        }
        let (log_start, high_watermark) = view.map_or((Offset(0), Offset(0)), |view| {
            let shown = view.state.read();
            (shown.log_start, shown.high_watermark)
        });
        Ok(PartitionOffsets {
            log_start,
            high_watermark,
            leader_epoch,
        })
    }

    /// The node that serves a shard, as far as this process knows: itself, or nobody.
    #[must_use]
    pub fn owner(&self, shard: ShardId) -> Option<NodeId> {
        self.ownership(shard).map(|ownership| ownership.owner.node)
    }

    /// This process's ownership of a shard while it serves it, for owner-side transactions.
    #[must_use]
    pub fn ownership(&self, shard: ShardId) -> Option<Ownership> {
        self.shard(shard)?.ownership().ok()
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
        let shards = u64::from(self.0.env.config.shards.max(1));
        ShardId(u32::try_from(folded % shards).expect("below a u32"))
    }

    /// A producer id that was never given out, with epoch 0 (InitProducerId without a transactional id).
    ///
    /// # Errors
    /// While the metadata store gives no block.
    pub async fn init_producer_id(&self) -> Result<(ProducerId, ProducerEpoch), MetaError> {
        let env = &self.0.env;
        let store = env.meta.as_ref();
        let ids = &self.0.producer_ids;
        ids.next(store, &env.clock, &env.entropy).await
    }

    /// Tries a shard again that stayed closed: after an operator's `unclean-seal`.
    pub fn reopen(&self, shard: ShardId) {
        if let Some(shard) = self.shard(shard) {
            let _ = shard.control.try_send(Control::Reopen);
        }
    }

    /// What was done since the start, for metrics.
    #[must_use]
    pub fn counters(&self) -> LogCounters {
        self.0.env.counters.snapshot()
    }

    /// What tiering did since the start, for metrics; all zero without an object store.
    #[must_use]
    pub fn tier_counters(&self) -> TierCounters {
        let tier = self.0.env.tier.as_ref();
        tier.map_or_else(TierCounters::default, |tier| tier.counters.snapshot())
    }

    /// Every shard's state, for `/readyz` and `tidemark status`.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        LogStatus {
            shards: self.0.shards.iter().map(|s| s.status()).collect(),
        }
    }

    /// Waits until every shard serves.
    pub async fn serving(&self) {
        let mut backoff = std::time::Duration::from_millis(1);
        while !self.status().is_ready() {
            self.0.env.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(std::time::Duration::from_millis(50));
        }
    }

    pub(crate) fn parts(&self) -> (&Arc<Env>, &[Arc<Shard>]) {
        (&self.0.env, &self.0.shards)
    }

    fn shard(&self, id: ShardId) -> Option<&Arc<Shard>> {
        self.0.shards.get(usize::try_from(id.0).ok()?)
    }
}
