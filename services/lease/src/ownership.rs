//! Reading who owns a shard: the guard of owner-side transactions and the background watch.

use tidemark_meta::keys::shard::{ShardKey, ShardRow};
use tidemark_meta::{Mode, TransactError, Transaction, keys};
use tidemark_types::{Epoch, OwnerId, Ownership};

use crate::NotOwner;

/// What a watch over an ownership has seen last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnershipState {
    /// Still the owner when last looked.
    Held,
    /// Someone else is: stop.
    Lost(NotOwner),
}

/// Makes a transaction conditional on still owning the shard: reads `shard/{s}` as a *conflicting* read and
/// compares epoch and owner, nonce included (J9). Every transaction an owner makes starts with it.
///
/// # Errors
/// `Refused` when someone else owns the shard; `Store` when the row cannot be read.
pub async fn require<E: From<NotOwner>>(
    tx: &mut dyn Transaction,
    ownership: &Ownership,
) -> Result<ShardRow, TransactError<E>> {
    let row = keys::get(tx, &ShardKey(ownership.shard), Mode::Serializable).await?;
    match row {
        Some(row) if row.epoch == ownership.epoch && row.owner == Some(ownership.owner) => Ok(row),
        other => Err(TransactError::Refused(
            not_owner(ownership, other.as_ref()).into(),
        )),
    }
}

pub(crate) fn not_owner(ownership: &Ownership, row: Option<&ShardRow>) -> NotOwner {
    let (epoch, owner): (Epoch, Option<OwnerId>) =
        row.map_or((Epoch(0), None), |row| (row.epoch, row.owner));
    NotOwner {
        shard: ownership.shard,
        ours: ownership.epoch,
        epoch,
        owner,
    }
}
