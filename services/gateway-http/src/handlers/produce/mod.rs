//! `POST /v1/topics/{topic}/records`: one route, three media types.

mod binary;
mod json;
mod ndjson;
mod plan;
mod record;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use tidemark_log::IdempotencyKey;
use tidemark_topics::Topic;
use tidemark_types::Offset;
use utoipa::IntoParams;

use super::find;
use crate::encoding::Encoding;
use crate::extract::{Params, Segments, content_type, unsupported};
use crate::{Ctx, Problem};

/// An idempotency key's bytes at the most; the log's bound leaves room for the number of a batch or line.
const KEY_BYTES_MAX: usize = 100;
const _: () = assert!(KEY_BYTES_MAX + 22 <= IdempotencyKey::BYTES_MAX);

/// How to produce.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProduceParams {
    /// The partition of records that name none. Without it a key decides as in Kafka's default partitioner, and
    /// keyless records of one request go together to one partition, the next request's to the next.
    partition: Option<i32>,
    /// Append only if the first record gets this offset; else 412. All records must go to one partition.
    expected_offset: Option<i64>,
    /// How keys and values that do not say otherwise stand in JSON.
    encoding: Option<Encoding>,
    /// The key of an `application/octet-stream` record, as text; `Tidemark-Key` takes it as base64.
    key: Option<String>,
    /// The timestamp of an `application/octet-stream` record, ms since the Unix epoch; now when absent.
    timestamp: Option<i64>,
    /// What an NDJSON stream answers.
    acks: Option<Acks>,
}

/// What an NDJSON stream answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
enum Acks {
    /// A line for each record, then the summary. Read them while sending, or the stream stalls.
    #[default]
    Each,
    /// A line for each record that failed, then the summary.
    Summary,
}

/// What is the same for all records of a request.
struct Target {
    topic: Arc<Topic>,
    partition: Option<i32>,
    encoding: Encoding,
    expected_offset: Option<Offset>,
    key: Option<String>,
}

/// Appends records and answers when they are durable.
///
/// `application/json`: an object with `records`. `application/octet-stream`: the body is one record's value;
/// key, timestamp and partition are parameters, `Tidemark-Key` (base64) a key of any bytes, each
/// `Tidemark-Header: name=base64` a record header (name percent-encoded), `Tidemark-Tombstone: true` a null
/// value. `application/x-ndjson`: a record per line, of any number; the answer is a stream of lines too, in the
/// order of the records, the last of which has `done`.
///
/// `Idempotency-Key` makes a retry safe: records that were appended under it are not appended again and
/// answered with their first offsets. The retry must send the same body. In an NDJSON stream the key
/// counts per line.
#[utoipa::path(post, path = "/v1/topics/{topic}/records", tag = "records",
    params(
        ("topic" = String, Path, description = "The topic's name"),
        ProduceParams,
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 100 visible ASCII characters"),
        ("Tidemark-Key" = Option<String>, Header, description = "A binary record's key, base64"),
        ("Tidemark-Header" = Option<String>, Header, description = "A binary record's header, name=base64; may repeat"),
        ("Tidemark-Tombstone" = Option<bool>, Header, description = "The binary record has no value"),
    ),
    request_body(content(
        (json::ProduceBody = "application/json"),
        (Vec<u8> = "application/octet-stream"),
        (record::RecordIn = "application/x-ndjson"),
    )),
    responses(
        (status = 200, description = "Durable", content(
            (plan::Produced = "application/json"),
            (ndjson::Line = "application/x-ndjson"),
        )),
        (status = 207, description = "Some batches are durable, some failed", body = plan::Produced),
        (status = 412, description = "expected_offset_mismatch; next_offset says what it is", body = Problem,
            content_type = "application/problem+json"),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn produce(
    State(ctx): State<Ctx>,
    Segments(name): Segments<String>,
    Params(params): Params<ProduceParams>,
    request: Request,
) -> Result<Response, Problem> {
    let kind = content_type(request.headers());
    let key = idempotency_key(request.headers())?;
    let is_binary = kind.as_deref() == Some("application/octet-stream");
    let is_stream = kind.as_deref() == Some("application/x-ndjson");
    if !is_binary && (params.key.is_some() || params.timestamp.is_some()) {
        return Err(Problem::invalid(
            "read the query: key and timestamp are for application/octet-stream",
        ));
    }
    if !is_stream && params.acks.is_some() {
        return Err(Problem::invalid(
            "read the query: acks is for application/x-ndjson",
        ));
    }
    if params.expected_offset.is_some_and(|o| o < 0) {
        return Err(Problem::invalid(
            "read the query: expected_offset is negative",
        ));
    }
    match kind.as_deref() {
        Some("application/json" | "application/octet-stream" | "application/x-ndjson") => {}
        other => {
            let wanted = "application/json, application/octet-stream or application/x-ndjson";
            return Err(unsupported(other, wanted));
        }
    }
    let target = Target {
        topic: find_or_create(&ctx, &name).await?,
        partition: params.partition,
        encoding: params.encoding.unwrap_or_default(),
        expected_offset: params.expected_offset.map(Offset),
        key,
    };
    if is_binary {
        binary::produce(&ctx, target, params.key, params.timestamp, request).await
    } else if is_stream {
        ndjson::produce(&ctx, target, params.acks.unwrap_or_default(), request)
    } else {
        json::produce(&ctx, target, request).await
    }
}

/// The topic; created when the service does so for Kafka's producers as well.
async fn find_or_create(ctx: &Ctx, name: &str) -> Result<Arc<Topic>, Problem> {
    if !ctx.topics().settings().auto_create {
        return find(ctx, name).await;
    }
    if let Some(topic) = ctx.topics().cached(ctx.tenant(), name) {
        return Ok(topic);
    }
    let made = ctx.topics().lookup_or_create(ctx.tenant(), name).await;
    made.map_err(|e| Problem::of(&e))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Problem::invalid(format!(
            "read Idempotency-Key: 1 to {KEY_BYTES_MAX} visible ASCII characters are allowed"
        )));
    }
    Ok(Some(key.to_owned()))
}

/// A key in the log: the client's, and which part of its request it is for.
fn part_key(key: &str, part: usize, fingerprint: u64) -> IdempotencyKey {
    IdempotencyKey {
        key: Bytes::from(format!("{key}\0{part}")),
        fingerprint,
    }
}

/// FNV-1a: tells apart requests that were sent under one key by mistake.
fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        let length = (part.len() as u64).to_be_bytes();
        for byte in length.iter().chain(*part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// The status of an answer whose batches all went well, or not.
const fn produced_status(failed: bool) -> StatusCode {
    if failed {
        StatusCode::MULTI_STATUS
    } else {
        StatusCode::OK
    }
}
