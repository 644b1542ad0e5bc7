//! A roll: the owner moves on to a new extent, in one transaction (J2).

use std::time::Duration;

use tidemark_journal::Writer;
use tidemark_meta::MetaError;
use tidemark_types::{Lsn, Ownership, limits};

use crate::extents::{TooFew, extent_of, place};
use crate::leases::Inner;
use crate::seal::seal_and_create;
use crate::settle::Settled;
use crate::take::start_writer;
use crate::{RollError, Rolled, SealedExtent};

/// Why an extent should be rolled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RollReason {
    /// It is `limits::EXTENT_ROLL_BYTES` long. Optional.
    Size,
    /// It has had data for `limits::EXTENT_ROLL_MS`. Optional.
    Age,
    /// A replica is lost: at once, idle or not (J11).
    ReplicaLost,
}

/// Whether to roll `writer`'s extent, which has had data for `age` (zero when it has none).
///
/// An optional roll starts only when a metadata commit succeeded within the last second: otherwise commits would stand
/// still for as long as the store is away (J2). A slow replica alone is no reason while A others are healthy; it becomes
/// [`RollReason::ReplicaLost`] when it is so far behind that the writer gives it up, and even then, with A healthy, a
/// store that is away is waited for.
#[must_use]
pub fn roll_reason(writer: &Writer, age: Duration, metadata_is_fresh: bool) -> Option<RollReason> {
    if !metadata_is_fresh && writer.committed().borrow().ended.is_none() {
        return None;
    }
    if !writer.lost_replicas().is_empty() {
        return Some(RollReason::ReplicaLost);
    }
    if writer.bytes() >= limits::EXTENT_ROLL_BYTES {
        return Some(RollReason::Size);
    }
    (age >= Duration::from_millis(limits::EXTENT_ROLL_MS)).then_some(RollReason::Age)
}

/// See [`crate::Leases::roll`].
pub(crate) async fn roll(
    inner: &Inner,
    ownership: &Ownership,
    writer: &Writer,
    proposed_end: Lsn,
) -> Result<Rolled, RollError> {
    // J2: capped before anything is sent, and what was proposed is what is capped at.
    let frozen = writer.freeze();
    assert_eq!(frozen, proposed_end, "a roll seals where the writer froze");
    let in_doubt = writer.doubt();
    let old = writer.extent().clone();
    let placed = place(inner, ownership.shard, old.id.index.next(), proposed_end).await;
    let next = placed.map_err(|few| not_rolled(writer, in_doubt, too_few_nodes(few)))?;
    let settled = seal_and_create(inner, ownership, Some(old.id.index), &next).await;
    let (index, row) = match settled {
        Settled::Done(stored) => stored,
        Settled::Refused(why) => {
            writer.stop();
            return Err(RollError::NotOwner(why.loss(ownership)));
        }
        Settled::NotCommitted(error) => {
            return Err(not_rolled(writer, in_doubt, RollError::NotRolled(error)));
        }
        Settled::Unknown(error) => return Err(RollError::Unknown(error)),
    };
    let extent = extent_of(ownership.shard, index, &row).map_err(RollError::Unknown)?;
    let id = extent.id;
    let started = start_writer(inner, ownership, extent).await;
    let new = started.map_err(|few| RollError::NotOpened {
        extent: id,
        needed: few.needed,
        answered: few.answered,
        last: few.last,
    })?;
    Ok(Rolled {
        writer: new,
        uncommitted: writer.retire(),
        sealed: SealedExtent {
            extent: old,
            end: proposed_end,
            lost: None,
        },
    })
}

/// Nothing of this call was committed; whether the writer may go on depends on the calls before it (J2).
fn not_rolled(writer: &Writer, in_doubt: bool, error: RollError) -> RollError {
    if in_doubt {
        return RollError::Unknown(MetaError::Unavailable(error.to_string()));
    }
    writer.thaw();
    error
}

fn too_few_nodes(few: TooFew) -> RollError {
    RollError::TooFewNodes {
        needed: few.needed,
        answered: few.answered,
        last: few.last,
    }
}
