//! Produce as a stream of lines, answered by a stream of lines.
//!
//! Memory is bounded whatever the length of the stream: a line, a group of records not yet appended, and a
//! few groups whose acks are awaited. Nothing more is read while that many wait.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, FuturesOrdered, StreamExt};
use serde::Serialize;
use tidemark_types::ErrorCode;
use utoipa::ToSchema;

use super::plan::{Plan, Produced};
use super::record::{Place, RecordIn};
use super::{Acks, Target, fingerprint};
use crate::body::{BodyReader, no_memory};
use crate::ctx::Memory;
use crate::extract::parse_json;
use crate::{Ctx, Problem};

/// A group is appended at this size even if more is there to be read, bytes.
const GROUP_BYTES: usize = 256 << 10;
/// A group is appended at this many records.
const GROUP_RECORDS: usize = 1_000;
/// Groups whose acks are awaited, at the most.
const GROUPS_MAX: usize = 16;

/// A line of the answer.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Line {
    /// A record is durable.
    Appended {
        /// The record's line in the request, from 1.
        line: u64,
        /// Where it is.
        #[serde(flatten)]
        place: Place,
        /// The time the log gave it, or the largest of its batch, ms since the Unix epoch.
        #[serde(skip_serializing_if = "Option::is_none")]
        timestamp: Option<i64>,
    },
    /// A record failed; the others do not.
    Failed {
        /// The record's line in the request, from 1.
        line: u64,
        /// Why.
        error: Problem,
    },
    /// The last line.
    Done {
        /// True when the whole request was read; false when it broke off, and `error` says why.
        done: bool,
        /// Lines read.
        lines: u64,
        /// Records that are durable.
        appended: u64,
        /// Records that failed.
        failed: u64,
        /// Why the request broke off.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Problem>,
    },
}

pub(super) fn produce(
    ctx: &Ctx,
    target: Target,
    acks: Acks,
    request: Request,
) -> Result<Response, Problem> {
    if target.expected_offset.is_some() {
        return Err(Problem::invalid(
            "append at an expected offset: a stream of lines is not one append",
        ));
    }
    let session = Session {
        body: BodyReader::stream(ctx, request.into_body()),
        ctx: ctx.clone(),
        target,
        acks,
        buffer: BytesMut::new(),
        scanned: 0,
        memory: ctx.memory(),
        reading: true,
        broken: None,
        group: None,
        waiting: FuturesOrdered::new(),
        lines: 0,
        appended: 0,
        failed: 0,
        finished: false,
    };
    let lines = stream::unfold(session, |mut session| async move {
        let chunk = session.next_chunk().await?;
        Some((Ok::<_, Infallible>(chunk), session))
    });
    let kind = "application/x-ndjson";
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response())
}

/// Records of one group and their lines.
struct Group {
    plan: Plan,
    lines: Vec<(u64, Option<Problem>)>,
    fingerprint: u64,
}

/// A group's answer: its lines, each with its own problem or a place in what was produced.
type Acked = (Vec<(u64, Option<Problem>)>, Result<Produced, Problem>);

struct Session {
    ctx: Ctx,
    target: Target,
    acks: Acks,
    body: BodyReader,
    /// What was read and is not yet a whole line.
    buffer: BytesMut,
    /// Bytes of the buffer known to have no line break.
    scanned: usize,
    memory: Memory,
    reading: bool,
    broken: Option<Problem>,
    group: Option<Group>,
    waiting: FuturesOrdered<BoxFuture<'static, Acked>>,
    lines: u64,
    appended: u64,
    failed: u64,
    finished: bool,
}

impl Session {
    /// The next piece of the answer; `None` after the last.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        loop {
            if self.finished {
                return None;
            }
            if !self.reading && self.group.is_none() && self.waiting.is_empty() {
                self.finished = true;
                return Some(self.summary());
            }
            let may_read = self.reading && self.waiting.len() < GROUPS_MAX;
            if may_read && self.read_ready() {
                continue;
            }
            if self.waiting.len() < GROUPS_MAX && self.group.is_some() {
                self.flush();
                continue;
            }
            tokio::select! {
                biased;
                Some(acked) = self.waiting.next(), if !self.waiting.is_empty() => {
                    let chunk = self.answer(acked);
                    if !chunk.is_empty() {
                        return Some(chunk);
                    }
                }
                data = self.body.next(), if may_read => self.take(data),
            }
        }
    }

    /// Takes what the client has already sent; `false` when that is nothing, or the group is full.
    fn read_ready(&mut self) -> bool {
        if self.group.as_ref().is_some_and(Group::is_full) {
            return false;
        }
        if self.next_line() {
            return true;
        }
        match self.body.next().now_or_never() {
            None => false,
            Some(data) => {
                self.take(data);
                true
            }
        }
    }

    fn take(&mut self, data: Result<Option<Bytes>, Problem>) {
        match data {
            Ok(Some(data)) => {
                self.buffer.extend_from_slice(&data);
                if !self.memory.hold(self.buffer.len()) {
                    self.break_off(no_memory());
                }
            }
            Ok(None) => {
                self.reading = false;
                // A last line may lack its line break.
                while self.next_line() {}
                let rest = self.buffer.split().freeze();
                self.line(&rest);
            }
            Err(problem) => self.break_off(problem),
        }
    }

    /// Reads no further; what was read whole is still appended and answered.
    fn break_off(&mut self, problem: Problem) {
        self.reading = false;
        self.broken = Some(problem);
        self.buffer = BytesMut::new();
    }

    /// Takes one whole line off the buffer; `false` when there is none.
    fn next_line(&mut self) -> bool {
        let fresh = &self.buffer[self.scanned..];
        let Some(end) = fresh.iter().position(|b| *b == b'\n') else {
            self.scanned = self.buffer.len();
            let limit = self.ctx.config().body_bytes_max;
            if self.scanned > limit {
                self.break_off(Problem::new(
                    ErrorCode::MessageTooLarge,
                    format!("read line {}: it is over {limit} bytes", self.lines + 1),
                ));
                self.scanned = 0;
            }
            return false;
        };
        let end = self.scanned + end;
        self.scanned = 0;
        let line = self.buffer.split_to(end + 1).freeze();
        self.line(&line[..end]);
        true
    }

    /// Adds a record to the group. Empty lines are skipped.
    fn line(&mut self, text: &[u8]) {
        if text.trim_ascii().is_empty() {
            return;
        }
        self.lines += 1;
        let now_ms = self.ctx.clock().wall_ms();
        let record = parse_json::<RecordIn<'_>>(text)
            .and_then(|record| record.read(self.target.encoding, now_ms));
        let (ctx, target) = (&self.ctx, &self.target);
        let group = self.group.get_or_insert_with(|| Group {
            plan: Plan::new(ctx, target),
            lines: Vec::new(),
            fingerprint: fingerprint(&[text]),
        });
        let problem = record.and_then(|record| group.plan.add(&record)).err();
        group.lines.push((self.lines, problem));
        if self.target.key.is_some() {
            // Under an idempotency key every line is an append of its own: how lines fall into groups depends
            // on timing.
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(group) = self.group.take() else {
            return;
        };
        let part = usize::try_from(self.lines).unwrap_or(usize::MAX);
        let Group {
            plan,
            lines,
            fingerprint,
        } = group;
        // Enqueued here, in the order of the lines; only the acks are awaited later.
        let appending = plan.append(&self.ctx, &self.target, fingerprint, part);
        self.waiting.push_back(
            async move {
                match appending {
                    Ok(appending) => (lines, Ok(appending.finish().await)),
                    Err(problem) => (lines, Err(problem)),
                }
            }
            .boxed(),
        );
    }

    /// A group's lines.
    fn answer(&mut self, (lines, produced): Acked) -> Bytes {
        let mut out = Vec::new();
        let (mut places, whole) = match produced {
            Ok(produced) => (Some(produced.into_records()), None),
            Err(problem) => (None, Some(problem)),
        };
        for (line, problem) in lines {
            let outcome = match (problem, &mut places, &whole) {
                (Some(problem), ..) => Err(problem),
                (None, Some(places), _) => {
                    let (place, outcome) = places.next().expect("a place for every record");
                    outcome.map(|timestamp| (place, timestamp))
                }
                (None, None, Some(problem)) => Err(problem.clone()),
                (None, None, None) => unreachable!("a group was produced or it was not"),
            };
            match outcome {
                Ok((place, timestamp)) => {
                    self.appended += 1;
                    if self.acks == Acks::Each {
                        write(
                            &mut out,
                            &Line::Appended {
                                line,
                                place,
                                timestamp,
                            },
                        );
                    }
                }
                Err(error) => {
                    self.failed += 1;
                    write(&mut out, &Line::Failed { line, error });
                }
            }
        }
        out.into()
    }

    fn summary(&mut self) -> Bytes {
        let mut out = Vec::new();
        let error = self.broken.take();
        let done = Line::Done {
            done: error.is_none(),
            lines: self.lines,
            appended: self.appended,
            failed: self.failed,
            error,
        };
        write(&mut out, &done);
        out.into()
    }
}

impl Group {
    fn is_full(&self) -> bool {
        self.plan.len() >= GROUP_RECORDS
            || self.lines.len() >= GROUP_RECORDS
            || self.plan.bytes() >= GROUP_BYTES
    }
}

fn write(out: &mut Vec<u8>, line: &Line) {
    serde_json::to_writer(&mut *out, line).expect("a line serialises");
    out.push(b'\n');
}
