//! `/v1/groups`: consumer groups and how far they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tidemark_groups::{FetchedOffset, OffsetSelection};
use tidemark_topics::Topic;
use tidemark_types::TopicId;
use utoipa::ToSchema;

use crate::extract::{NoParams, Params, Segments};
use crate::{Ctx, Problem};

/// All groups.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupList {
    /// In the order of their names.
    groups: Vec<GroupSummary>,
}

/// A group in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupSummary {
    group: String,
    /// Kafka's name: Empty, PreparingRebalance, CompletingRebalance, Stable, Dead.
    state: &'static str,
    /// `consumer`, `connect`, …; empty for a group that only commits offsets.
    protocol_type: String,
}

/// A group with its members.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupDescription {
    group: String,
    /// Kafka's name of the state.
    state: &'static str,
    protocol_type: String,
    /// The selected assignor.
    protocol: String,
    members: Vec<Member>,
}

/// A member of a group.
#[derive(Serialize, ToSchema)]
pub(crate) struct Member {
    member_id: String,
    /// `group.instance.id` of a static member.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    client_id: String,
    client_host: String,
}

/// A group's committed offsets.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupOffsets {
    group: String,
    /// By topic and partition.
    offsets: Vec<GroupOffset>,
    /// Records not yet consumed, over all partitions whose lag is known.
    lag: i64,
}

/// A committed offset.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupOffset {
    topic: String,
    partition: i32,
    /// The next offset to read.
    offset: i64,
    /// The client's note.
    metadata: String,
    /// First readable offset of the partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_start: Option<i64>,
    /// End of the partition, exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    high_watermark: Option<i64>,
    /// Records not yet consumed; absent when the partition's owner does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<i64>,
}

/// All groups.
#[utoipa::path(get, path = "/v1/groups", operation_id = "list_groups", tag = "groups", responses(
    (status = 200, body = GroupList),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn list(
    State(ctx): State<Ctx>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<GroupList>, Problem> {
    let listed = ctx.groups().list(ctx.tenant()).await;
    let listed = listed.map_err(|e| Problem::of(&e))?;
    let groups = listed
        .into_iter()
        .map(|g| GroupSummary {
            group: g.group,
            state: g.state.name(),
            protocol_type: g.protocol_type,
        })
        .collect();
    Ok(Json(GroupList { groups }))
}

/// Describes a group.
#[utoipa::path(get, path = "/v1/groups/{group}", operation_id = "describe_group", tag = "groups",
    params(("group" = String, Path, description = "The group's id")), responses(
    (status = 200, body = GroupDescription),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn describe(
    State(ctx): State<Ctx>,
    Segments(group): Segments<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<GroupDescription>, Problem> {
    let found = ctx.groups().describe(ctx.tenant(), &group).await;
    let found = found.map_err(|e| Problem::of(&e))?;
    let members = found
        .members
        .into_iter()
        .map(|m| Member {
            member_id: m.member_id,
            instance_id: m.instance_id,
            client_id: m.client_id,
            client_host: m.client_host,
        })
        .collect();
    Ok(Json(GroupDescription {
        group,
        state: found.state.name(),
        protocol_type: found.protocol_type,
        protocol: found.protocol,
        members,
    }))
}

/// Deletes a group without members, with its committed offsets.
#[utoipa::path(delete, path = "/v1/groups/{group}", operation_id = "delete_group", tag = "groups",
    params(("group" = String, Path, description = "The group's id")), responses(
    (status = 204, description = "It is gone"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn delete(
    State(ctx): State<Ctx>,
    Segments(group): Segments<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<StatusCode, Problem> {
    let deleted = ctx.groups().delete(ctx.tenant(), &group).await;
    deleted.map_err(|e| Problem::of(&e))?;
    Ok(StatusCode::NO_CONTENT)
}

/// A group's committed offsets with their lag. A group that never committed has none.
#[utoipa::path(get, path = "/v1/groups/{group}/offsets", operation_id = "group_offsets", tag = "groups",
    params(("group" = String, Path, description = "The group's id")), responses(
    (status = 200, body = GroupOffsets),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn offsets(
    State(ctx): State<Ctx>,
    Segments(group): Segments<String>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<GroupOffsets>, Problem> {
    let fetched = ctx
        .groups()
        .fetch_offsets(ctx.tenant(), &group, OffsetSelection::All);
    let fetched = fetched.await.map_err(|e| Problem::of(&e))?;
    let topics = topics_of(&ctx, &fetched).await?;
    let mut offsets: Vec<GroupOffset> = fetched
        .into_iter()
        // Offsets of deleted topics are still stored; nobody can read on from them.
        .filter_map(|f| position(&ctx, topics.get(&f.topic)?, f))
        .collect();
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let lag = offsets.iter().filter_map(|o| o.lag).sum();
    Ok(Json(GroupOffsets {
        group,
        offsets,
        lag,
    }))
}

/// The tenant's topics among those of `fetched`.
pub(super) async fn topics_of(
    ctx: &Ctx,
    fetched: &[FetchedOffset],
) -> Result<BTreeMap<TopicId, Arc<Topic>>, Problem> {
    let mut topics = BTreeMap::new();
    for id in fetched.iter().map(|f| f.topic) {
        if topics.contains_key(&id) {
            continue;
        }
        let topic = ctx.topics().get(id).await.map_err(|e| Problem::of(&e))?;
        if let Some(topic) = topic.filter(|t| t.tenant == ctx.tenant().id()) {
            topics.insert(id, topic);
        }
    }
    Ok(topics)
}

fn position(ctx: &Ctx, topic: &Arc<Topic>, fetched: FetchedOffset) -> Option<GroupOffset> {
    let committed = fetched.committed?;
    let ends = ctx
        .log()
        .offsets(ctx.tenant(), topic, fetched.partition)
        .ok();
    Some(GroupOffset {
        topic: topic.name.clone(),
        partition: fetched.partition.0,
        offset: committed.offset.0,
        metadata: committed.metadata,
        log_start: ends.map(|e| e.log_start.0),
        high_watermark: ends.map(|e| e.high_watermark.0),
        lag: ends.map(|e| {
            let from = committed.offset.max(e.log_start).0;
            e.high_watermark.0.saturating_sub(from).max(0)
        }),
    })
}
