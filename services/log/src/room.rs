//! Room for unacked appends: bounded per shard in bytes and in count, taken in turn.
//!
//! # Overview
//! An append takes its room before it is sequenced and gives it back with its answer. Whoever finds none may wait in
//! line, which keeps the order of a client's pipelined batches where a refusal would leave it to the client's retries.
//! The line is bounded too: by as many bytes as the shard holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidemark_topics::Topic;
use tidemark_types::{Epoch, PartitionIndex, ShardId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::admit;
use crate::append::{AppendError, AppendFuture, AppendOptions};
use crate::backing::{Backing, Charge};
use crate::env::Env;
use crate::error::ReadError;
use crate::shard::{Shard, Submitted};
use crate::tier::counters as tier_counters;
use crate::tier::pressure::Level;

/// The room of a shard.
#[derive(Debug)]
pub(crate) struct Inflight {
    /// A permit is a byte; every append takes at least `least`, which bounds their count.
    free: Arc<Semaphore>,
    total: usize,
    least: usize,
    bytes: AtomicUsize,
    /// Permits that are waited for in line.
    waiting: AtomicUsize,
}

/// Room taken by one append until it is answered.
#[derive(Debug)]
pub(crate) struct Reserved {
    inflight: Arc<Inflight>,
    bytes: usize,
    /// What the gateway gave for the request's memory.
    charge: Option<Charge>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.inflight.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A place in the line.
struct InLine<'a>(&'a Inflight, usize);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Inflight {
    pub(crate) fn new(bytes_max: usize, batches_max: usize) -> Arc<Self> {
        let total = bytes_max.clamp(1, u32::MAX as usize >> 1);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(total)),
            total,
            least: total.div_ceil(batches_max.max(1)),
            bytes: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Bytes of the appends that have room.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Permits for an append. One batch always fits, alone.
    fn permits(&self, bytes: usize) -> u32 {
        let permits = bytes.max(self.least).min(self.total);
        u32::try_from(permits).expect("the total fits")
    }

    fn reserved(self: &Arc<Self>, bytes: usize, permit: OwnedSemaphorePermit) -> Reserved {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Reserved {
            inflight: Arc::clone(self),
            bytes,
            charge: None,
            _permit: permit,
        }
    }

    fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.permits(bytes));
        Some(self.reserved(bytes, permit.ok()?))
    }

    /// Waits behind those who came before.
    async fn reserve(self: &Arc<Self>, bytes: usize) -> Reserved {
        let permit = Arc::clone(&self.free).acquire_many_owned(self.permits(bytes));
        let permit = permit.await.expect("it is never closed");
        self.reserved(bytes, permit)
    }

    /// A place in the line; `None` when it is too long. One batch may always wait.
    fn line(&self, bytes: usize) -> Option<InLine<'_>> {
        let bytes = self.permits(bytes) as usize;
        let before = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let place = InLine(self, bytes);
        (before == 0 || before.saturating_add(bytes) <= self.total).then_some(place)
    }
}

/// Room for one batch of a partition, for [`crate::Log::append_in`].
#[derive(Debug)]
#[must_use = "the room is given back when it is dropped"]
pub struct Room {
    shard: Arc<Shard>,
    index: PartitionIndex,
    leader_epoch_base: i32,
    epoch: Epoch,
    reserved: Reserved,
}

/// A batch that wants room.
pub(crate) struct Wanted<'a> {
    pub(crate) shard: &'a Arc<Shard>,
    pub(crate) index: PartitionIndex,
    pub(crate) leader_epoch_base: i32,
    pub(crate) bytes: usize,
}

impl Wanted<'_> {
    /// The epoch under which the shard takes appends.
    fn epoch(&self) -> Result<Epoch, AppendError> {
        let ownership = self.shard.ownership().map_err(|error| match error {
            ReadError::Closed { shard, why } => AppendError::Closed { shard, why },
            _ => AppendError::NotLeader(self.shard.id),
        });
        Ok(ownership?.epoch)
    }

    fn room(&self, epoch: Epoch, reserved: Reserved) -> Room {
        Room {
            shard: Arc::clone(self.shard),
            index: self.index,
            leader_epoch_base: self.leader_epoch_base,
            epoch,
            reserved,
        }
    }

    /// Takes room if there is some now.
    pub(crate) fn now(&self, env: &Env) -> Result<Room, AppendError> {
        let epoch = self.epoch()?;
        if self.shard.cold.pressure.level() == Level::Full {
            return Err(self.refused(env));
        }
        let reserved = self.shard.inflight.try_reserve(self.bytes);
        let reserved = reserved.ok_or(AppendError::Overloaded(self.shard.id))?;
        Ok(self.room(epoch, reserved))
    }

    /// Waits for room until `deadline`.
    pub(crate) async fn within(&self, env: &Env, deadline: Instant) -> Result<Room, AppendError> {
        self.epoch()?;
        let place = self.shard.inflight.line(self.bytes);
        let _place = place.ok_or_else(|| self.refused(env))?;
        let turn = async {
            self.disk_has_room().await;
            self.shard.inflight.reserve(self.bytes).await
        };
        match tokio::time::timeout_at(deadline, turn).await {
            // The shard may have been lost meanwhile.
            Ok(reserved) => Ok(self.room(self.epoch()?, reserved)),
            Err(_) => Err(self.refused(env)),
        }
    }

    async fn disk_has_room(&self) {
        loop {
            let eased = self.shard.cold.pressure.eased.notified();
            tokio::pin!(eased);
            eased.as_mut().enable();
            if self.shard.cold.pressure.level() < Level::Full || self.shard.ownership().is_err() {
                return;
            }
            eased.await;
        }
    }

    /// What is in the way.
    fn refused(&self, env: &Env) -> AppendError {
        if self.shard.cold.pressure.level() < Level::Full {
            return AppendError::Overloaded(self.shard.id);
        }
        if let Some(tier) = &env.tier {
            tier_counters::count(&tier.counters.refused_appends);
        }
        AppendError::DiskNearlyFull(self.shard.id)
    }
}

impl Room {
    /// Checks a batch and hands it to its shard's actor.
    pub(crate) fn append(
        self,
        env: &Arc<Env>,
        topic: &Topic,
        batch: tidemark_records::Batch,
        options: AppendOptions,
    ) -> Result<AppendFuture, AppendError> {
        let Self {
            shard,
            index,
            leader_epoch_base,
            epoch,
            mut reserved,
        } = self;
        let key = admit::key_stamp(options.idempotency)?;
        let now_ms = env.clock.wall_ms();
        let budget = env.config.decompress_bytes_max;
        let at = batch.bytes().as_ptr();
        let batch = admit::admit(batch, &topic.config, now_ms, budget)?;
        // A batch that was stamped is a copy.
        let backing = options.backing.filter(|_| batch.bytes().as_ptr() == at);
        let (memory, charge) = backing.map(Backing::into_parts).unzip();
        reserved.charge = charge.flatten();
        let (reply, answer) = oneshot::channel();
        let submitted = Submitted {
            partition: topic.partition_id(index),
            leader_epoch_base,
            producer: admit::producer_stamp(&batch),
            batch,
            key,
            expected_offset: options.expected_offset,
            reply,
            reserved,
            memory,
        };
        let refused = |id: ShardId| {
            move |error| match error {
                mpsc::error::TrySendError::Full(_) => AppendError::Overloaded(id),
                mpsc::error::TrySendError::Closed(_) => AppendError::NotLeader(id),
            }
        };
        shard.queue.try_send(submitted).map_err(refused(shard.id))?;
        Ok(AppendFuture::enqueued(
            Arc::clone(env),
            shard,
            epoch,
            answer,
        ))
    }
}
