//! `/v1/topics/{topic}`: one of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tidemark_topics::{ConfigOp, ConfigSource, Topic, TopicRef};
use tidemark_types::{Coded, PartitionIndex};
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::extract::{JsonBody, NoParams, Params, Segments};
use crate::{Ctx, Problem};

/// A topic with all there is to know of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopicDescription {
    /// Its name.
    name: String,
    /// Its public id, a uuid.
    id: String,
    /// `local`, `quorum` or `object`.
    durability: &'static str,
    /// When it was created, ms since the Unix epoch.
    created_ms: i64,
    /// Its partitions, by index.
    partitions: Vec<Partition>,
    /// Its whole configuration, by name.
    config: BTreeMap<&'static str, ConfigValue>,
}

/// A partition.
#[derive(Serialize, ToSchema)]
pub(crate) struct Partition {
    partition: i32,
    /// The shard that holds it.
    shard: u32,
    /// First readable offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_start: Option<i64>,
    /// End of the readable log, exclusive: the next record's offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    high_watermark: Option<i64>,
    /// Kafka's leader epoch of the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader_epoch: Option<i32>,
    /// Why the offsets are not known: an error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// A configuration's value.
#[derive(Serialize, ToSchema)]
pub(crate) struct ConfigValue {
    value: String,
    /// `topic`, `service` or `default`.
    source: &'static str,
}

/// What to change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchTopic {
    /// The new partition count; it may only grow.
    partitions: Option<i32>,
    /// Configuration by name: a value sets it, null drops the override.
    #[serde(default)]
    config: BTreeMap<String, Option<String>>,
}

/// How to change.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PatchParams {
    /// Check everything, change nothing.
    #[serde(default)]
    validate_only: bool,
}

/// Describes a topic with its partitions' offsets and its configuration.
#[utoipa::path(get, path = "/v1/topics/{topic}", operation_id = "describe_topic", tag = "topics",
    params(("topic" = String, Path, description = "The topic's name")), responses(
    (status = 200, body = TopicDescription),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn describe(
    State(ctx): State<Ctx>,
    Segments(name): Segments<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<TopicDescription>, Problem> {
    let topic = find(&ctx, &name).await?;
    Ok(Json(described(&ctx, &topic)))
}

/// Deletes a topic with its records. The name is free at once.
#[utoipa::path(delete, path = "/v1/topics/{topic}", operation_id = "delete_topic", tag = "topics",
    params(("topic" = String, Path, description = "The topic's name")), responses(
    (status = 204, description = "It is gone"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(
    State(ctx): State<Ctx>,
    Segments(name): Segments<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<StatusCode, Problem> {
    let deleted = ctx
        .topics()
        .delete(ctx.tenant(), TopicRef::Name(&name))
        .await;
    deleted.map_err(|e| Problem::of(&e))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes a topic's configuration and partition count. Everything is checked before anything is changed.
#[utoipa::path(patch, path = "/v1/topics/{topic}", operation_id = "change_topic", tag = "topics",
    params(("topic" = String, Path, description = "The topic's name"), PatchParams),
    request_body = PatchTopic, responses(
    (status = 200, body = TopicDescription),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn patch(
    State(ctx): State<Ctx>,
    Segments(name): Segments<String>,
    Params(params): Params<PatchParams>,
    JsonBody(patch): JsonBody<PatchTopic>,
) -> Result<Json<TopicDescription>, Problem> {
    let ops: Vec<ConfigOp> = patch
        .config
        .into_iter()
        .map(|(name, value)| match value {
            Some(value) => ConfigOp::Set { name, value },
            None => ConfigOp::Delete { name },
        })
        .collect();
    if ops.is_empty() && patch.partitions.is_none() {
        return Err(Problem::invalid(
            "change the topic: neither partitions nor config is given",
        ));
    }
    let dry_first = if params.validate_only {
        &[true][..]
    } else {
        &[true, false]
    };
    let mut topic = find(&ctx, &name).await?;
    for &dry in dry_first {
        if !ops.is_empty() {
            let altered = ctx
                .topics()
                .alter_config(ctx.tenant(), &name, ops.clone(), dry);
            topic = altered.await.map_err(|e| Problem::of(&e))?;
        }
        if let Some(total) = patch.partitions {
            let grown = ctx
                .topics()
                .create_partitions(ctx.tenant(), &name, total, dry);
            topic = grown.await.map_err(|e| Problem::of(&e))?;
        }
    }
    Ok(Json(described(&ctx, &topic)))
}

fn described(ctx: &Ctx, topic: &std::sync::Arc<Topic>) -> TopicDescription {
    let partitions = topic
        .indexed()
        .map(|(index, place)| partition(ctx, topic, index, place.shard.0))
        .collect();
    let config = ctx
        .topics()
        .describe_config(topic)
        .into_iter()
        .map(|entry| {
            let source = match entry.source {
                ConfigSource::Topic => "topic",
                ConfigSource::Service => "service",
                ConfigSource::Default => "default",
            };
            let value = entry.value;
            (entry.spec.name, ConfigValue { value, source })
        })
        .collect();
    TopicDescription {
        name: topic.name.clone(),
        id: topic.uuid.to_string(),
        durability: topic.config.durability.name(),
        created_ms: topic.created_ms,
        partitions,
        config,
    }
}

fn partition(
    ctx: &Ctx,
    topic: &std::sync::Arc<Topic>,
    index: PartitionIndex,
    shard: u32,
) -> Partition {
    let offsets = ctx.log().offsets(ctx.tenant(), topic, index);
    let known = offsets.as_ref().ok();
    Partition {
        partition: index.0,
        shard,
        log_start: known.map(|o| o.log_start.0),
        high_watermark: known.map(|o| o.high_watermark.0),
        leader_epoch: known.map(|o| o.leader_epoch.0),
        error: offsets.as_ref().err().map(|e| e.code().name()),
    }
}
