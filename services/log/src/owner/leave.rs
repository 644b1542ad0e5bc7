//! What an owner that stops leaves behind: its extent sealed, and in the object store all that it ever acked.
//!
//! # Crash consistency
//! Seal, tier, save, release, each its own transaction under the lease. After the seal nothing can be added to the extent, so
//! whoever takes the shard finds the end decided; what was not tiered by then is in the journal, as after a crash.

use super::{Owner, poll_option};
use crate::tier::job::Job;
use crate::tier::save;

impl Owner {
    /// Waits for a roll that is under way, and for the checkpoint behind it: what comes after seals the extent that follows.
    pub(super) async fn finish_roll(&mut self) {
        let Some(tier) = &self.env.tier else { return };
        let until = self.env.clock.now() + tier.config.leave;
        while self.rolling.is_some() || self.checkpoint_end.is_some() {
            let step = tokio::select! {
                biased;
                seen = self.committed.changed() => self.on_committed(seen.is_err()),
                outcome = poll_option(&mut self.rolling) => self.on_rolled(outcome).await,
                () = tokio::time::sleep_until(until) => return,
            };
            if let Err(why) = step {
                tracing::info!(shard = %self.shard.id, "finish the roll of a shard that stops: {why}");
                return;
            }
        }
    }

    /// Seals the extent where it ends and moves it to the object store, as far as that answers soon.
    pub(super) async fn leave(&mut self) {
        let Some(tier) = &self.env.tier else { return };
        let idle = self.pending.is_empty() && self.building.is_empty();
        let settled = self.rolling.is_none() && self.checkpoint_end.is_none();
        if !idle || !settled || self.stuck.is_some() {
            return;
        }
        let (env, shard, ownership) = (&*self.env, &*self.shard, self.ownership);
        let (index, end) = (self.open.extent.id.index, self.open.end());
        let job = Job {
            env,
            tier,
            shard,
            ownership,
        };
        let state = &self.state;
        let work = async {
            if let Err(error) = env.leases.seal_last(&ownership, index, end).await {
                tracing::info!(shard = %shard.id, "seal the extent of a shard that stops: {error}");
                return;
            }
            if let Err(error) = save::leave(job, end, state).await {
                tracing::info!(shard = %shard.id, "tier what is left of a shard that stops: {error}");
            }
        };
        tokio::select! {
            biased;
            () = Box::pin(work) => {}
            () = env.clock.sleep(tier.config.leave) => {
                tracing::info!(shard = %shard.id, "stop before all is tiered: the object store takes too long");
            }
        }
    }
}
