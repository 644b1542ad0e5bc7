//! Produce as one JSON document.

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::plan::{Plan, Produced};
use super::record::{RecordIn, bounded};
use super::{Target, fingerprint, produced_status};
use crate::body::{no_memory, read_whole};
use crate::extract::parse_json;
use crate::{Ctx, Problem};

/// A body's share of memory: the text, and the batches made of it.
const MEMORY_PER_BODY_BYTE: usize = 3;

/// Records to append.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProduceBody<'a> {
    /// At most 10,000; larger amounts are streamed as NDJSON.
    #[serde(borrow, deserialize_with = "bounded")]
    records: Vec<RecordIn<'a>>,
}

pub(super) async fn produce(
    ctx: &Ctx,
    target: Target,
    request: Request,
) -> Result<Response, Problem> {
    let mut whole = read_whole(ctx, request.into_body(), ctx.config().body_bytes_max).await?;
    if !whole.memory.hold(whole.bytes.len() * MEMORY_PER_BODY_BYTE) {
        return Err(no_memory());
    }
    let plan = read(ctx, &target, &whole.bytes)?;
    let partition = target.partition.unwrap_or(-1).to_be_bytes();
    let sent = fingerprint(&[&whole.bytes, &partition]);
    let produced = plan.append(ctx, &target, sent, 0)?.finish().await;
    respond(produced)
}

fn read(ctx: &Ctx, target: &Target, bytes: &[u8]) -> Result<Plan, Problem> {
    let body: ProduceBody<'_> = parse_json(bytes)?;
    if body.records.is_empty() {
        return Err(Problem::invalid("read the records: there are none"));
    }
    let now_ms = ctx.clock().wall_ms();
    let mut plan = Plan::new(ctx, target);
    for (i, record) in body.records.iter().enumerate() {
        record
            .read(target.encoding, now_ms)
            .and_then(|record| plan.add(&record))
            .map_err(|problem| problem.with("record", i))?;
    }
    Ok(plan)
}

/// One problem when nothing was appended, else the batches with what became of each.
pub(super) fn respond(produced: Produced) -> Result<Response, Problem> {
    if produced.all_failed()
        && let Some(problem) = produced.errors().next()
    {
        return Err(problem.clone());
    }
    let status = produced_status(produced.errors().next().is_some());
    Ok((status, Json(produced)).into_response())
}
