//! `/livez` and `/readyz`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tidemark_log::ShardState;
use tidemark_types::ErrorCode;
use utoipa::ToSchema;

use crate::{Ctx, Problem};

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    #[schema(example = "ok")]
    status: &'static str,
    /// What an operator should know of though requests are served: an object store that fails, say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// Whether the process lives. Always 200: a process that does not live does not answer.
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200, body = Health)))]
pub(crate) async fn livez() -> Json<Health> {
    Json(Health {
        status: "ok",
        notes: Vec::new(),
    })
}

/// Whether every shard of this process serves; 503 with the reasons otherwise, and while draining.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, body = Health),
    (status = 503, body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn readyz(State(ctx): State<Ctx>) -> Result<Json<Health>, Problem> {
    let mut reasons = Vec::new();
    if ctx.draining().is_cancelled() {
        reasons.push("draining".to_owned());
    }
    let status = ctx.log().status();
    if status.shards.is_empty() {
        reasons.push("no shards yet".to_owned());
    }
    for shard in &status.shards {
        let id = shard.shard;
        match &shard.state {
            ShardState::Serving { .. } => {}
            ShardState::Recovering { why } if why.is_empty() => {
                reasons.push(format!("shard {id} recovers"));
            }
            ShardState::Recovering { why } => reasons.push(format!("shard {id} recovers: {why}")),
            ShardState::Closed { why } => reasons.push(format!("shard {id} is closed: {why}")),
            ShardState::Stopped => reasons.push(format!("shard {id} is stopped")),
        }
    }
    if reasons.is_empty() {
        return Ok(Json(Health {
            status: "ok",
            notes: ctx.notes(),
        }));
    }
    let detail = format!("serve: {}", reasons.join("; "));
    Err(Problem::new(ErrorCode::LeaderNotAvailable, detail).with("reasons", reasons))
}
