//! Commit: from the journal's committed end to state, readers and answers, in LSN order.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidemark_journal::{Part, WriterEnd};
use tidemark_lease::OwnerError;
use tidemark_records::PREFIX_BYTES;
use tidemark_runtime::{Invariant, check_invariant};
use tidemark_types::{Lsn, PartitionId};

use super::Owner;
use super::build::Pending;
use crate::backing::Memory;
use crate::head::{BatchEntry, Entry, Head};
use crate::state::PartitionState;
use crate::tier::pressure;
use crate::view::{Cached, StoredBatch, View};

impl Owner {
    /// The writer's watch moved (or its sender is gone).
    pub(super) fn on_committed(&mut self, gone: bool) -> Result<(), String> {
        let seen = self.committed.borrow_and_update().clone();
        self.committed_to(seen.end);
        if self.env.tier.is_some() {
            pressure::look(&self.env, &self.shard);
        }
        match seen.ended {
            // The roll in progress retires it; its outcome decides.
            Some(WriterEnd::Retired) if self.rolling.is_some() => Ok(()),
            // Reads go on, appends are refused, and the shard moves on once the log nodes can.
            Some(why @ (WriterEnd::Full { .. } | WriterEnd::Storage { .. })) => {
                self.on_stuck(&why);
                Ok(())
            }
            Some(why) => Err(why.to_string()),
            None if gone && self.rolling.is_none() => Err("the journal writer is gone".to_owned()),
            None => Ok(()),
        }
    }

    /// The open extent is committed up to `end`: everything that follows from it.
    pub(super) fn committed_to(&mut self, end: Lsn) {
        self.open.set_end(end);
        while self.pending.front().is_some_and(|p| p.lsn < end)
            && let Some(frame) = self.pending.pop_front()
        {
            self.commit(frame);
        }
        if self
            .checkpoint_end
            .is_some_and(|checkpoint| end >= checkpoint)
        {
            self.checkpoint_end = None;
            // The new extent takes frames, so appends are taken again.
            self.stuck = None;
            self.start_marking();
        }
    }

    fn commit(&mut self, frame: Pending) {
        let Pending {
            ticket,
            lsn,
            head,
            parts,
            memory,
            waiters,
        } = frame;
        if let Some(index) = &mut *self.open.index.write() {
            index.note(lsn, &head, parts.iter().map(|p| p.bytes.len()));
        }
        let records = head
            .batches()
            .map(|b| u64::try_from(b.offsets).unwrap_or_default());
        let bytes = parts.iter().map(|p| p.bytes.len()).sum();
        self.env
            .counters
            .committed(parts.len(), records.sum(), bytes);
        self.state.apply(&head);
        self.settle(&head, ticket);
        self.publish(&head, &parts, memory);
        for mut waiter in waiters {
            if let Ok(ack) = &mut waiter.outcome
                && let Some(state) = self.state.partitions.get(&waiter.partition)
            {
                ack.log_start = state.log_start;
                check_invariant!(
                    Invariant::AckedReadable,
                    ack.base_offset < state.next_offset,
                    "{}: ack of {} at high watermark {}",
                    waiter.partition,
                    ack.base_offset,
                    state.next_offset
                );
            }
            let _ = waiter.reply.send(waiter.outcome);
        }
    }

    fn settle(&mut self, head: &Head, ticket: u64) {
        for entry in &head.entries {
            let (partition, producer) = match entry {
                Entry::Batch(b) => (b.partition, b.producer.map(|p| p.id)),
                Entry::Expire { partition, .. } => (*partition, None),
                Entry::Forget(_) => continue,
            };
            if self
                .flights
                .get_mut(&partition)
                .is_some_and(|f| f.settle(ticket, producer))
            {
                self.flights.remove(&partition);
            }
        }
    }

    /// Shows a frame's batches to readers and wakes those who wait for them.
    fn publish(&mut self, head: &Head, parts: &[Part], memory: Vec<Option<Arc<Memory>>>) {
        let prefixes = prefixes(head, parts);
        let mut shown = Vec::with_capacity(parts.len());
        let batches = head.batches().zip(parts).zip(memory);
        for (i, ((batch, part), memory)) in batches.enumerate() {
            let Some(state) = self.state.partitions.get(&batch.partition) else {
                continue;
            };
            let view = self.view_of(batch, state);
            let prefix = prefixes.slice(i * PREFIX_BYTES..(i + 1) * PREFIX_BYTES);
            view.publish(state, stored(batch, prefix, &part.bytes));
            shown.push(Cached::new(view, part.bytes.len(), memory));
        }
        self.shard.waiters.wake(shown.iter().map(Cached::partition));
        self.env.cache.account(shown);
        for entry in &head.entries {
            if let Entry::Forget(topic) = entry {
                self.forget_views(|id| id.topic == *topic);
            }
        }
    }

    fn view_of(&self, batch: &BatchEntry, state: &PartitionState) -> Arc<View> {
        if let Some(view) = self.shard.view(batch.partition) {
            return view;
        }
        // What is shown is the state before this batch: several batches of a frame are shown one by one.
        let before = PartitionState {
            next_offset: batch.base_offset,
            log_start: state.log_start,
            ..PartitionState::default()
        };
        let view = Arc::new(View::new(batch.partition, &before));
        self.shard
            .views
            .write()
            .insert(batch.partition, Arc::clone(&view));
        view
    }

    fn forget_views(&self, gone: impl Fn(&PartitionId) -> bool) {
        let mut views = self.shard.views.write();
        let ids: Vec<PartitionId> = views.keys().filter(|id| gone(id)).copied().collect();
        for id in &ids {
            views.remove(id);
        }
        drop(views);
        self.shard.waiters.wake(ids.into_iter());
    }

    /// J12: the checkpoint is committed; its extent's row says so, in the background.
    fn start_marking(&mut self) {
        let env = Arc::clone(&self.env);
        let ownership = self.ownership;
        let extent = self.open.extent.id.index;
        let is_marked = self.is_marked;
        self.marking = Some(Box::pin(async move {
            let mut backoff = super::takeover::retry_forever();
            let mark = async || {
                env.leases.mark_checkpoint(&ownership, extent).await?;
                if !is_marked {
                    env.leases.mark_serving(&ownership).await?;
                }
                Ok(())
            };
            loop {
                match mark().await {
                    Err(OwnerError::Store(error)) if error.is_retriable() => {
                        backoff.wait(&env.clock, &env.entropy).await;
                    }
                    decided => return decided,
                }
            }
        }));
    }

    pub(super) fn on_marked(&mut self, outcome: &Result<(), OwnerError>) -> Result<(), String> {
        self.is_marked |= outcome.is_ok();
        outcome.as_ref().map_err(ToString::to_string).copied()
    }
}

/// The first bytes of all of a frame's batches, in one allocation.
pub(crate) fn prefixes(head: &Head, parts: &[Part]) -> Bytes {
    let mut out = BytesMut::with_capacity(parts.len() * PREFIX_BYTES);
    for (batch, part) in head.batches().zip(parts) {
        out.extend_from_slice(&batch.prefix(part.bytes.len(), part.crc));
    }
    out.freeze()
}

/// A batch as readers get it.
pub(crate) fn stored(batch: &BatchEntry, prefix: Bytes, bytes: &Bytes) -> StoredBatch {
    StoredBatch {
        base: batch.base_offset,
        end: batch.end(),
        max_timestamp: batch.max_timestamp,
        prefix,
        rest: bytes.slice(PREFIX_BYTES.min(bytes.len())..),
    }
}
