//! `unclean-seal`: going on without what cannot be vouched for, explicitly (J10).

use async_trait::async_trait;
use tidemark_journal::{ReadError, Reader, RecoverError, Recovery, UncleanEnd, recover_unclean};
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::shard::{ShardKey, ShardRow, ShardState};
use tidemark_meta::{TransactError, Transaction, keys};
use tidemark_types::{ExtentIdx, Lsn, Ownership, ShardId};

use crate::claim::{Claimed, claim, extent_row};
use crate::extents::extent_of;
use crate::leases::Inner;
use crate::seal::SealRefused;
use crate::settle::{Body, Settled, settle};
use crate::walk::{has_checkpoint, sealed_extents};
use crate::{LostRange, NotOwner, SealedExtent, TakeError, require};

const CHUNK_BYTES: usize = 4 << 20;

/// An extent's row as it was and as it is to be.
struct Change {
    index: ExtentIdx,
    from: ExtentRow,
    to: ExtentRow,
    sealed: SealedExtent,
}

/// What an unclean seal gave up, for the message to the operator and the tenants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UncleanSealed {
    /// The extents that lost something, with the range each lost.
    pub lost: Vec<SealedExtent>,
}

/// See [`crate::Leases::unclean_seal`].
pub(crate) async fn unclean_seal(
    inner: &Inner,
    shard: ShardId,
) -> Result<UncleanSealed, TakeError> {
    // Its own T1: the epoch rises, and with it every partition's leader epoch (K6).
    let claimed = claim(inner, shard).await?;
    let reader = Reader::new(inner.nodes.clone());
    let mut changes = Vec::new();
    let mut found_checkpoint = false;
    if let Some(change) = seal_open(inner, &claimed).await? {
        found_checkpoint = has_checkpoint(&reader, &change.sealed).await?;
        changes.push(Change {
            to: ExtentRow {
                ckpt: found_checkpoint,
                ..change.to
            },
            ..change
        });
    }
    if !found_checkpoint {
        let rows = sealed_extents(inner, shard, None).await?;
        for row in rows.into_iter().rev() {
            let (change, complete) = check_sealed(&reader, row.index, row.row, row.sealed).await?;
            changes.extend(change);
            if complete {
                break;
            }
        }
    }
    store(inner, claimed.ownership, &changes).await?;
    let lost = changes.into_iter().map(|change| change.sealed);
    Ok(UncleanSealed {
        lost: lost.filter(|sealed| sealed.lost.is_some()).collect(),
    })
}

/// How the open extent is to be sealed; `None` when there is no open one.
async fn seal_open(inner: &Inner, claimed: &Claimed) -> Result<Option<Change>, TakeError> {
    let shard = claimed.ownership.shard;
    let Some((index, row)) = &claimed.newest else {
        return Ok(None);
    };
    if row.state != ExtentState::Open {
        return Ok(None);
    }
    let extent = extent_of(shard, *index, row)?;
    let ctx = Recovery::new(
        &inner.nodes,
        (&inner.clock, &inner.entropy),
        &extent,
        claimed.ownership.epoch,
        inner.config.recover,
    );
    let found = recover_unclean(&ctx).await;
    let found = found.map_err(|error| failed(&claimed.ownership, error))?;
    let vouched = found.damage.is_empty() && found.answered >= extent.replicas.fence_quorum();
    let lost = (!vouched || found.claimed != Some(found.end)).then(|| lost_range(&found));
    let to = ExtentRow {
        state: ExtentState::Sealed(found.end),
        lost: lost.clone(),
        ..row.clone()
    };
    Ok(Some(Change {
        index: *index,
        from: row.clone(),
        to,
        sealed: SealedExtent {
            extent,
            end: found.end,
            lost,
        },
    }))
}

fn lost_range(found: &UncleanEnd) -> LostRange {
    let mut why: Vec<String> = found.damage.iter().map(ToString::to_string).collect();
    if why.is_empty() {
        why.push(format!("{} replicas answered, too few", found.answered));
    }
    LostRange {
        from: found.end,
        to: found.claimed,
        why: why.join("; "),
    }
}

/// What is to be noted of a sealed extent, whose end never moves: from where on it cannot be read. Also whether it has
/// a complete checkpoint, so that a replay would begin with it.
async fn check_sealed(
    reader: &Reader,
    index: ExtentIdx,
    row: ExtentRow,
    mut sealed: SealedExtent,
) -> Result<(Option<Change>, bool), TakeError> {
    let Some(lost) = unreadable_from(reader, &sealed).await? else {
        let complete = row.ckpt || has_checkpoint(reader, &sealed).await?;
        return Ok((None, complete));
    };
    sealed.lost = Some(lost);
    let complete = has_checkpoint(reader, &sealed).await?;
    let to = ExtentRow {
        ckpt: complete,
        lost: sealed.lost.clone(),
        ..row.clone()
    };
    let change = Change {
        index,
        from: row,
        to,
        sealed,
    };
    Ok((Some(change), complete))
}

/// Where reading a sealed extent fails for damage; `None` when all of it can be read.
async fn unreadable_from(
    reader: &Reader,
    sealed: &SealedExtent,
) -> Result<Option<LostRange>, TakeError> {
    let mut at = sealed.extent.first;
    let mut asked_end = sealed.readable_end();
    let mut damage: Option<(Lsn, String)> = None;
    while at < asked_end {
        match reader
            .read(&sealed.extent, at, asked_end, CHUNK_BYTES)
            .await
        {
            Ok(frames) => at = frames.last().map_or(asked_end, |frame| frame.lsn.next()),
            Err(ReadError::Damaged { from, why, .. }) => {
                asked_end = from.clamp(at, asked_end);
                damage = Some((asked_end, why));
                if from <= at {
                    break;
                }
            }
            Err(error) => return Err(TakeError::Read(error)),
        }
    }
    Ok(damage.map(|(from, why)| LostRange {
        from,
        to: Some(sealed.end),
        why,
    }))
}

/// Stores the changes and leaves the shard released, so that a plain take serves it.
async fn store(inner: &Inner, ownership: Ownership, changes: &[Change]) -> Result<(), TakeError> {
    match settle(inner, &Store { ownership, changes }).await {
        Settled::Done(()) => Ok(()),
        Settled::Refused(why) => Err(TakeError::Lost(why.loss(&ownership))),
        Settled::NotCommitted(e) | Settled::Unknown(e) => Err(TakeError::Store(e)),
    }
}

struct Store<'a> {
    ownership: Ownership,
    changes: &'a [Change],
}

#[async_trait]
impl Body for Store<'_> {
    type Done = ();
    type Refused = SealRefused;

    async fn run(&self, tx: &mut dyn Transaction) -> Result<(), TransactError<SealRefused>> {
        let Self { ownership, changes } = *self;
        let shard = ownership.shard;
        let key = ShardKey(shard);
        let stored = keys::get(tx, &key, tidemark_meta::Mode::Serializable).await?;
        // An earlier try: nobody else releases a shard under this epoch.
        if stored.is_some_and(|row| row.epoch == ownership.epoch && row.owner.is_none()) {
            return Ok(());
        }
        let row = require::<SealRefused>(tx, &ownership).await?;
        for change in changes {
            let stored = extent_row(tx, shard, change.index).await?;
            if stored != change.from {
                return Err(TransactError::Refused(SealRefused::Changed));
            }
            let index = change.index;
            keys::put(tx, &ExtentKey { shard, index }, &change.to);
        }
        let released = ShardRow {
            owner: None,
            state: ShardState::Released,
            ..row
        };
        keys::put(tx, &key, &released);
        Ok(())
    }
}

fn failed(ownership: &Ownership, error: RecoverError) -> TakeError {
    match error {
        RecoverError::Fenced { fence, .. } => TakeError::Lost(NotOwner {
            shard: ownership.shard,
            ours: ownership.epoch,
            epoch: fence,
            owner: None,
        }),
        RecoverError::TooFew {
            extent,
            needed,
            answered,
            last,
        } => TakeError::Replicas {
            extent,
            needed,
            answered,
            last: last.to_string(),
        },
        RecoverError::Limbo { extent, damage } => TakeError::Limbo {
            extent,
            damage: format!("{damage:?}"),
        },
        RecoverError::SourceLost { extent, why } => TakeError::Replicas {
            extent,
            needed: 1,
            answered: 0,
            last: why.to_string(),
        },
    }
}
