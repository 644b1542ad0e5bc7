//! Going on without a state object that cannot be read, explicitly.
//!
//! # Overview
//! A shard whose log nodes' disks are gone is rebuilt from its newest state object and the batches tiered since. When that object
//! is gone or damaged too the shard stays closed. [`Leases::give_up_state`] takes away the row that names it; the next take has
//! the state from the headers of what is tiered, as of a shard that never saved one.
//!
//! # Consistency
//! Under an epoch of its own (T1), so every partition's leader epoch rises (K6) and no owner is met halfway. The row goes only if
//! it still names that object; in the same transaction the object becomes garbage, and the shard is released. Where partitions begin (K3) and
//! where their own objects end are rows too, so no offset below them is given again.
//!
//! # Crash consistency
//! One transaction behind T1: before it nothing changed but the epoch, and the same again goes on; after it nothing is left to do.

use async_trait::async_trait;
use tidemark_meta::keys::cold::{GarbageRow, condemn};
use tidemark_meta::keys::shard::{ShardKey, ShardRow, ShardState};
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_meta::{Mode, TransactError, Transaction, keys};
use tidemark_types::{Ownership, ShardId};

use crate::claim::claim;
use crate::leases::{Inner, Leases};
use crate::seal::SealRefused;
use crate::settle::{Body, Settled, settle};
use crate::{TakeError, require};

impl Leases {
    /// The operator's step when a shard's state object cannot be read and nothing else holds its state: goes on without the
    /// object that `row` names, which may be deleted from `not_before_ms` on, ms since the Unix epoch. Leaves the shard released under
    /// a raised epoch; take it again to serve it. What only that object knew is lost: sequences of producers whose batches are gone.
    ///
    /// # Errors
    /// As [`Leases::take`]; `Lost` when the row is another.
    pub async fn give_up_state(
        &self,
        shard: ShardId,
        row: StateRow,
        not_before_ms: i64,
    ) -> Result<(), TakeError> {
        Box::pin(give_up(&self.0, shard, row, not_before_ms)).await
    }
}

async fn give_up(
    inner: &Inner,
    shard: ShardId,
    row: StateRow,
    not_before_ms: i64,
) -> Result<(), TakeError> {
    let ownership = claim(inner, shard).await?.ownership;
    let body = GiveUp {
        ownership,
        row,
        not_before_ms,
    };
    match settle(inner, &body).await {
        Settled::Done(()) => Ok(()),
        Settled::Refused(why) => Err(TakeError::Lost(why.loss(&ownership))),
        Settled::NotCommitted(e) | Settled::Unknown(e) => Err(TakeError::Store(e)),
    }
}

struct GiveUp {
    ownership: Ownership,
    row: StateRow,
    not_before_ms: i64,
}

#[async_trait]
impl Body for GiveUp {
    type Done = ();
    type Refused = SealRefused;

    async fn run(&self, tx: &mut dyn Transaction) -> Result<(), TransactError<SealRefused>> {
        let shard = self.ownership.shard;
        let (key, state) = (ShardKey(shard), StateKey(shard));
        let stored = keys::get(tx, &key, Mode::Serializable).await?;
        // An earlier try: nobody else releases a shard under this epoch.
        if stored.is_some_and(|row| row.epoch == self.ownership.epoch && row.owner.is_none()) {
            return Ok(());
        }
        let row = require::<SealRefused>(tx, &self.ownership).await?;
        if keys::get(tx, &state, Mode::Serializable).await? != Some(self.row) {
            return Err(TransactError::Refused(SealRefused::Changed));
        }
        keys::clear(tx, &state);
        let garbage = GarbageRow::new(self.row.object, self.not_before_ms);
        condemn(tx, 0, &garbage);
        let released = ShardRow {
            owner: None,
            state: ShardState::Released,
            ..row
        };
        keys::put(tx, &key, &released);
        Ok(())
    }
}
