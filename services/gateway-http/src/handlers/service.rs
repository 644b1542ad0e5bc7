//! What the process is and does: `/`, `/v1/status`, `/metrics`, `/openapi.json`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidemark_log::{ShardState, ShardStatus};
use tidemark_types::ErrorCode;
use utoipa::ToSchema;

use crate::extract::{NoParams, Params};
use crate::{Ctx, Problem};

/// The state of the process.
#[derive(Serialize, ToSchema)]
pub(crate) struct Status {
    /// The software's version.
    version: String,
    /// The cluster's id, as Kafka clients see it.
    cluster_id: String,
    /// This process.
    node_id: u64,
    /// Since its start, ms.
    uptime_ms: u64,
    /// Whether every shard serves.
    ready: bool,
    /// Whether it is going down.
    draining: bool,
    /// What an operator should know of though requests are served.
    notes: Vec<String>,
    /// Every shard, by id.
    shards: Vec<Shard>,
}

/// The state of a shard.
#[derive(Serialize, ToSchema)]
struct Shard {
    shard: u32,
    /// `serving`, `recovering`, `closed` or `stopped`.
    state: &'static str,
    /// The epoch it is owned under, while serving.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Why it does not serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Unacked bytes it holds.
    inflight_bytes: usize,
    /// Partitions it has state of.
    partitions: usize,
}

impl From<ShardStatus> for Shard {
    fn from(status: ShardStatus) -> Self {
        let (state, epoch, why) = match status.state {
            ShardState::Serving { epoch } => ("serving", Some(epoch.0), None),
            ShardState::Recovering { why } => ("recovering", None, Some(why)),
            ShardState::Closed { why } => ("closed", None, Some(why)),
            ShardState::Stopped => ("stopped", None, None),
        };
        Self {
            shard: status.shard.0,
            state,
            epoch,
            why: why.filter(|w| !w.is_empty()),
            inflight_bytes: status.inflight_bytes,
            partitions: status.partitions,
        }
    }
}

/// What answers here, and where to go on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Index {
    /// `tidemark`.
    service: &'static str,
    /// The software's version.
    version: String,
    /// Routes to begin with, by what they are for.
    routes: BTreeMap<&'static str, &'static str>,
}

const ROUTES: [(&str, &str); 7] = [
    ("api", "/openapi.json"),
    ("groups", "/v1/groups"),
    ("liveness", "/livez"),
    ("metrics", "/metrics"),
    ("readiness", "/readyz"),
    ("status", "/v1/status"),
    ("topics", "/v1/topics"),
];

/// What answers here: the service, its version, and routes to begin with.
#[utoipa::path(get, path = "/", tag = "service", responses((status = 200, body = Index)))]
pub(crate) async fn index(
    State(ctx): State<Ctx>,
    Params(NoParams {}): Params<NoParams>,
) -> Json<Index> {
    Json(Index {
        service: "tidemark",
        version: ctx.info().version.clone(),
        routes: ROUTES.into(),
    })
}

/// Version, identity, uptime and the state of every shard.
#[utoipa::path(get, path = "/v1/status", tag = "service", responses((status = 200, body = Status)))]
pub(crate) async fn status(
    State(ctx): State<Ctx>,
    Params(NoParams {}): Params<NoParams>,
) -> Json<Status> {
    let log = ctx.log().status();
    let info = ctx.info();
    Json(Status {
        version: info.version.clone(),
        cluster_id: info.cluster_id.clone(),
        node_id: info.node.0,
        uptime_ms: ctx.uptime_ms(),
        ready: log.is_ready() && !log.shards.is_empty() && !ctx.draining().is_cancelled(),
        draining: ctx.draining().is_cancelled(),
        notes: ctx.notes(),
        shards: log.shards.into_iter().map(Shard::from).collect(),
    })
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, body = String, content_type = "text/plain"),
))]
pub(crate) async fn metrics(State(ctx): State<Ctx>) -> Result<Response, Problem> {
    let text = ctx
        .render_metrics()
        .map_err(|why| Problem::new(ErrorCode::Unknown, why))?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// This API's description, OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses((status = 200, body = Object)))]
pub(crate) async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(crate::openapi())
}
