//! What decoded requests may hold, all connections together.
//!
//! # Overview
//! A request takes its frame's worst case from the budget while it is decoded, which takes no longer than that; then the
//! part that the decoded request does not hold goes back, but for what serving it takes. Requests that wait for
//! others (long polls, rebalances) are counted apart once they wait, so that many of them cannot keep everybody
//! else from being decoded. What finds no room there stays within the budget, and a fetch then waits only
//! briefly.

use std::time::Duration;

use bytes::Bytes;
use tidemark_wire::limits::DECODED_PER_FRAME_BYTE;
use tidemark_wire::messages::FetchRequestData;
use tidemark_wire::{Request, decode_trimmed};

use crate::Ctx;
use crate::budget::{Charge, Counted};
use crate::handler::{Call, CallError};

/// Serving a request takes this many times what it holds, itself included: handlers put its parts into their own
/// shapes and answer each.
const SERVED_PER_HELD_BYTE: usize = 4;
/// A request that waits may hold this much, bytes: the assignments of some ten thousand members.
pub(crate) const WAITING_HELD_BYTES_MAX: usize = 1 << 20;
/// What one partition takes from its request to its answer, bytes: in the plan, the log's request and its poll, and
/// twice as an answer.
pub(crate) const FETCH_PARTITION_BYTES: usize = 768;
/// What one partition of a produce takes beside its batch, bytes: decoded, as an append under way, as an answer.
pub(crate) const PRODUCE_PARTITION_BYTES: usize = 1_024;
/// A fetch waits this long when there is no room for those that wait.
const PRESSED_WAIT_MAX: Duration = Duration::from_millis(50);

/// Memory of one request, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    charge: Charge,
    waiting: Option<Counted>,
}

/// Decodes a request within the budget. Requests that wait are refused when they hold too much, and counted
/// with those that wait while there is room.
///
/// # Errors
/// [`CallError::Wire`], [`CallError::TooLarge`].
pub(crate) async fn read<R: Request>(
    ctx: &Ctx,
    call: &Call,
    body: Bytes,
    waits: bool,
) -> Result<(R, Held), CallError> {
    let mut charge = ctx.decoded.take(most(&body)).await;
    let (request, held) = decode_trimmed::<R>(body, call.version)?;
    let bytes = held.saturating_mul(SERVED_PER_HELD_BYTE);
    charge.shrink(bytes);
    if !waits {
        return Ok((request, Held::of(charge)));
    }
    if held > WAITING_HELD_BYTES_MAX {
        return Err(CallError::TooLarge {
            api: R::NAME,
            held,
            max: WAITING_HELD_BYTES_MAX,
        });
    }
    Ok((request, Held::of(charge).waiting(ctx, bytes)))
}

/// Decodes a fetch within the budget and takes what its partitions will need, those of its session included.
///
/// # Errors
/// [`CallError::Wire`].
pub(crate) async fn read_fetch(
    ctx: &Ctx,
    call: &Call,
    body: Bytes,
) -> Result<(FetchRequestData, Held), CallError> {
    let decode = || decode_trimmed::<FetchRequestData>(body.clone(), call.version);
    let mut charge = ctx.decoded.take(most(&body)).await;
    let (mut request, mut held) = decode()?;
    let mut bytes = held + fetch_bytes(ctx, &request);
    if !charge.covers(&ctx.decoded, bytes) {
        // Nobody holds a part of the budget while waiting for more of it: all of it is given back, the request
        // too, which its frame can tell again.
        drop((request, charge));
        charge = ctx.decoded.take(bytes.max(most(&body))).await;
        (request, held) = decode()?;
        bytes = held + fetch_bytes(ctx, &request);
    }
    charge.shrink(bytes);
    Ok((request, Held::of(charge)))
}

/// Counts a fetch with the requests that wait, and says how long it may. One that takes more than half of what is
/// left waits only briefly, so that fetches of very many partitions leave room for the others.
pub(crate) fn wait_of_fetch(
    ctx: &Ctx,
    held: Held,
    partitions: usize,
    asked: Duration,
) -> (Held, Duration) {
    let bytes = partitions.saturating_mul(FETCH_PARTITION_BYTES);
    let held = held.moved(ctx.waiting.try_share(bytes));
    let wait = match &held.waiting {
        Some(_) => asked,
        None => asked.min(PRESSED_WAIT_MAX),
    };
    (held, wait)
}

/// The most that decoding `body` takes, bytes.
const fn most(body: &Bytes) -> usize {
    body.len().saturating_mul(DECODED_PER_FRAME_BYTE)
}

fn fetch_bytes(ctx: &Ctx, request: &FetchRequestData) -> usize {
    let named: usize = request.topics.iter().map(|t| t.partitions.len()).sum();
    let kept = ctx.sessions.partitions_of(request.session_id);
    (named + kept).saturating_mul(FETCH_PARTITION_BYTES)
}

impl Held {
    const fn of(charge: Charge) -> Self {
        Self {
            charge,
            waiting: None,
        }
    }

    /// Moves it from the budget to what waits, if there is room.
    fn waiting(self, ctx: &Ctx, bytes: usize) -> Self {
        self.moved(ctx.waiting.try_count(bytes))
    }

    fn moved(mut self, waiting: Option<Counted>) -> Self {
        self.waiting = waiting;
        if self.waiting.is_some() {
            self.charge.shrink(0);
        }
        self
    }
}
