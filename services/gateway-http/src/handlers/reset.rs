//! `POST /v1/groups/{group}/offsets`: moves the offsets of a group without members, as Kafka's own tool does.
//!
//! # Consistency
//! Ends are looked up with proof of ownership (K1), and the offsets are committed as a consumer outside the group
//! protocol would: a member that joins meanwhile has the commit refused (K7). More partitions than one
//! transaction takes are committed in several, so a failure may leave some moved: the same request may be sent again.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tidemark_groups::{
    CommitRequest, CommittedOffset, GroupError, GroupState, OffsetSelection, OffsetToCommit,
};
use tidemark_log::{Isolation, ListedOffset, OffsetSpec};
use tidemark_topics::Topic;
use tidemark_types::limits::PARTITIONS_PER_TOPIC_MAX;
use tidemark_types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};
use utoipa::{IntoParams, ToSchema};

use super::find;
use super::groups::topics_of;
use crate::extract::{JsonBody, Params, Segments};
use crate::{Ctx, Problem};

/// Partitions looked up at a time: each costs up to three round trips.
const CONCURRENT: usize = 32;
/// Partitions of one request at the most.
const PARTITIONS_MAX: usize = PARTITIONS_PER_TOPIC_MAX as usize;

/// What to move, and where to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetRequest {
    to: Target,
    /// The topics; every partition that the group has an offset of when left out.
    topics: Option<Vec<ResetTopic>>,
}

/// A topic whose offsets are moved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResetTopic {
    topic: String,
    /// All of them when left out.
    partitions: Option<Vec<i32>>,
}

/// Where to. A place that a partition does not have is the nearest it has.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The first readable offset.
    Earliest,
    /// The end.
    Latest,
    /// Where the group is; the end where it has no offset.
    Current,
    /// This offset.
    Offset(i64),
    /// The first record at or after this time, ms since the Unix epoch; the end when there is none.
    Timestamp(i64),
    /// That many records on from where the group is, or back when negative.
    ShiftBy(i64),
}

/// How to move.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ResetParams {
    /// Check everything and answer the plan, change nothing.
    #[serde(default)]
    validate_only: bool,
}

/// Where a group was and is, or would be.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResetAnswer {
    group: String,
    /// Whether the offsets were committed; otherwise this is the plan.
    applied: bool,
    /// By topic and partition.
    offsets: Vec<ResetOffset>,
}

/// A partition's old and new offset.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResetOffset {
    topic: String,
    partition: i32,
    /// The offset before; absent when there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    /// The next offset to read from now on.
    new_offset: i64,
    /// Whether it is the nearest place to one that the partition does not have.
    nearest: bool,
    /// First readable offset of the partition.
    log_start: i64,
    /// End of the partition, exclusive.
    high_watermark: i64,
    #[serde(skip)]
    id: TopicId,
}

/// Moves the offsets of a group without members. A group that does not exist begins with them.
#[utoipa::path(post, path = "/v1/groups/{group}/offsets", operation_id = "reset_group_offsets", tag = "groups",
    params(("group" = String, Path, description = "The group's id"), ResetParams),
    request_body = ResetRequest, responses(
    (status = 200, body = ResetAnswer),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub(crate) async fn reset(
    State(ctx): State<Ctx>,
    Segments(group): Segments<String>,
    Params(params): Params<ResetParams>,
    JsonBody(request): JsonBody<ResetRequest>,
) -> Result<Json<ResetAnswer>, Problem> {
    refuse_with_members(&ctx, &group, request.topics.is_some()).await?;
    let places = places(&ctx, &group, request.topics).await?;
    let offsets: Vec<ResetOffset> = stream::iter(places)
        .map(|(at, place)| planned(&ctx, request.to, at, place))
        .buffered(CONCURRENT)
        .try_collect()
        .await?;
    if !params.validate_only {
        commit(&ctx, &group, &offsets).await?;
    }
    Ok(Json(ResetAnswer {
        group,
        applied: !params.validate_only,
        offsets,
    }))
}

/// A group that does not exist is fine when the topics are named: it begins with these offsets.
async fn refuse_with_members(ctx: &Ctx, group: &str, may_begin: bool) -> Result<(), Problem> {
    match ctx.groups().describe(ctx.tenant(), group).await {
        Ok(found) if found.state == GroupState::Empty => Ok(()),
        Ok(found) => Err(Problem::new(
            ErrorCode::NonEmptyGroup,
            format!(
                "reset the group's offsets: it is {} with {} members",
                found.state.name(),
                found.members.len()
            ),
        )),
        Err(GroupError::NotFound) if may_begin => Ok(()),
        Err(e) => Err(Problem::of(&e)),
    }
}

/// By topic name and partition: the topic, and the group's offset if it has one.
type Places = BTreeMap<(String, PartitionIndex), (Arc<Topic>, Option<Offset>)>;

/// The partitions whose offsets are moved.
async fn places(
    ctx: &Ctx,
    group: &str,
    topics: Option<Vec<ResetTopic>>,
) -> Result<Places, Problem> {
    let fetched = ctx
        .groups()
        .fetch_offsets(ctx.tenant(), group, OffsetSelection::All);
    let fetched = fetched.await.map_err(|e| Problem::of(&e))?;
    let named = topics.is_some();
    let mut places = Places::new();
    for asked in topics.unwrap_or_default() {
        let topic = find(ctx, &asked.topic).await?;
        let all = || topic.indexed().map(|(index, _)| index.0).collect();
        for partition in asked.partitions.unwrap_or_else(all) {
            let index = PartitionIndex(partition);
            if topic.partition(index).is_none() {
                return Err(Problem::new(
                    ErrorCode::UnknownTopicOrPartition,
                    format!(
                        "find {}/{partition}: the topic has no such partition",
                        topic.name
                    ),
                ));
            }
            places.insert((topic.name.clone(), index), (Arc::clone(&topic), None));
        }
        bounded(&places)?;
    }
    let known = topics_of(ctx, &fetched).await?;
    for one in fetched {
        let Some(topic) = known.get(&one.topic) else {
            continue;
        };
        let at = (topic.name.clone(), one.partition);
        let offset = one.committed.map(|c| c.offset);
        if let Some((_, current)) = places.get_mut(&at).filter(|(t, _)| t.id == topic.id) {
            *current = offset;
        } else if !named {
            places.insert(at, (Arc::clone(topic), offset));
        }
    }
    bounded(&places)?;
    Ok(places)
}

fn bounded(places: &Places) -> Result<(), Problem> {
    if places.len() > PARTITIONS_MAX {
        return Err(Problem::new(
            ErrorCode::PolicyViolation,
            format!("reset the group's offsets: over {PARTITIONS_MAX} partitions at once"),
        ));
    }
    Ok(())
}

/// Where a partition's offset moves to.
async fn planned(
    ctx: &Ctx,
    target: Target,
    (name, index): (String, PartitionIndex),
    (topic, current): (Arc<Topic>, Option<Offset>),
) -> Result<ResetOffset, Problem> {
    let look_up = async |spec| {
        let isolation = Isolation::ReadUncommitted;
        let found = ctx
            .log()
            .list_offset(ctx.tenant(), &topic, index, spec, isolation);
        found.await.map_err(|e| Problem::of(&e))
    };
    let start = look_up(OffsetSpec::Earliest).await?.offset;
    let end = look_up(OffsetSpec::Latest).await?.offset;
    let (wanted, bounded) = match target {
        Target::Earliest => (start, true),
        Target::Latest => (end, true),
        Target::Current => (current.unwrap_or(end), false),
        Target::Offset(offset) => (Offset(offset), true),
        Target::Timestamp(ms) => match look_up(OffsetSpec::Timestamp(ms)).await? {
            ListedOffset::NONE => (end, true),
            found => (found.offset, true),
        },
        Target::ShiftBy(records) => {
            let from = current.ok_or_else(|| {
                let at = format!("{name}/{}", index.0);
                Problem::invalid(format!(
                    "shift the offset of {at}: the group has none of it"
                ))
            })?;
            (Offset(from.0.saturating_add(records)), true)
        }
    };
    let new = if bounded {
        wanted.max(start).min(end.max(start))
    } else {
        wanted
    };
    Ok(ResetOffset {
        topic: name,
        partition: index.0,
        offset: current.map(|o| o.0),
        new_offset: new.0,
        nearest: new != wanted,
        log_start: start.0,
        high_watermark: end.0,
        id: topic.id,
    })
}

async fn commit(ctx: &Ctx, group: &str, offsets: &[ResetOffset]) -> Result<(), Problem> {
    let offsets = offsets.iter().map(|o| OffsetToCommit {
        topic: o.id,
        partition: PartitionIndex(o.partition),
        committed: CommittedOffset {
            offset: Offset(o.new_offset),
            leader_epoch: LeaderEpoch(-1),
            metadata: String::new(),
        },
    });
    let request = CommitRequest {
        group: group.to_owned(),
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        retention: None,
        offsets: offsets.collect(),
    };
    match ctx.groups().commit_offsets(ctx.tenant(), request).await {
        Ok(outcomes) => match outcomes.into_iter().find_map(|(.., o)| o.err()) {
            Some(e) => Err(Problem::of(&e)),
            None => Ok(()),
        },
        // A member joined since the group was looked at (K7).
        Err(GroupError::UnknownMemberId) => Err(Problem::of(&GroupError::NonEmpty)),
        Err(e) => Err(Problem::of(&e)),
    }
}
