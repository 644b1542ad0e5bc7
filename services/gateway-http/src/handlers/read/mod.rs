//! `GET /v1/topics/{topic}/partitions/{partition}/records`: pages, single records, streams.

mod page;
mod single;
mod start;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tidemark_topics::Topic;
use tidemark_types::{ErrorCode, Offset, PartitionIndex};
use utoipa::IntoParams;

use super::find;
use crate::encoding::Encoding;
use crate::extract::{Params, Segments, accepted};
use crate::{Ctx, Problem};

/// Records of a page at the most, and without `limit`.
const LIMIT_MAX: usize = 10_000;
const LIMIT_DEFAULT: usize = 1_000;
/// Bytes of a page's keys, values and headers at the most, and without `max_bytes`. One larger record is
/// still given.
const PAGE_BYTES_MAX: usize = 16 << 20;
const PAGE_BYTES_DEFAULT: usize = 1 << 20;

/// Where to begin when neither offset nor timestamp says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum From {
    /// With the first readable record.
    Earliest,
    /// With the next record to come.
    Latest,
}

/// What to read.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadParams {
    /// From this offset on.
    offset: Option<i64>,
    /// From the first record at or after this time on, ms since the Unix epoch; from the end when there is none.
    timestamp: Option<i64>,
    /// From an end of the log. `earliest` when nothing says where to begin.
    from: Option<From>,
    /// Records at the most: 1 to 10,000; 1,000 when absent. Streams take no limit.
    limit: Option<usize>,
    /// Bytes at the most; one larger record is still given. 1 MiB when absent, 16 MiB at the most.
    max_bytes: Option<usize>,
    /// How long to wait for a first record, ms; 60,000 at the most.
    #[serde(default)]
    wait_ms: u64,
    /// How keys and values stand in JSON if they can; each record says how they do. Text that is not UTF-8 is
    /// given as base64.
    encoding: Option<Encoding>,
    /// An NDJSON answer goes on with new records for as long as the client reads it.
    #[serde(default)]
    follow: bool,
}

/// Where and how to read, checked.
#[derive(Clone)]
struct Reading {
    topic: Arc<Topic>,
    index: PartitionIndex,
    next: Offset,
    limit: usize,
    max_bytes: usize,
    wait: Duration,
    encoding: Encoding,
}

/// How the answer is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Lines,
    Events,
    Single,
}

const SHAPES: [(&str, Shape); 4] = [
    ("application/json", Shape::Json),
    ("application/x-ndjson", Shape::Lines),
    ("text/event-stream", Shape::Events),
    ("application/octet-stream", Shape::Single),
];

/// Reads records of one partition.
///
/// `application/json`: a page. `application/x-ndjson`: the same records, one a line, and with `follow` those to
/// come; `Tidemark-Next-Offset` says where the next page begins. `application/octet-stream`: the value of
/// the first record, the rest of it in `Tidemark-…` headers; 204 when there is none.
/// `text/event-stream`: records as they come, each with its offset as `id`; a client that reconnects
/// with `Last-Event-ID` goes on behind it. The stream ends when the service drains: reconnect.
#[utoipa::path(get, path = "/v1/topics/{topic}/partitions/{partition}/records", tag = "records",
    params(
        ("topic" = String, Path, description = "The topic's name"),
        ("partition" = i32, Path, description = "The partition's index"),
        ReadParams,
        ("Last-Event-ID" = Option<i64>, Header, description = "The offset behind which an event stream goes on"),
    ),
    responses(
        (status = 200, content(
            (page::Page = "application/json"),
            (page::RecordOut = "application/x-ndjson"),
            (String = "text/event-stream"),
            (Vec<u8> = "application/octet-stream"),
        )),
        (status = 204, description = "No record (application/octet-stream)"),
        (status = 416, description = "offset_out_of_range; log_start and high_watermark say what there is",
            body = Problem, content_type = "application/problem+json"),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn read(
    State(ctx): State<Ctx>,
    Segments((name, index)): Segments<(String, i32)>,
    Params(params): Params<ReadParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let shape = accepted(&headers, &SHAPES)?;
    let begin = start::begin(&params, &headers, shape)?;
    check(&params, shape)?;
    let topic = find(&ctx, &name).await?;
    let index = PartitionIndex(index);
    if topic.partition(index).is_none() {
        return Err(Problem::new(
            ErrorCode::UnknownTopicOrPartition,
            format!(
                "read partition {index}: topic {name} has {}",
                topic.partition_count()
            ),
        ));
    }
    let next = start::resolve(&ctx, &topic, index, begin).await?;
    let wait_max = ctx.config().wait_max;
    let reading = Reading {
        topic,
        index,
        next,
        limit: params.limit.unwrap_or(LIMIT_DEFAULT),
        max_bytes: params.max_bytes.unwrap_or(PAGE_BYTES_DEFAULT),
        wait: Duration::from_millis(params.wait_ms).min(wait_max),
        encoding: params.encoding.unwrap_or_default(),
    };
    match shape {
        Shape::Json => Ok(Json(page::read(&ctx, &reading).await?).into_response()),
        Shape::Single => single::respond(&ctx, reading).await,
        Shape::Events => stream::respond(&ctx, reading, stream::Framing::Events).await,
        Shape::Lines if params.follow => {
            stream::respond(&ctx, reading, stream::Framing::Lines).await
        }
        Shape::Lines => lines(&ctx, &reading).await,
    }
}

fn check(params: &ReadParams, shape: Shape) -> Result<(), Problem> {
    let streams = shape == Shape::Events || params.follow;
    let refused = |why: &str| Err(Problem::invalid(format!("read the query: {why}")));
    if params.follow && shape != Shape::Lines {
        return refused("follow is for application/x-ndjson");
    }
    if streams && (params.limit.is_some() || params.wait_ms > 0) {
        return refused("limit and wait_ms are not for streams");
    }
    if params.limit.is_some_and(|n| !(1..=LIMIT_MAX).contains(&n)) {
        return refused(&format!("limit must be 1 to {LIMIT_MAX}"));
    }
    if params
        .max_bytes
        .is_some_and(|n| !(1..=PAGE_BYTES_MAX).contains(&n))
    {
        return refused(&format!("max_bytes must be 1 to {PAGE_BYTES_MAX}"));
    }
    Ok(())
}

/// One page as lines.
async fn lines(ctx: &Ctx, reading: &Reading) -> Result<Response, Problem> {
    let page = page::read(ctx, reading).await?;
    let headers = [
        (
            header::CONTENT_TYPE.as_str(),
            "application/x-ndjson".to_owned(),
        ),
        ("tidemark-next-offset", page.next_offset.to_string()),
        ("tidemark-high-watermark", page.high_watermark.to_string()),
    ];
    let mut out = Vec::new();
    for record in &page.records {
        serde_json::to_writer(&mut out, record).expect("a record serialises");
        out.push(b'\n');
    }
    Ok((headers, out).into_response())
}
