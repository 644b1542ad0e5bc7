//! Reading who owns a shard: the guard of owner-side transactions and the background watch.

use std::time::Duration;
use tidemark_meta::keys::shard::{ShardKey, ShardRow};

use tidemark_meta::{MetaError, Mode, TransactError, Transaction, Watch, keys};
use tidemark_types::{Epoch, OwnerId, Ownership};
use tokio::sync::watch::Sender;

use crate::NotOwner;
use crate::leases::{Inner, Leases};

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

/// How often the row is read although no watch fired.
const POLL: Duration = Duration::from_secs(1);

/// Looks at the shard's row until it names another owner or the tasks stop. A store that is away changes nothing: the
/// replicas' fences are what stops a zombie.
pub(crate) async fn watch(leases: Leases, ownership: Ownership, seen: Sender<OwnershipState>) {
    let inner = &leases.0;
    loop {
        let fired = match look(inner, &ownership).await {
            Ok((OwnershipState::Held, fired)) => Some(fired),
            Ok((lost, _)) => {
                seen.send_replace(lost);
                return;
            }
            Err(error) => {
                tracing::warn!(shard = %ownership.shard, %error, "cannot look at the shard's row");
                None
            }
        };
        let changed = async {
            match fired {
                Some(fired) => {
                    // An engine that gives up a watch leaves the polling.
                    if fired.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = inner.tasks.stopping() => return,
            () = seen.closed() => return,
            () = changed => {}
            () = inner.clock.sleep(POLL) => {}
        }
    }
}

async fn look(inner: &Inner, ownership: &Ownership) -> Result<(OwnershipState, Watch), MetaError> {
    let mut tx = inner.store.begin();
    let state = match require::<NotOwner>(tx.as_mut(), ownership).await {
        Ok(_) => OwnershipState::Held,
        Err(TransactError::Refused(why)) => OwnershipState::Lost(why),
        Err(TransactError::Store(error)) => return Err(error),
    };
    let watch = tx.watch(&keys::Key::encode(&ShardKey(ownership.shard)));
    tx.commit().await?;
    Ok((state, watch))
}
