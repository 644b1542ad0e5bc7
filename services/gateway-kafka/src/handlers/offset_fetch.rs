//! OffsetFetch: all partitions (v2), several groups (v8, KIP-709), topic ids (v10).

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemark_groups::{FetchedOffset, GroupError, OffsetSelection};
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode, PartitionIndex, TopicId};
use tidemark_wire::messages::{
    OffsetFetchRequestData, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
    OffsetFetchResponseData, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use tidemark_wire::{KafkaString, KafkaUuid};

use super::group::{TOPIC_IDS, topic};
use crate::Ctx;
use crate::handler::{Call, Handler};
use crate::resolve::wire_id;

/// First version that asks for several groups.
const GROUPS: i16 = 8;
/// First version with an error code for the whole answer.
const GROUP_ERROR: i16 = 2;

pub(super) struct OffsetFetch;

impl Handler for OffsetFetch {
    type Request = OffsetFetchRequestData;
    const MIN: i16 = 1;
    const MAX: i16 = 10;
    const NOTES: &'static str = "Offsets are always stable: there are no transactions yet.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: OffsetFetchRequestData,
    ) -> OffsetFetchResponseData {
        if call.version >= GROUPS {
            let mut groups = Vec::with_capacity(request.groups.len());
            for asked in request.groups {
                groups.push(one_group(ctx, call, asked).await);
            }
            return OffsetFetchResponseData {
                groups,
                ..Default::default()
            };
        }
        let topics = request.topics.map(|topics| {
            let widened = topics.into_iter().map(|t| OffsetFetchRequestTopics {
                name: t.name,
                partition_indexes: t.partition_indexes,
                ..Default::default()
            });
            widened.collect()
        });
        let asked = OffsetFetchRequestGroup {
            group_id: request.group_id,
            topics,
            ..Default::default()
        };
        narrowed(call.version, one_group(ctx, call, asked).await)
    }
}

async fn one_group(
    ctx: &Ctx,
    call: &Call,
    asked: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let group = asked.group_id.as_str();
    let outcome = match &asked.topics {
        None => all(ctx, call, group).await,
        Some(topics) => some(ctx, call, group, topics).await,
    };
    let (topics, error_code) = match outcome {
        Ok(topics) => (topics, 0),
        Err(error) => {
            let code = error.code().kafka();
            let refused = asked.topics.iter().flatten();
            let topics = refused.map(|t| refused_topic(t, code)).collect();
            // Only the first version has no other place for it.
            if call.version < GROUP_ERROR {
                (topics, code)
            } else {
                (Vec::new(), code)
            }
        }
    };
    OffsetFetchResponseGroup {
        group_id: asked.group_id,
        topics,
        error_code,
        ..Default::default()
    }
}

/// Every offset of the group whose topic still exists.
async fn all(
    ctx: &Ctx,
    call: &Call,
    group: &str,
) -> Result<Vec<OffsetFetchResponseTopics>, GroupError> {
    let fetched = ctx
        .groups
        .fetch_offsets(&call.tenant, group, OffsetSelection::All)
        .await?;
    let mut by_topic = BTreeMap::<TopicId, Vec<_>>::new();
    for one in fetched {
        by_topic.entry(one.topic).or_default().push(partition(one));
    }
    let mut topics = Vec::with_capacity(by_topic.len());
    for (id, partitions) in by_topic {
        // The id is one the group's owner stored.
        match ctx.topics.get(id).await {
            Ok(Some(topic)) => topics.push(answered(call, &topic, partitions)),
            Ok(None) => {}
            Err(error) => return Err(GroupError::NotAvailable(error.to_string())),
        }
    }
    Ok(topics)
}

async fn some(
    ctx: &Ctx,
    call: &Call,
    group: &str,
    asked: &[OffsetFetchRequestTopics],
) -> Result<Vec<OffsetFetchResponseTopics>, GroupError> {
    let mut found = Vec::with_capacity(asked.len());
    let mut wanted = Vec::new();
    for one in asked {
        let topic = topic(ctx, call, &one.name, one.topic_id).await;
        if let Err(code @ ErrorCode::CoordinatorNotAvailable) = topic {
            return Err(GroupError::NotAvailable(code.hint().to_owned()));
        }
        if let Ok(topic) = &topic {
            let partitions = one.partition_indexes.iter();
            wanted.extend(partitions.map(|p| (topic.id, PartitionIndex(*p))));
        }
        found.push(topic);
    }
    let which = OffsetSelection::Partitions(wanted);
    let fetched = ctx.groups.fetch_offsets(&call.tenant, group, which).await?;
    let mut fetched = fetched.into_iter();
    let answers = asked.iter().zip(found).map(|(one, topic)| match topic {
        Ok(topic) => {
            let partitions = fetched.by_ref().take(one.partition_indexes.len());
            answered(call, &topic, partitions.map(partition).collect())
        }
        // By name, a topic that is not there is one without offsets.
        Err(ErrorCode::UnknownTopicOrPartition) => refused_topic(one, 0),
        Err(code) => refused_topic(one, code.kafka()),
    });
    Ok(answers.collect())
}

fn answered(
    call: &Call,
    topic: &Arc<Topic>,
    partitions: Vec<OffsetFetchResponsePartitions>,
) -> OffsetFetchResponseTopics {
    let by_id = call.version >= TOPIC_IDS;
    OffsetFetchResponseTopics {
        name: if by_id {
            KafkaString::default()
        } else {
            topic.name.clone().into()
        },
        topic_id: if by_id {
            wire_id(topic.uuid)
        } else {
            KafkaUuid::ZERO
        },
        partitions,
        ..Default::default()
    }
}

fn partition(fetched: FetchedOffset) -> OffsetFetchResponsePartitions {
    let partition_index = fetched.partition.0;
    match fetched.committed {
        Some(committed) => OffsetFetchResponsePartitions {
            partition_index,
            committed_offset: committed.offset.0,
            committed_leader_epoch: committed.leader_epoch.0,
            metadata: Some(committed.metadata.into()),
            ..Default::default()
        },
        None => nothing(partition_index, 0),
    }
}

fn nothing(partition_index: i32, error_code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(KafkaString::default()),
        error_code,
        ..Default::default()
    }
}

fn refused_topic(asked: &OffsetFetchRequestTopics, code: i16) -> OffsetFetchResponseTopics {
    let partitions = asked.partition_indexes.iter();
    OffsetFetchResponseTopics {
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        partitions: partitions.map(|p| nothing(*p, code)).collect(),
        ..Default::default()
    }
}

/// An answer as versions of one group have it.
fn narrowed(version: i16, group: OffsetFetchResponseGroup) -> OffsetFetchResponseData {
    let topics = group.topics.into_iter().map(|t| {
        let partitions = t
            .partitions
            .into_iter()
            .map(|p| OffsetFetchResponsePartition {
                partition_index: p.partition_index,
                committed_offset: p.committed_offset,
                committed_leader_epoch: p.committed_leader_epoch,
                metadata: p.metadata,
                error_code: p.error_code,
                ..Default::default()
            });
        OffsetFetchResponseTopic {
            name: t.name,
            partitions: partitions.collect(),
            ..Default::default()
        }
    });
    OffsetFetchResponseData {
        topics: topics.collect(),
        error_code: if version < GROUP_ERROR {
            0
        } else {
            group.error_code
        },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::messages::OffsetFetchRequestTopic;

    use super::super::group_testing::{GROUP, commit, create_topic, ctx};
    use super::*;
    use crate::testing::call;

    fn asks(version: i16, name: &'static str, id: KafkaUuid, all: bool) -> OffsetFetchRequestData {
        let group_id = KafkaString::from_static(GROUP);
        let name = KafkaString::from_static(name);
        if version >= GROUPS {
            let by_id = version >= TOPIC_IDS;
            let topics = vec![OffsetFetchRequestTopics {
                name: if by_id { KafkaString::default() } else { name },
                topic_id: if by_id { id } else { KafkaUuid::ZERO },
                partition_indexes: vec![0, 1],
                ..Default::default()
            }];
            return OffsetFetchRequestData {
                groups: vec![OffsetFetchRequestGroup {
                    group_id,
                    topics: (!all).then_some(topics),
                    ..Default::default()
                }],
                ..Default::default()
            };
        }
        let topics = vec![OffsetFetchRequestTopic {
            name,
            partition_indexes: vec![0, 1],
            ..Default::default()
        }];
        OffsetFetchRequestData {
            group_id,
            topics: (!all).then_some(topics),
            ..Default::default()
        }
    }

    /// (error, partitions as (index, offset, error)) of the only group and topic.
    fn read(version: i16, answer: OffsetFetchResponseData) -> (i16, Vec<(i32, i64, i16)>) {
        if version >= GROUPS {
            let group = &answer.groups[0];
            let of = group.topics.iter().flat_map(|t| &t.partitions);
            let rows = of.map(|p| (p.partition_index, p.committed_offset, p.error_code));
            return (group.error_code, rows.collect());
        }
        let of = answer.topics.iter().flat_map(|t| &t.partitions);
        let rows = of.map(|p| (p.partition_index, p.committed_offset, p.error_code));
        (answer.error_code, rows.collect())
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_finds_what_was_committed() {
        let ctx = ctx().await;
        let topic = create_topic(&ctx, "orders").await;
        call(&ctx, &commit(&topic, 9, 41), 9).await;
        for version in 1..=10 {
            let request = asks(version, "orders", wire_id(topic.uuid), false);
            let found = read(version, call(&ctx, &request, version).await);
            assert_eq!(found, (0, vec![(0, 41, 0), (1, -1, 0)]), "v{version}");
            if version >= 2 {
                let request = asks(version, "orders", wire_id(topic.uuid), true);
                let found = read(version, call(&ctx, &request, version).await);
                assert_eq!(found, (0, vec![(0, 41, 0)]), "v{version}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_that_is_not_there_has_no_offsets() {
        let ctx = ctx().await;
        for version in 1..=10 {
            let request = asks(version, "missing", KafkaUuid::ONE, false);
            let found = read(version, call(&ctx, &request, version).await);
            let code = if version >= TOPIC_IDS { 100 } else { 0 };
            assert_eq!(found, (0, vec![(0, -1, code), (1, -1, code)]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_topic_made_again_does_not_inherit_offsets() {
        let ctx = ctx().await;
        let topic = create_topic(&ctx, "orders").await;
        call(&ctx, &commit(&topic, 9, 41), 9).await;
        super::super::group_testing::delete_topic(&ctx, "orders").await;
        let again = create_topic(&ctx, "orders").await;
        for version in 1..=10 {
            let request = asks(version, "orders", wire_id(again.uuid), false);
            let found = read(version, call(&ctx, &request, version).await);
            assert_eq!(found, (0, vec![(0, -1, 0), (1, -1, 0)]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_coordinated_elsewhere_is_refused_where_the_version_has_room() {
        let ctx = crate::testing::ctx_without_groups().await;
        for version in 1..=10 {
            let request = if version >= GROUPS {
                OffsetFetchRequestData {
                    groups: vec![OffsetFetchRequestGroup {
                        group_id: KafkaString::from_static(GROUP),
                        topics: Some(Vec::new()),
                        ..Default::default()
                    }],
                    ..Default::default()
                }
            } else {
                OffsetFetchRequestData {
                    group_id: KafkaString::from_static(GROUP),
                    topics: Some(Vec::new()),
                    ..Default::default()
                }
            };
            let (code, rows) = read(version, call(&ctx, &request, version).await);
            let expected = if version < GROUP_ERROR { 0 } else { 16 };
            assert_eq!((code, rows.len()), (expected, 0), "v{version}");
        }
    }
}
