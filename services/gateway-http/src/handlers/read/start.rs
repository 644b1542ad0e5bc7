//! Where a read begins.

use std::sync::Arc;

use axum::http::HeaderMap;
use tidemark_log::{Isolation, ListedOffset, OffsetSpec};
use tidemark_topics::Topic;
use tidemark_types::{Offset, PartitionIndex};

use super::{From, ReadParams, Shape};
use crate::{Ctx, Problem};

/// A place to begin, not yet looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    At(Offset),
    Since(i64),
    Earliest,
    Latest,
}

/// Where the request says to begin. `Last-Event-ID` goes before the parameters: a reconnecting client sends
/// both.
pub(super) fn begin(
    params: &ReadParams,
    headers: &HeaderMap,
    shape: Shape,
) -> Result<Begin, Problem> {
    let given = [
        params.offset.is_some(),
        params.timestamp.is_some(),
        params.from.is_some(),
    ];
    if given.iter().filter(|g| **g).count() > 1 {
        return Err(Problem::invalid(
            "read the query: offset, timestamp and from exclude each other",
        ));
    }
    if params.offset.is_some_and(|o| o < 0) {
        return Err(Problem::invalid("read the query: offset is negative"));
    }
    if shape == Shape::Events
        && let Some(id) = headers.get("last-event-id")
    {
        let last = id
            .to_str()
            .ok()
            .and_then(|id| id.trim().parse::<i64>().ok());
        return match last.filter(|l| *l >= 0).and_then(|l| l.checked_add(1)) {
            Some(next) => Ok(Begin::At(Offset(next))),
            None => Err(Problem::invalid(
                "read Last-Event-ID: an offset is expected",
            )),
        };
    }
    Ok(match (params.offset, params.timestamp, params.from) {
        (Some(offset), ..) => Begin::At(Offset(offset)),
        (_, Some(ms), _) => Begin::Since(ms),
        (.., Some(From::Latest)) => Begin::Latest,
        _ => Begin::Earliest,
    })
}

/// The offset to begin with.
pub(super) async fn resolve(
    ctx: &Ctx,
    topic: &Arc<Topic>,
    index: PartitionIndex,
    begin: Begin,
) -> Result<Offset, Problem> {
    let look_up = async |spec| {
        let isolation = Isolation::ReadUncommitted;
        let found = ctx
            .log()
            .list_offset(ctx.tenant(), topic, index, spec, isolation);
        found.await.map_err(|e| Problem::of(&e))
    };
    let found = match begin {
        Begin::At(offset) => return Ok(offset),
        Begin::Earliest => look_up(OffsetSpec::Earliest).await?,
        Begin::Latest => look_up(OffsetSpec::Latest).await?,
        Begin::Since(ms) => match look_up(OffsetSpec::Timestamp(ms)).await? {
            ListedOffset::NONE => look_up(OffsetSpec::Latest).await?,
            found => found,
        },
    };
    Ok(found.offset)
}
