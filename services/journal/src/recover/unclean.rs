//! The operator's way on when an extent cannot be vouched for (J10).

use tidemark_types::Lsn;

use super::copy::{after, read_from};
use super::fence::Fencing;
use super::{Damage, RecoverError, Recovery};
use crate::{Inventory, ReplicaError};

/// Where an extent can be sealed without vouching, and what that gives up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UncleanEnd {
    /// Every frame below this was read, intact, from a fenced replica.
    pub end: Lsn,
    /// The highest end any replica still claims, exclusive; `None` when a damaged one cannot tell.
    pub claimed: Option<Lsn>,
    /// What the replicas in LIMBO said.
    pub damage: Vec<Damage>,
    /// Replicas that answered.
    pub answered: usize,
}

/// Fences what answers within the deadline, reads the extent from its first frame on, and answers how far an unbroken
/// run goes on any one of the replicas. Copies nothing: the extent's readers fall back to whichever replica has it.
///
/// # Errors
/// `Fenced` when a newer owner exists; `TooFew` when no replica answers at all.
pub async fn recover_unclean(ctx: &Recovery<'_>) -> Result<UncleanEnd, RecoverError> {
    let mut fencing = Fencing::start(ctx);
    while fencing.next().await? {}
    let replies = fencing.replies;
    let answered = replies.inventories().iter().flatten().count();
    if answered == 0 {
        return Err(ctx.too_few(1, 0, replies.last_failure()));
    }
    let first = ctx.extent.first;
    let mut end = first;
    let mut claimed = Some(first);
    for (i, reply) in replies.inventories().iter().enumerate() {
        let held = match reply {
            None | Some(Inventory::Absent) => continue,
            Some(Inventory::Held { end, .. }) => {
                claimed = claimed.map(|claimed| claimed.max(*end));
                *end
            }
            Some(Inventory::Limbo { from, .. }) => {
                claimed = None;
                *from
            }
        };
        end = end.max(readable_end(ctx, i, end, held).await);
    }
    Ok(UncleanEnd {
        end,
        claimed,
        damage: replies.damage(),
        answered,
    })
}

/// How far one replica can be read from `from` on, at most to `held`.
async fn readable_end(ctx: &Recovery<'_>, replica: usize, from: Lsn, held: Lsn) -> Lsn {
    let mut at = from;
    let mut asked_end = held;
    while at < asked_end {
        match read_from(ctx, replica, at, asked_end).await {
            Ok(frames) => at = after(&frames, at),
            // What lies before the damage may still be readable.
            Err(ReplicaError::Damaged { from, .. }) if from > at && from < asked_end => {
                asked_end = from;
            }
            Err(error) => {
                tracing::warn!(extent = %ctx.extent.id, lsn = %at, %error, "unreadable from here");
                break;
            }
        }
    }
    at
}
