//! `DELETE /v1/topics/{topic}/partitions/{partition}/records`: where a partition begins from now on (K3).

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tidemark_types::{ErrorCode, Offset, PartitionIndex};
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::extract::{Params, Segments};
use crate::{Ctx, Problem};

/// Which records go.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteRecordsParams {
    /// Those with offsets below this one. At most the high watermark.
    before: Option<i64>,
    /// All that are committed now.
    #[serde(default)]
    all: bool,
}

/// What is left.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecordsDeleted {
    topic: String,
    partition: i32,
    /// First readable offset; above `before` when that much was gone already.
    log_start: i64,
}

/// Deletes a partition's oldest records, as Kafka's DeleteRecords does. What is deleted cannot be read from this answer on;
/// the space is given back later. Repeating it changes nothing more.
#[utoipa::path(delete, path = "/v1/topics/{topic}/partitions/{partition}/records", operation_id = "delete_records",
    tag = "records",
    params(
        ("topic" = String, Path, description = "The topic's name"),
        ("partition" = i32, Path, description = "The partition's index"),
        DeleteRecordsParams,
    ),
    responses(
        (status = 200, body = RecordsDeleted),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    ))]
pub(crate) async fn delete_records(
    State(ctx): State<Ctx>,
    Segments((name, index)): Segments<(String, i32)>,
    Params(params): Params<DeleteRecordsParams>,
) -> Result<Json<RecordsDeleted>, Problem> {
    let before = match (params.before, params.all) {
        (Some(before), false) if before >= 0 => Some(Offset(before)),
        (None, true) => None,
        _ => {
            return Err(Problem::new(
                ErrorCode::InvalidRequest,
                "delete records: say either `before`, an offset from 0 on, or `all=true`",
            ));
        }
    };
    let topic = find(&ctx, &name).await?;
    let (tenant, partition) = (ctx.tenant(), PartitionIndex(index));
    let deleted = ctx.log().delete_records(tenant, &topic, partition, before);
    let log_start = deleted.await.map_err(|e| Problem::of(&e))?;
    Ok(Json(RecordsDeleted {
        topic: name,
        partition: index,
        log_start: log_start.0,
    }))
}
