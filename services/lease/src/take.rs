//! Taking a shard: T1, fence, recover, T2, open, and what to replay.

use std::time::Duration;

use tidemark_journal::{Extent, Reader, RecoverError, Recovery, Writer, recover};
use tidemark_meta::keys::extent::{ExtentRow, ExtentState};
use tidemark_types::{ExtentIdx, Lsn, Ownership, ShardId};

use crate::claim::{Claimed, claim};
use crate::extents::{TooFew, extent_of, open, place};
use crate::leases::Inner;
use crate::seal::{SealRefused, same_owner, seal};
use crate::settle::Settled;
use crate::walk::split;
use crate::{NotOwner, TakeError, Taken};

/// Times a take starts over from T1 before it gives up. Each start over is another epoch.
const STARTS: u32 = 5;
/// B2: a candidate of rank i waits i times this.
const RANK_WAIT: Duration = Duration::from_millis(500);

/// See [`crate::Leases::take`].
pub(crate) async fn take(inner: &Inner, shard: ShardId) -> Result<Taken, TakeError> {
    // B2: at most so many recoveries at once; the semaphore is never closed.
    let _slot = inner.recoveries.acquire().await.ok();
    if let Some(rank) = inner.takeover_rank(shard).await? {
        inner.clock.sleep(RANK_WAIT * rank).await;
    }
    let mut last = None;
    for _ in 0..STARTS {
        let claimed = claim(inner, shard).await?;
        match attempt(inner, &claimed).await {
            Ok(taken) => return Ok(taken),
            Err(Failed::StartOver(why)) => last = Some(why),
            Err(Failed::GiveUp(why)) => return Err(why),
        }
    }
    Err(last.expect("STARTS is not zero, and each of them failed"))
}

pub(crate) enum Failed {
    /// Another T1 may help; the error to give when no starts are left.
    StartOver(TakeError),
    GiveUp(TakeError),
}

impl<E: Into<TakeError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::GiveUp(error.into())
    }
}

async fn attempt(inner: &Inner, claimed: &Claimed) -> Result<Taken, Failed> {
    let ownership = claimed.ownership;
    let end = decide_end(inner, claimed).await?;
    let index = claimed
        .newest
        .as_ref()
        .map_or(ExtentIdx(0), |(index, _)| index.next());
    let placed = place(inner, ownership.shard, index, end).await;
    let next = placed.map_err(|few| too_few_nodes(&ownership, index, few))?;
    let (index, row) = match seal(inner, claimed, &next).await {
        Settled::Done(stored) => stored,
        Settled::Refused(SealRefused::NotOwner(why)) => return Err(TakeError::Lost(why).into()),
        Settled::Refused(SealRefused::Changed) => {
            return Err(Failed::StartOver(TakeError::Lost(same_owner(&ownership))));
        }
        Settled::NotCommitted(e) | Settled::Unknown(e) => return Err(TakeError::Store(e).into()),
    };
    let extent = extent_of(ownership.shard, index, &row).map_err(TakeError::Store)?;
    let writer = start_writer(inner, &ownership, extent).await;
    let writer = writer.map_err(|few| Failed::StartOver(too_few_nodes(&ownership, index, few)))?;
    let reader = Reader::mutated(inner.nodes.clone(), inner.config.mutation);
    let (older, replay) = split(inner, &ownership, index, &reader).await?;
    Ok(Taken {
        ownership,
        replay,
        older,
        writer,
        reader,
    })
}

/// Where the extent that T1 found ends, exclusive.
async fn decide_end(inner: &Inner, claimed: &Claimed) -> Result<Lsn, Failed> {
    let Some((index, row)) = &claimed.newest else {
        return Ok(Lsn(0));
    };
    if let ExtentState::Sealed(end) = row.state {
        return Ok(end);
    }
    let extent = extent_of(claimed.ownership.shard, *index, row).map_err(TakeError::Store)?;
    let ctx = Recovery::new(
        &inner.nodes,
        (&inner.clock, &inner.entropy),
        &extent,
        claimed.ownership.epoch,
        inner.config.recover,
    );
    recover(&ctx)
        .await
        .map_err(|error| recover_failed(claimed, &extent, row, error))
}

fn recover_failed(
    claimed: &Claimed,
    extent: &Extent,
    row: &ExtentRow,
    error: RecoverError,
) -> Failed {
    let ownership = &claimed.ownership;
    match error {
        RecoverError::Fenced { fence, .. } => Failed::GiveUp(TakeError::Lost(NotOwner {
            shard: ownership.shard,
            ours: ownership.epoch,
            epoch: fence,
            owner: None,
        })),
        RecoverError::Limbo { extent, damage } => {
            let damage: Vec<String> = damage.iter().map(ToString::to_string).collect();
            let damage = damage.join("; ");
            tracing::error!(%extent, %damage, "shard stays closed: its data cannot be vouched for");
            Failed::GiveUp(TakeError::Limbo { extent, damage })
        }
        RecoverError::TooFew {
            needed,
            answered,
            last,
            ..
        } => Failed::GiveUp(TakeError::Replicas {
            extent: extent.id,
            needed,
            answered,
            last: last.to_string(),
        }),
        // J3: never with fewer replies, always with a new epoch.
        RecoverError::SourceLost { why, .. } => Failed::StartOver(TakeError::Replicas {
            extent: extent.id,
            needed: usize::from(row.ack_quorum),
            answered: 0,
            last: why.to_string(),
        }),
    }
}

/// Opens a stored extent and starts its writer. On full disks that one has ended already: another takeover would make no
/// room, an owner can.
pub(crate) async fn start_writer(
    inner: &Inner,
    ownership: &Ownership,
    extent: Extent,
) -> Result<Writer, TooFew> {
    let (lost, full) = match open(inner, &extent, ownership.epoch).await {
        Ok(lost) => (lost, None),
        Err(TooFew {
            full: Some((lost, error)),
            ..
        }) => (lost, Some(error)),
        Err(few) => return Err(few),
    };
    let writer = Writer::start(
        extent,
        ownership.epoch,
        &inner.nodes,
        (&lost, full),
        inner.config.writer,
        &inner.tasks,
    );
    Ok(writer)
}

fn too_few_nodes(ownership: &Ownership, index: ExtentIdx, few: TooFew) -> TakeError {
    TakeError::Replicas {
        extent: tidemark_journal::ExtentId {
            shard: ownership.shard,
            index,
        },
        needed: few.needed,
        answered: few.answered,
        last: few.last,
    }
}
