//! Records as they come, for as long as the client reads.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use super::page::{Read, RecordOut};
use super::{Reading, page};
use crate::encoding::Encoding;
use crate::{Ctx, Problem};

/// How records are told apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Server-sent events; the id is the offset.
    Events,
    /// A line each.
    Lines,
}

/// Answers with a stream. What is wrong at its beginning is an ordinary problem; what goes wrong later is told
/// as its last item.
pub(super) async fn respond(
    ctx: &Ctx,
    reading: Reading,
    framing: Framing,
) -> Result<Response, Problem> {
    let first = page::records(ctx, &reading, std::time::Duration::ZERO).await?;
    let follow = Follow {
        ctx: ctx.clone(),
        reading,
        framing,
        first: Some(first),
        ended: false,
    };
    let chunks = stream::unfold(follow, |mut follow| async move {
        let chunk = follow.next_chunk().await?;
        Some((Ok::<_, Infallible>(chunk), follow))
    });
    let kind = match framing {
        Framing::Events => "text/event-stream",
        Framing::Lines => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

struct Follow {
    ctx: Ctx,
    reading: Reading,
    framing: Framing,
    first: Option<Read>,
    ended: bool,
}

impl Follow {
    /// The next piece; `None` at the end, which is the drain or a failure that was told.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        // The first one may be empty: a comment then shows the client that the stream is open.
        let outcome = match self.first.take() {
            Some(first) => Ok(first),
            None if self.ctx.draining().is_cancelled() => return None,
            None => {
                let heartbeat = self.ctx.config().heartbeat;
                page::records(&self.ctx, &self.reading, heartbeat).await
            }
        };
        match outcome {
            Ok(read) => {
                self.reading.next = read.next;
                let bytes = read.bytes;
                let (framing, encoding) = (self.framing, self.reading.encoding);
                let framed = move || framing.frame(&read, encoding);
                Some(self.ctx.work(bytes, framed).await)
            }
            Err(problem) => {
                self.ended = true;
                Some(self.failure(&problem))
            }
        }
    }

    fn failure(&self, problem: &Problem) -> Bytes {
        let text = problem.to_json();
        Bytes::from(match self.framing {
            Framing::Events => format!("event: error\ndata: {text}\n\n"),
            Framing::Lines => format!("{{\"error\":{text}}}\n"),
        })
    }
}

impl Framing {
    fn frame(self, read: &Read, encoding: Encoding) -> Bytes {
        let mut out = Vec::new();
        for record in &read.records {
            let record = RecordOut::new(record, encoding);
            if self == Self::Events {
                out.extend_from_slice(format!("id: {}\ndata: ", record.offset).as_bytes());
            }
            serde_json::to_writer(&mut out, &record).expect("a record serialises");
            out.extend_from_slice(self.end());
        }
        if out.is_empty() {
            // An empty line is no record; both kinds of clients skip it.
            out.extend_from_slice(match self {
                Self::Events => b": heartbeat\n\n",
                Self::Lines => b"\n",
            });
        }
        out.into()
    }

    const fn end(self) -> &'static [u8] {
        match self {
            Self::Events => b"\n\n",
            Self::Lines => b"\n",
        }
    }
}
