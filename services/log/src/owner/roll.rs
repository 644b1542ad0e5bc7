//! Moving to the next extent, with frames in flight and perhaps without an answer from the metadata store.

use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::{FrameBody, RefusedWhy, Writer, WriterEnd};
use tidemark_lease::{RollError, Rolled};
use tidemark_runtime::{Backoff, Invariant, check_invariant};
use tidemark_types::Lsn;

use super::Owner;
use super::build::data_frame;
use super::written::Written;
use crate::Mutation;
use crate::checkpoint;
use crate::index::{Index, ReadableExtent};
use crate::maps::What;
use crate::state::CommittedState;
use crate::tier::pressure::Level;

/// The LSN of a frame that no writer has: above every committed end.
const NOT_SENT: Lsn = Lsn(u64::MAX);
/// Pause before a roll that did not happen is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// An extent holds space back once this part of the disk's budget was written since it was opened.
const HELD_BACK: u64 = 4;
/// Pause before a shard whose writer ended moves on: a log node that just failed is not asked at once.
const STUCK_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause that grows: room on a disk is looked for at least this often.
const STUCK_PAUSE_MAX: Duration = Duration::from_secs(5);
/// An extent that was open this long before its writer ended was a success.
const STEADY: Duration = Duration::from_secs(30);
/// Pause before the outcome of a roll is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Every try makes an extent, so they become rare: a full disk stays full for minutes.
pub(super) const fn stuck_pauses() -> Backoff {
    Backoff::new(STUCK_PAUSE, STUCK_PAUSE_MAX, u32::MAX)
}

impl Owner {
    /// Starts a roll when size, age, a lost replica or a full disk call for one.
    pub(super) fn consider_roll(&mut self) {
        let now = self.env.clock.now();
        if self.rolling.is_some()
            || self.marking.is_some()
            || self.checkpoint_end.is_some()
            || now < self.roll_not_before
        {
            return;
        }
        let data_bytes = self.data_bytes;
        let old = now.duration_since(self.opened_at) >= self.env.config.roll_age;
        let optional = data_bytes >= self.env.config.roll_bytes || (data_bytes > 0 && old);
        // J11: a lost replica is a reason at once, idle or not. J2: while A others take appends nothing is worth a
        // freeze that lasts as long as the store is away. A writer that ended does not get here.
        let must = !self.writer.lost_replicas().is_empty();
        if (must || optional || self.holds_space_back()) && self.env.leases.metadata_is_fresh() {
            self.start_roll(Duration::ZERO);
        }
    }

    /// Whether the log node's disk is too full while this extent, however little is in it, keeps old segments of it alive.
    /// Once at a time: not while something sealed still waits for the object store.
    fn holds_space_back(&self) -> bool {
        let cold = &self.shard.cold;
        if cold.pressure.level() == Level::Calm || cold.rows().tiered < self.open.extent.first {
            return false;
        }
        let used = self.env.leases.disk_use(&self.open.extent);
        used.is_some_and(|used| self.written.bytes() >= used.budget_bytes / HELD_BACK)
    }

    /// Whether the open extent is over its size: looked at after every frame sent.
    pub(super) fn is_oversized(&self) -> bool {
        self.data_bytes >= self.env.config.roll_bytes
    }

    /// The writer ended for want of replicas: everything in flight waits for the next extent.
    pub(super) fn on_stuck(&mut self, why: &WriterEnd) {
        if self.stuck.is_none() {
            tracing::warn!(shard = %self.shard.id, "{why}");
            self.stuck = Some(why.to_string());
        }
        if self.rolling.is_none() {
            // An extent that took frames for a while was a success; one that ended at once asks for patience.
            if self.env.clock.now().duration_since(self.opened_at) >= STEADY {
                self.stuck_pauses = stuck_pauses();
            }
            let pause = self.stuck_pauses.pause(&self.env.entropy);
            self.start_roll(STUCK_PAUSE + pause.unwrap_or(RETRY));
        }
    }

    fn start_roll(&mut self, pause: Duration) {
        // J2: from here nothing above this end is committed, acked or shown until the outcome is known.
        let proposed_end = self.writer.freeze();
        let env = Arc::clone(&self.env);
        let ownership = self.ownership;
        let writer = self.writer.clone();
        self.rolling = Some(Box::pin(async move {
            env.clock.sleep(pause).await;
            env.leases.roll(&ownership, &writer, proposed_end).await
        }));
    }

    /// A roll's outcome is known, or known to be unknown.
    pub(super) async fn on_rolled(
        &mut self,
        outcome: Result<Rolled, RollError>,
    ) -> Result<(), String> {
        match outcome {
            Ok(rolled) => {
                self.move_to(rolled).await;
                Ok(())
            }
            Err(error @ (RollError::NotRolled(_) | RollError::TooFewNodes { .. })) => {
                tracing::info!(shard = %self.shard.id, "{error}");
                let jitter = self.env.chance(Duration::from_secs(1));
                self.roll_not_before = self.env.clock.now() + RETRY + jitter;
                if self.stuck.is_some() {
                    self.start_roll(RETRY + jitter);
                }
                self.on_committed(false)
            }
            Err(error @ RollError::Unknown(_)) => {
                tracing::info!(shard = %self.shard.id, "{error}");
                self.start_roll(ASK_AGAIN);
                Ok(())
            }
            Err(error @ (RollError::NotOwner(_) | RollError::NotOpened { .. })) => {
                Err(error.to_string())
            }
        }
    }

    /// Goes on in the next extent. Its writer may end at any point of this, at once when the disk is full: the
    /// committed watch tells, and what was not sent again waits for the extent after it.
    async fn move_to(&mut self, rolled: Rolled) {
        // Everything below the sealed end was committed before the roll began: bring the state there.
        self.committed_to(rolled.sealed.end);
        check_invariant!(
            Invariant::SealCoversCommits,
            rolled.uncommitted.len() <= self.pending.len(),
            "{} frames came back from the sealed extent, {} are pending",
            rolled.uncommitted.len(),
            self.pending.len()
        );
        self.env.counters.rolled();
        self.env.cold.maps.keep(&self.open, What::Index);
        self.open_extent(rolled.writer);
        // No frame in flight has an LSN in this extent before it is sent.
        for frame in &mut self.pending {
            if !self.env.config.breaks(Mutation::StaleTickets) {
                frame.lsn = NOT_SENT;
            }
        }
        if let Err(why) = self.resend().await {
            tracing::debug!(shard = %self.shard.id, "re-send what is in flight: {why}");
        }
    }

    /// Appends the checkpoint and everything in flight to the extent just opened.
    async fn resend(&mut self) -> Result<(), WriterEnd> {
        let mut end = Lsn(0);
        // J12: the committed state, never the sequenced one.
        let sequenced = self.speculative();
        let state = sequenced.as_ref().unwrap_or(&self.state);
        for body in checkpoint::frames(state, self.env.config.checkpoint_part_bytes) {
            end = append_waiting(&self.writer, body).await?.next();
        }
        self.checkpoint_end = Some(end);
        self.checkpoint_bytes = self.writer.bytes();
        // J13: the same offsets under new LSNs; pending acks follow.
        for i in 0..self.pending.len() {
            let body = data_frame(&self.pending[i].head, &self.pending[i].parts);
            let lsn = append_waiting(&self.writer, body).await?;
            if !self.env.config.breaks(Mutation::StaleTickets) {
                self.pending[i].lsn = lsn;
            }
        }
        self.count_data_bytes();
        Ok(())
    }

    pub(super) fn count_data_bytes(&mut self) {
        self.data_bytes = self.writer.bytes().saturating_sub(self.checkpoint_bytes);
    }

    /// The sequenced state: only when J12 is broken on purpose.
    fn speculative(&self) -> Option<CommittedState> {
        let broken = self.env.config.breaks(Mutation::SpeculativeCheckpoint);
        let mut sequenced = broken.then(|| self.state.clone())?;
        self.pending.iter().for_each(|p| sequenced.apply(&p.head));
        Some(sequenced)
    }

    fn open_extent(&mut self, writer: Writer) {
        let extent = writer.extent().clone();
        let first = extent.first;
        check_invariant!(
            Invariant::OneOpenExtent,
            first == self.open.end(),
            "{} starts at {first}, the one before ends at {}",
            extent.id,
            self.open.end()
        );
        self.open = Arc::new(ReadableExtent::new(extent, first, Some(Index::default())));
        self.shard.add_extent(Arc::clone(&self.open));
        self.opened_at = self.env.clock.now();
        self.written = Written::since_now(&self.env, &self.open.extent);
        self.shard.cold.sealed.notify_one();
        self.committed = writer.committed();
        self.committed.mark_changed();
        self.writer = writer;
        self.checkpoint_end = None;
        self.checkpoint_bytes = 0;
        self.data_bytes = 0;
    }
}

/// Appends to a writer, waiting while too much is uncommitted.
pub(super) async fn append_waiting(writer: &Writer, body: FrameBody) -> Result<Lsn, WriterEnd> {
    let mut body = body;
    let mut seen = writer.committed();
    loop {
        seen.borrow_and_update();
        match writer.append(body) {
            Ok(lsn) => return Ok(lsn),
            Err(refused) => match refused.why {
                RefusedWhy::Ended(why) => return Err(why),
                RefusedWhy::Backpressure { .. } => {
                    body = refused.body;
                    if seen.changed().await.is_err() {
                        return Err(WriterEnd::Retired);
                    }
                }
            },
        }
    }
}
