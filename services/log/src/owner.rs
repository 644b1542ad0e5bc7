//! One ownership of one shard: the only place that sequences its appends.
//!
//! # Overview
//! Appends are decided against the sequenced state, gathered into the frame being built, and sent as soon as
//! the pipeline has room: no timer, the wait for the disk is what gathers. The writer's committed watch moves
//! frames to the committed state in LSN order, shows them to readers, then answers those who wait.
//!
//! # Cancellation
//! When an owner ends with frames in flight their waiters learn that the outcome is unknown (K5).

mod build;
mod commit;
mod expire;
mod forgotten;
mod leave;
mod roll;
mod takeover;
#[cfg(test)]
mod tests;
mod written;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidemark_journal::{Committed, Writer};
use tidemark_lease::{OwnerError, OwnershipState, RollError, Rolled};
use tidemark_runtime::{Backoff, FastMap};
use tidemark_types::{Lsn, Ownership, PartitionId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::build::leader_epoch;
use self::build::{Building, Pending};
pub(crate) use self::commit::{prefixes, stored};
use self::forgotten::Forgotten;
pub(crate) use self::takeover::{TakeoverError, take_over};
use self::written::Written;
use crate::append::AppendError;
use crate::env::Env;
use crate::index::ReadableExtent;
use crate::sequence::{Flight, Ticket};
use crate::shard::{Control, Shard, Submitted};
use crate::state::CommittedState;
use crate::status::ShardState;

/// Frames in flight before further batches wait to be gathered. Deep enough that the disk always has the
/// next frame while it syncs one, shallow enough that small batches share frames under load.
const PIPELINE_FRAMES_MAX: usize = 8;
/// How often age, lost replicas and expiry are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long a stopping owner waits for what is in flight.
const DRAIN: Duration = Duration::from_secs(10);

/// Why an owner ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The process stops; everything in flight was answered and the shard released.
    Stopped,
    /// The shard must be taken again (or another owner has it).
    Lost(String),
}

/// An ownership. See the module's documentation.
pub(crate) struct Owner {
    env: Arc<Env>,
    shard: Arc<Shard>,
    ownership: Ownership,
    writer: Writer,
    committed: watch::Receiver<Committed>,
    held: watch::Receiver<OwnershipState>,
    open: Arc<ReadableExtent>,
    opened_at: Instant,
    /// Since the open extent was opened.
    written: Written,
    /// The writer's bytes when the open extent's checkpoint had been appended.
    checkpoint_bytes: u64,
    /// The writer's bytes beyond these, as of the newest frame.
    data_bytes: u64,
    /// End of the open extent's checkpoint while it is not committed.
    checkpoint_end: Option<Lsn>,
    marking: Option<BoxFuture<'static, Result<(), OwnerError>>>,
    /// The shard's row says SERVING: it does from the first committed checkpoint on.
    is_marked: bool,
    rolling: Option<BoxFuture<'static, Result<Rolled, RollError>>>,
    roll_not_before: Instant,
    /// Why the open extent takes no more frames; the next one may.
    stuck: Option<String>,
    /// Pauses before the next extents of a shard whose log nodes take no frames.
    stuck_pauses: Backoff,
    expire_at: Instant,
    state: CommittedState,
    flights: FastMap<PartitionId, Flight>,
    building: Building,
    pending: VecDeque<Pending>,
    /// The ticket of the frame being built.
    next_ticket: Ticket,
    last_ms: i64,
    /// Topics whose deletion was sequenced: late appends to them are refused.
    forgotten: Forgotten,
}

/// The receiving ends of a shard's queues; they outlive ownerships.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) queue: mpsc::Receiver<Submitted>,
    pub(crate) control: mpsc::Receiver<Control>,
}

impl Inbox {
    /// Refuses everything that waits: nothing of it was sequenced.
    pub(crate) fn refuse_all(&mut self, shard: &Shard) {
        while let Ok(submitted) = self.queue.try_recv() {
            let _ = submitted.reply.send(Err(AppendError::NotLeader(shard.id)));
        }
    }
}

impl Owner {
    /// Serves until the ownership ends.
    pub(crate) async fn run(mut self, inbox: &mut Inbox, stop: &CancellationToken) -> Ended {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let ended = loop {
            if self.flush() && self.is_oversized() {
                self.consider_roll();
            }
            let has_room = !self.building.is_full();
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.drain(inbox).await;
                    break Ended::Stopped;
                }
                seen = self.committed.changed() => self.on_committed(seen.is_err()),
                outcome = poll_option(&mut self.rolling) => self.on_rolled(outcome).await,
                outcome = poll_option(&mut self.marking) => self.on_marked(&outcome),
                Ok(()) = self.held.changed() => self.on_ownership(),
                Some(control) = inbox.control.recv(), if has_room => {
                    self.on_control(&control);
                    Ok(())
                }
                Some(submitted) = inbox.queue.recv(), if has_room => {
                    self.gather(submitted, inbox);
                    Ok(())
                }
                _ = tick.tick() => {
                    self.on_tick();
                    Ok(())
                }
            };
            if let Err(why) = step {
                break Ended::Lost(why);
            }
        };
        self.shard.unserve(match &ended {
            Ended::Stopped => ShardState::Stopped,
            Ended::Lost(why) => ShardState::Recovering { why: why.clone() },
        });
        self.writer.stop();
        inbox.refuse_all(&self.shard);
        ended
    }

    fn gather(&mut self, first: Submitted, inbox: &mut Inbox) {
        self.submit(first);
        while !self.building.is_full()
            && let Ok(next) = inbox.queue.try_recv()
        {
            self.submit(next);
        }
    }

    fn on_control(&mut self, control: &Control) {
        match control {
            Control::Forget(topic) => self.sequence_forget(*topic),
            Control::Reopen => {}
        }
    }

    fn on_tick(&mut self) {
        let now = self.env.clock.now();
        self.written.look(&self.env, &self.open.extent);
        // A frame that cannot be sent for long gathers no more than a replay takes.
        if now >= self.expire_at && !self.building.is_full() {
            self.sequence_expiry();
            self.expire_at = now + expire::PERIOD;
        }
        self.consider_roll();
    }

    fn on_ownership(&mut self) -> Result<(), String> {
        match &*self.held.borrow_and_update() {
            OwnershipState::Held => Ok(()),
            OwnershipState::Lost(other) => Err(other.to_string()),
        }
    }

    /// Finishes what was submitted, answers it, and gives the shard up.
    async fn drain(&mut self, inbox: &mut Inbox) {
        self.shard.unserve(ShardState::Stopped);
        let deadline = self.env.clock.now() + DRAIN;
        loop {
            while !self.building.is_full()
                && let Ok(next) = inbox.queue.try_recv()
            {
                self.submit(next);
            }
            self.flush();
            if self.pending.is_empty() && self.building.is_empty() {
                break;
            }
            let step = tokio::select! {
                biased;
                seen = self.committed.changed() => self.on_committed(seen.is_err()),
                outcome = poll_option(&mut self.rolling) => self.on_rolled(outcome).await,
                () = tokio::time::sleep_until(deadline) => Err("not drained in time".to_owned()),
            };
            if let Err(why) = step {
                tracing::warn!(shard = %self.shard.id, "drain shard: {why}");
                break;
            }
        }
        self.finish_roll().await;
        self.writer.stop();
        self.leave().await;
        if let Err(error) = self.env.leases.release(&self.ownership).await {
            tracing::info!(shard = %self.shard.id, "release shard: {error}");
        }
    }
}

/// Polls a future that may be absent; it is gone once it is done.
async fn poll_option<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => {
            let value = future.await;
            *slot = None;
            value
        }
        None => std::future::pending().await,
    }
}
