//! A page of records, and a record as JSON.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde_json::value::RawValue;
use tidemark_log::{FetchPartition, FetchRequest, FetchedPartition, Isolation};
use tidemark_records::{Batch, Compression, Record, split};
use tidemark_types::{ErrorCode, Offset, limits};
use utoipa::ToSchema;

use super::Reading;
use crate::body::no_memory;
use crate::encoding::{Encoding, encode_base64};
use crate::{Ctx, Problem};

/// Bytes a batch may decompress to: the largest uncompressed batch there can be.
const DECOMPRESSED_BYTES_MAX: usize = limits::BATCH_BYTES_MAX;

/// A page of records.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// In the order of their offsets.
    pub(super) records: Vec<RecordOut>,
    /// Where the next page begins.
    pub(super) next_offset: i64,
    /// End of the readable log, exclusive.
    pub(super) high_watermark: i64,
    /// First readable offset.
    log_start: i64,
}

/// A record as read.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordOut {
    /// Its offset.
    pub(super) offset: i64,
    /// ms since the Unix epoch.
    timestamp: i64,
    /// Its key; null: none.
    #[schema(value_type = Option<Value>)]
    key: Option<Box<RawValue>>,
    /// How the key stands here.
    key_encoding: Encoding,
    /// Its value; null: a tombstone.
    #[schema(value_type = Option<Value>)]
    value: Option<Box<RawValue>>,
    /// How the value stands here.
    value_encoding: Encoding,
    /// In order; names may repeat.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderOut>,
}

/// A record header as read.
#[derive(Serialize, ToSchema)]
pub(crate) struct HeaderOut {
    /// Its name.
    key: String,
    /// How the name stands here: `utf8` or `base64`.
    key_encoding: Encoding,
    /// Its value; may be null.
    #[schema(value_type = Option<Value>)]
    value: Option<Box<RawValue>>,
    /// How the value stands here.
    value_encoding: Encoding,
}

impl RecordOut {
    pub(super) fn new(record: &Record, encoding: Encoding) -> Self {
        let (key, key_encoding) = optional(record.key.as_deref(), encoding);
        let (value, value_encoding) = optional(record.value.as_deref(), encoding);
        let headers = record.headers.iter().map(|h| {
            let (value, value_encoding) = optional(h.value.as_deref(), encoding);
            let (key, key_encoding) = match std::str::from_utf8(&h.key) {
                Ok(text) => (text.to_owned(), Encoding::Utf8),
                Err(_) => (encode_base64(&h.key), Encoding::Base64),
            };
            HeaderOut {
                key,
                key_encoding,
                value,
                value_encoding,
            }
        });
        Self {
            offset: record.offset.0,
            timestamp: record.timestamp,
            key,
            key_encoding,
            value,
            value_encoding,
            headers: headers.collect(),
        }
    }
}

fn optional(bytes: Option<&[u8]>, wanted: Encoding) -> (Option<Box<RawValue>>, Encoding) {
    match bytes {
        None => (None, wanted),
        Some(bytes) => {
            let (raw, used) = wanted.encode(bytes);
            (Some(raw), used)
        }
    }
}

/// Records as read, with where they were read.
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    pub(super) next: Offset,
    pub(super) high_watermark: Offset,
    pub(super) log_start: Offset,
    /// Of the records' keys, values and headers.
    pub(super) bytes: usize,
}

pub(super) async fn read(ctx: &Ctx, reading: &Reading) -> Result<Page, Problem> {
    let read = records(ctx, reading, reading.wait).await?;
    let (topic, partition) = (reading.topic.name.clone(), reading.index.0);
    let encoding = reading.encoding;
    let page = move || Page {
        topic,
        partition,
        next_offset: read.next.0,
        high_watermark: read.high_watermark.0,
        log_start: read.log_start.0,
        records: read
            .records
            .iter()
            .map(|r| RecordOut::new(r, encoding))
            .collect(),
    };
    Ok(ctx.work(read.bytes, page).await)
}

/// Reads records from `reading.next` on, waiting for the first one; none when the service drains meanwhile.
pub(super) async fn records(ctx: &Ctx, reading: &Reading, wait: Duration) -> Result<Read, Problem> {
    let mut next = reading.next;
    let until = ctx.clock().now() + wait;
    loop {
        let left = until.saturating_duration_since(ctx.clock().now());
        let left = if ctx.draining().is_cancelled() {
            Duration::ZERO
        } else {
            left
        };
        let fetched = fetch(ctx, reading, next, left).await?;
        let batches = joined(&fetched.batches);
        let (is_empty, bytes) = (batches.is_empty(), work_bytes(&batches));
        let decoding = {
            let (ctx, reading) = (ctx.clone(), reading.clone());
            move || decode(&ctx, &reading, next, &fetched, batches)
        };
        let read = ctx.work(bytes, decoding).await?;
        // Batches without data for us (control batches) move the position only: wait on behind them.
        if !read.records.is_empty() || left.is_zero() || is_empty {
            return Ok(read);
        }
        next = read.next;
    }
}

async fn fetch(
    ctx: &Ctx,
    reading: &Reading,
    offset: Offset,
    wait: Duration,
) -> Result<FetchedPartition, Problem> {
    let request = |max_wait| FetchRequest {
        partitions: vec![FetchPartition {
            topic: reading.topic.clone(),
            index: reading.index,
            offset,
            current_leader_epoch: None,
            last_fetched_epoch: None,
            max_bytes: reading.max_bytes,
        }],
        min_bytes: 1,
        max_bytes: reading.max_bytes,
        max_wait,
        isolation: Isolation::ReadUncommitted,
    };
    let mut fetched = tokio::select! {
        biased;
        fetched = ctx.log().fetch(ctx.tenant(), request(wait)) => fetched,
        () = ctx.draining().cancelled(), if !wait.is_zero() => {
            ctx.log().fetch(ctx.tenant(), request(Duration::ZERO)).await
        }
    };
    let fetched = fetched.pop().ok_or_else(|| {
        Problem::new(
            ErrorCode::Unknown,
            "read the partition: the log gave no answer",
        )
    })?;
    match fetched.error {
        None => Ok(fetched),
        Some(code) => Err(failed(code, reading, offset, &fetched)),
    }
}

fn failed(code: ErrorCode, reading: &Reading, offset: Offset, at: &FetchedPartition) -> Problem {
    let (topic, index) = (&reading.topic.name, reading.index);
    let problem = Problem::new(
        code,
        format!("read {topic}/{index} from offset {offset}: {code}"),
    );
    if at.log_start.0 < 0 || at.high_watermark.0 < 0 {
        return problem;
    }
    problem
        .with("log_start", at.log_start.0)
        .with("high_watermark", at.high_watermark.0)
}

fn decode(
    ctx: &Ctx,
    reading: &Reading,
    from: Offset,
    fetched: &FetchedPartition,
    batches: Bytes,
) -> Result<Read, Problem> {
    let mut memory = ctx.memory();
    if !memory.hold(batches.len() * 2) {
        return Err(no_memory());
    }
    let mut read = Read {
        records: Vec::new(),
        next: from,
        high_watermark: fetched.high_watermark,
        log_start: fetched.log_start,
        bytes: 0,
    };
    let mut bytes_left = reading.max_bytes;
    for batch in split(batches) {
        let batch = batch.map_err(|e| damaged(&e))?;
        if batch.header().attributes.is_control() {
            read.next = read.next.max(batch.header().next_offset());
            continue;
        }
        if !take(&mut read, &batch, reading, &mut bytes_left)? {
            break;
        }
        read.next = read.next.max(batch.header().next_offset());
    }
    Ok(read)
}

/// Bytes that decoding may have to go through. What is compressed counts as much: a bomb grows a thousandfold.
fn work_bytes(batches: &Bytes) -> usize {
    let is_packed =
        |batch: Result<Batch, _>| batch.is_ok_and(|b| b.compression() != Compression::None);
    if split(batches.clone()).any(is_packed) {
        return DECOMPRESSED_BYTES_MAX;
    }
    batches.len()
}

/// Takes a batch's records; `false` when the page is full before its end.
fn take(
    read: &mut Read,
    batch: &Batch,
    reading: &Reading,
    bytes_left: &mut usize,
) -> Result<bool, Problem> {
    for record in batch
        .records(DECOMPRESSED_BYTES_MAX)
        .map_err(|e| damaged(&e))?
    {
        let record = record.map_err(|e| damaged(&e))?;
        if record.offset < read.next {
            continue;
        }
        let size = size(&record);
        if read.records.len() >= reading.limit || (size > *bytes_left && !read.records.is_empty()) {
            return Ok(false);
        }
        *bytes_left = bytes_left.saturating_sub(size);
        read.next = Offset(record.offset.0 + 1);
        read.bytes += size;
        read.records.push(record);
    }
    Ok(true)
}

fn size(record: &Record) -> usize {
    let len = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    let headers = record.headers.iter().map(|h| h.key.len() + len(&h.value));
    len(&record.key) + len(&record.value) + headers.sum::<usize>()
}

fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [one] => one.clone(),
        many => {
            let mut all = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            many.iter().for_each(|chunk| all.extend_from_slice(chunk));
            all.freeze()
        }
    }
}

/// Batches are stored as their producer sent them: their records may be anything, or a bomb.
fn damaged(error: &tidemark_records::BatchError) -> Problem {
    use tidemark_types::Coded;
    Problem::new(error.code(), format!("read a stored batch: {error}"))
        .with_status(axum::http::StatusCode::INTERNAL_SERVER_ERROR)
}
