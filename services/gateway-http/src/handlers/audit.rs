//! `POST /v1/audit` and `GET /v1/extents`: what `tidemark fsck` asks a running service for.

use std::convert::Infallible;
use std::num::NonZeroU64;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tidemark_log::{AuditEvent, AuditOptions, AuditRun, AuditTotals, ExtentStatus, Finding};
use utoipa::{IntoParams, ToSchema};

use crate::extract::{NoParams, Params};
use crate::{Ctx, Problem};

/// Bytes per second read when the request does not say: a quarter of a gigabit, which leaves most of a small machine to clients.
const BYTES_PER_S: NonZeroU64 = NonZeroU64::new(32 << 20).expect("it is not zero");

/// How to check.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditParams {
    /// Bytes of objects read per second at the most, at least 1; 32 MiB when absent.
    #[param(value_type = Option<u64>, minimum = 1)]
    bytes_per_s: Option<NonZeroU64>,
}

/// A line of the answer.
#[derive(Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum AuditLine {
    /// How far it is; comes again and again.
    Progress(Totals),
    /// An object of the log that is not there, or not whole.
    Bad {
        /// Its name in the store.
        object: String,
        /// What is wrong with it.
        why: String,
        /// What mends it.
        repair: &'static str,
    },
    /// Something readable that no object holds, or two do.
    Uncovered {
        /// The shard.
        shard: u32,
        /// What of it.
        why: String,
        /// What mends it.
        repair: &'static str,
    },
    /// An object that nothing names.
    Orphan {
        /// Its name in the store.
        object: String,
        /// Its size.
        bytes: u64,
        /// Whether this service wrote it.
        own: bool,
        /// What becomes of it.
        repair: &'static str,
    },
    /// The last line of a check that was made to its end.
    Done(Totals),
    /// The last line of one that was not.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// What was looked at.
#[derive(Clone, Copy, Default, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// Objects of the log, each read to its last byte or found bad.
    objects: u64,
    /// Their bytes.
    bytes: u64,
    /// Objects that are being written, or wait to be deleted.
    passing: u64,
    /// Objects that the service took out of the log while they were read.
    changed: u64,
    /// Shards that changed too fast for their coverage to be checked.
    unchecked: u64,
    /// Gaps and overlaps that were found and have no line: of each shard the first 1,000 have.
    omitted: u64,
}

impl From<AuditTotals> for Totals {
    fn from(totals: AuditTotals) -> Self {
        Self {
            objects: totals.objects,
            bytes: totals.bytes,
            passing: totals.passing,
            changed: totals.changed,
            unchecked: totals.unchecked,
            omitted: totals.omitted,
        }
    }
}

impl From<AuditEvent> for AuditLine {
    fn from(event: AuditEvent) -> Self {
        match event {
            AuditEvent::Progress(totals) => Self::Progress(totals.into()),
            AuditEvent::Done(totals) => Self::Done(totals.into()),
            AuditEvent::Found(Finding::Bad(bad)) => Self::Bad {
                repair: bad.repair(),
                object: bad.key,
                why: bad.why,
            },
            AuditEvent::Found(Finding::Uncovered(uncovered)) => Self::Uncovered {
                repair: uncovered.repair(),
                shard: uncovered.shard.0,
                why: uncovered.why,
            },
            AuditEvent::Found(Finding::Orphan(orphan)) => Self::Orphan {
                repair: orphan.repair(),
                object: orphan.key,
                bytes: orphan.bytes,
                own: orphan.own,
            },
        }
    }
}

/// Holds the object store against the metadata while the service runs: every object is read whole, what is readable must be
/// covered once, and what nothing names is listed. Repairs nothing; one at a time; stops when the client goes away.
///
/// The answer is a line per finding, with lines of progress in between; it is complete when the last line's `kind` is `done`.
#[utoipa::path(post, path = "/v1/audit", tag = "service", params(AuditParams),
    responses(
        (status = 200, body = AuditLine, content_type = "application/x-ndjson"),
        (status = 409, description = "in_progress: another check is under way",
            body = Problem, content_type = "application/problem+json"),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn audit(
    State(ctx): State<Ctx>,
    Params(params): Params<AuditParams>,
) -> Result<Response, Problem> {
    let options = AuditOptions {
        bytes_per_s: Some(params.bytes_per_s.unwrap_or(BYTES_PER_S)),
        ..AuditOptions::default()
    };
    let run = ctx.log().audit(options).map_err(|e| Problem::of(&e))?;
    let telling = Telling {
        ctx,
        run,
        last: Totals::default(),
        ended: false,
    };
    let lines = stream::unfold(telling, |mut telling| async move {
        let line = telling.next_line().await?;
        let mut text = serde_json::to_vec(&line).expect("a line serialises");
        text.push(b'\n');
        Some((Ok::<_, Infallible>(Bytes::from(text)), telling))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// An audit that goes on as its lines are taken.
struct Telling {
    ctx: Ctx,
    run: AuditRun,
    last: Totals,
    ended: bool,
}

impl Telling {
    /// The next line; `None` behind the last one, or when the service drains.
    async fn next_line(&mut self) -> Option<AuditLine> {
        if self.ended {
            return None;
        }
        let heartbeat = self.ctx.config().heartbeat;
        let event = tokio::select! {
            biased;
            () = self.ctx.draining().cancelled() => return None,
            event = self.run.next() => event?,
            // Something is slow; whoever waits learns that it goes on.
            () = self.ctx.clock().sleep(heartbeat) => return Some(AuditLine::Progress(self.last)),
        };
        let line = match event {
            Ok(event) => AuditLine::from(event),
            Err(error) => AuditLine::Failed {
                error: Problem::of(&error),
            },
        };
        match &line {
            AuditLine::Progress(totals) => self.last = *totals,
            AuditLine::Done(_) | AuditLine::Failed { .. } => self.ended = true,
            _ => {}
        }
        Some(line)
    }
}

/// What the metadata says of the write-ahead logs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Extents {
    /// This node.
    node_id: u64,
    /// Every extent, by shard and index.
    extents: Vec<Extent>,
}

/// A run of a shard's journal.
#[derive(Serialize, ToSchema)]
struct Extent {
    shard: u32,
    extent: u64,
    /// Its first LSN.
    first: u64,
    /// Where it ends, exclusive; absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    /// The nodes that hold it.
    replicas: Vec<u64>,
    /// From here on an operator gave it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_from: Option<u64>,
}

impl From<ExtentStatus> for Extent {
    fn from(status: ExtentStatus) -> Self {
        Self {
            shard: status.shard.0,
            extent: status.index.0,
            first: status.first.0,
            end: status.end.map(|end| end.0),
            replicas: status.replicas.iter().map(|node| node.0).collect(),
            lost_from: status.lost_from.map(|from| from.0),
        }
    }
}

/// Every extent of the log that lies on log nodes, as the metadata has it.
#[utoipa::path(get, path = "/v1/extents", tag = "service", responses(
    (status = 200, body = Extents),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn extents(
    State(ctx): State<Ctx>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<Extents>, Problem> {
    let extents = ctx.log().extents().await.map_err(|e| Problem::of(&e))?;
    Ok(Json(Extents {
        node_id: ctx.info().node.0,
        extents: extents.into_iter().map(Extent::from).collect(),
    }))
}
