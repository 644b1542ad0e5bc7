//! `/v1/topics`: all of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tidemark_topics::{NewTopic, Topic};
use utoipa::{IntoParams, ToSchema};

use crate::extract::{JsonBody, NoParams, Params};
use crate::{Ctx, Problem};

/// A topic in a list, and what creating one answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopicSummary {
    /// Its name.
    name: String,
    /// Its public id, a uuid; a topic made again under the name has another.
    id: String,
    /// Its partition count.
    partitions: i32,
    /// `local`, `quorum` or `object`.
    durability: &'static str,
    /// When it was created, ms since the Unix epoch.
    created_ms: i64,
    /// The configuration that differs from the service's defaults.
    config: BTreeMap<String, String>,
}

impl From<&Topic> for TopicSummary {
    fn from(topic: &Topic) -> Self {
        Self {
            name: topic.name.clone(),
            id: topic.uuid.to_string(),
            partitions: topic.partition_count(),
            durability: topic.config.durability.name(),
            created_ms: topic.created_ms,
            config: topic.config.overrides.as_ref().clone(),
        }
    }
}

/// All topics.
#[derive(Serialize, ToSchema)]
pub(crate) struct TopicList {
    /// In the order of their names.
    topics: Vec<TopicSummary>,
}

/// A topic to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTopic {
    /// 1 to 249 of a-z A-Z 0-9 . _ -
    name: String,
    /// The service's default when absent.
    partitions: Option<i32>,
    /// Configuration by Kafka's names.
    #[serde(default)]
    config: BTreeMap<String, String>,
}

/// How to create.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CreateParams {
    /// Check everything, create nothing.
    #[serde(default)]
    validate_only: bool,
}

/// All topics.
#[utoipa::path(get, path = "/v1/topics", operation_id = "list_topics", tag = "topics", responses(
    (status = 200, body = TopicList),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(ctx): State<Ctx>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<TopicList>, Problem> {
    let topics = ctx.topics().list(ctx.tenant()).await;
    let topics = topics.map_err(|e| Problem::of(&e))?;
    let topics = topics.iter().map(|t| TopicSummary::from(&**t)).collect();
    Ok(Json(TopicList { topics }))
}

/// Creates a topic. 200 instead of 201 when only validated.
#[utoipa::path(post, path = "/v1/topics", operation_id = "create_topic", tag = "topics", params(CreateParams),
    request_body = CreateTopic, responses(
    (status = 201, body = TopicSummary),
    (status = 200, body = TopicSummary),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn create(
    State(ctx): State<Ctx>,
    Params(params): Params<CreateParams>,
    JsonBody(new): JsonBody<CreateTopic>,
) -> Result<(StatusCode, Json<TopicSummary>), Problem> {
    let new = NewTopic {
        name: new.name,
        partitions: new.partitions,
        config: new.config,
        validate_only: params.validate_only,
    };
    let created = ctx.topics().create(ctx.tenant(), new).await;
    let topic = created.map_err(|e| Problem::of(&e))?;
    let status = if params.validate_only {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(TopicSummary::from(&*topic))))
}
