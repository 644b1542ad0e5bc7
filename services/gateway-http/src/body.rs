//! Reading bodies: bounded in size, in held memory and in how slowly they may come.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tidemark_types::ErrorCode;
use tokio::time::Instant;

use crate::ctx::Memory;
use crate::{Ctx, Problem};

/// A body as it arrives.
pub(crate) struct BodyReader {
    ctx: Ctx,
    body: Body,
    started: Instant,
    last: Instant,
    received: u64,
    /// How long the next bytes may take.
    idle: Duration,
    /// Bytes per second at the least; 0 for streams.
    rate_min: u64,
}

impl BodyReader {
    /// A body that must keep up `body_rate_min`.
    pub(crate) fn new(ctx: &Ctx, body: Body) -> Self {
        let now = ctx.clock().now();
        Self {
            ctx: ctx.clone(),
            body,
            started: now,
            last: now,
            received: 0,
            idle: ctx.config().body_idle_timeout,
            rate_min: ctx.config().body_rate_min,
        }
    }

    /// A body that a client fills over time: only an idle timeout holds.
    pub(crate) fn stream(ctx: &Ctx, body: Body) -> Self {
        Self {
            idle: ctx.config().stream_idle_timeout,
            rate_min: 0,
            ..Self::new(ctx, body)
        }
    }

    /// When the next bytes must be here.
    fn deadline(&self) -> Instant {
        let by_idle = self.last + self.idle;
        match self.received.checked_div(self.rate_min) {
            None => by_idle,
            Some(earned_s) => by_idle.min(self.started + self.idle + Duration::from_secs(earned_s)),
        }
    }

    /// The next bytes; `None` at the end. Safe to drop while waiting.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let deadline = self.deadline();
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = tokio::time::sleep_until(deadline) => return Err(self.too_slow()),
            };
            match frame {
                None => return Ok(None),
                Some(Err(e)) => return Err(Problem::invalid(format!("read the body: {e}"))),
                Some(Ok(frame)) => {
                    // Trailers carry nothing we use.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    self.last = self.ctx.clock().now();
                    self.received += data.len() as u64;
                    if !data.is_empty() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn too_slow(&self) -> Problem {
        let detail = format!(
            "read the body: {} bytes came, then too little for too long",
            self.received
        );
        Problem::new(ErrorCode::RequestTimedOut, detail).with_status(StatusCode::REQUEST_TIMEOUT)
    }
}

/// A whole body and the memory it is counted with.
pub(crate) struct WholeBody {
    pub(crate) bytes: Bytes,
    /// Held until the request is done.
    pub(crate) memory: Memory,
}

/// Reads all of a body, which may have `limit` bytes.
pub(crate) async fn read_whole(ctx: &Ctx, body: Body, limit: usize) -> Result<WholeBody, Problem> {
    use hyper::body::Body as _;
    let claimed = body.size_hint().lower();
    if claimed > limit as u64 {
        return Err(too_large(limit));
    }
    let mut memory = ctx.memory();
    let mut reader = BodyReader::new(ctx, body);
    let Some(first) = reader.next().await? else {
        return Ok(WholeBody {
            bytes: Bytes::new(),
            memory,
        });
    };
    let mut rest = BytesMut::new();
    let mut whole = first;
    let mut size = whole.len();
    loop {
        if size > limit {
            return Err(too_large(limit));
        }
        if !memory.hold(size) {
            return Err(no_memory());
        }
        let Some(data) = reader.next().await? else {
            break;
        };
        if rest.is_empty() {
            rest = BytesMut::from(whole);
            whole = Bytes::new();
        }
        size += data.len();
        rest.extend_from_slice(&data);
    }
    let bytes = if rest.is_empty() {
        whole
    } else {
        rest.freeze()
    };
    Ok(WholeBody { bytes, memory })
}

pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(
        ErrorCode::MessageTooLarge,
        format!("read the body: it is over {limit} bytes"),
    )
}

pub(crate) fn no_memory() -> Problem {
    Problem::new(
        ErrorCode::Overloaded,
        "hold the request: other requests hold all the memory there is for them",
    )
}
