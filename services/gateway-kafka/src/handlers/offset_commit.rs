//! OffsetCommit: leader epochs (v6), static members (v7), topic ids (v10).

use std::time::Duration;

use tidemark_groups::{CommitRequest, CommittedOffset, GroupError, OffsetToCommit};
use tidemark_types::{Coded, ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use tidemark_wire::messages::{
    OffsetCommitRequestData, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponseData, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use super::group::{maybe, text, topic};
use crate::Ctx;
use crate::handler::{Call, Handler};

/// First version whose clients know that a group may not exist.
const KNOWS_NOT_FOUND: i16 = 9;

pub(super) struct OffsetCommit;

impl Handler for OffsetCommit {
    type Request = OffsetCommitRequestData;
    const MIN: i16 = 2;
    const MAX: i16 = 10;
    const NOTES: &'static str = "Answered once the offsets are stored.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: OffsetCommitRequestData,
    ) -> OffsetCommitResponseData {
        let mut offsets = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for asked in request.topics {
            topics.push(admit(ctx, call, asked, &mut offsets).await);
        }
        let commit = CommitRequest {
            group: text(&request.group_id),
            member_id: text(&request.member_id),
            instance_id: maybe(request.group_instance_id.as_ref()),
            generation: request.generation_id_or_member_epoch,
            retention: u64::try_from(request.retention_time_ms)
                .ok()
                .map(Duration::from_millis),
            offsets,
        };
        let mut outcomes = match ctx.groups.commit_offsets(&call.tenant, commit).await {
            Ok(outcomes) => Ok(outcomes.into_iter()),
            // KIP-848: older versions cannot be told that there is no such group.
            Err(GroupError::NotFound) if call.version < KNOWS_NOT_FOUND => {
                Err(ErrorCode::IllegalGeneration.kafka())
            }
            Err(error) => Err(error.code().kafka()),
        };
        for partition in topics.iter_mut().flat_map(|t| &mut t.partitions) {
            match &mut outcomes {
                Err(group) => partition.error_code = *group,
                Ok(_) if partition.error_code != 0 => {}
                Ok(outcomes) => {
                    let outcome = outcomes.next().map_or(Ok(()), |(_, _, outcome)| outcome);
                    partition.error_code = super::group::code(outcome);
                }
            }
        }
        OffsetCommitResponseData {
            topics,
            ..Default::default()
        }
    }
}

/// Adds a topic's offsets to the commit. Its answer: a code for partitions that are not in the commit, 0 for
/// those that are.
async fn admit(
    ctx: &Ctx,
    call: &Call,
    asked: OffsetCommitRequestTopic,
    offsets: &mut Vec<OffsetToCommit>,
) -> OffsetCommitResponseTopic {
    let found = topic(ctx, call, &asked.name, asked.topic_id).await;
    let mut partitions = Vec::with_capacity(asked.partitions.len());
    for partition in asked.partitions {
        let partition_index = partition.partition_index;
        let outcome = found.as_ref().map_err(|e| *e).and_then(|topic| {
            let index = PartitionIndex(partition_index);
            topic
                .partition(index)
                .ok_or(ErrorCode::UnknownTopicOrPartition)?;
            offsets.push(OffsetToCommit {
                topic: topic.id,
                partition: index,
                committed: committed(&partition),
            });
            Ok(())
        });
        partitions.push(OffsetCommitResponsePartition {
            partition_index,
            error_code: outcome.err().map_or(0, ErrorCode::kafka),
            ..Default::default()
        });
    }
    OffsetCommitResponseTopic {
        name: asked.name,
        topic_id: asked.topic_id,
        partitions,
        ..Default::default()
    }
}

fn committed(partition: &OffsetCommitRequestPartition) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(partition.committed_offset),
        leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
        metadata: maybe(partition.committed_metadata.as_ref()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;

    use super::super::group_testing::{commit, create_topic, ctx, fetched, joined, sync};
    use crate::testing::call;

    #[tokio::test(start_paused = true)]
    async fn every_version_commits_what_is_fetched() {
        let ctx = ctx().await;
        let topic = create_topic(&ctx, "orders").await;
        for version in 2..=10 {
            let request = commit(&topic, version, i64::from(version));
            let answer = call(&ctx, &request, version).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, 0, "v{version}");
            assert_eq!(fetched(&ctx, &topic).await, i64::from(version));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_per_partition() {
        let ctx = ctx().await;
        let topic = create_topic(&ctx, "orders").await;
        for version in 2..=10 {
            let mut request = commit(&topic, version, 7);
            let mut beyond = request.topics[0].partitions[0].clone();
            beyond.partition_index = 99;
            let mut noted = beyond.clone();
            noted.partition_index = 1;
            noted.committed_metadata = Some("x".repeat(4_097).into());
            request.topics[0].partitions.extend([beyond, noted]);
            let mut missing = request.topics[0].clone();
            missing.name = KafkaString::from_static("missing");
            missing.topic_id = tidemark_wire::KafkaUuid::ONE;
            request.topics.insert(0, missing);
            let answer = call(&ctx, &request, version).await;
            let codes = |t: usize| {
                let partitions = answer.topics[t].partitions.iter();
                partitions.map(|p| p.error_code).collect::<Vec<_>>()
            };
            let unknown = if version >= 10 { 100 } else { 3 };
            assert_eq!(codes(0), [unknown; 3], "v{version}");
            assert_eq!(codes(1), [0, 3, 12]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_generation_is_refused() {
        let ctx = ctx().await;
        let topic = create_topic(&ctx, "orders").await;
        let member = joined(&ctx, 4).await;
        call(&ctx, &sync(&member, "mine"), 5).await;
        for version in 2..=10 {
            let mut request = commit(&topic, version, 9);
            let outside = call(&ctx, &request, version).await;
            assert_eq!(outside.topics[0].partitions[0].error_code, 25);
            request.member_id = member.member_id.clone();
            request.generation_id_or_member_epoch = 0;
            let old = call(&ctx, &request, version).await;
            assert_eq!(old.topics[0].partitions[0].error_code, 22);
        }
        assert_eq!(fetched(&ctx, &topic).await, -1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_generation_of_nobody_is_refused_as_kafka_does() {
        for version in 2..=10 {
            let ctx = ctx().await;
            let topic = create_topic(&ctx, "orders").await;
            for (generation, member) in [(0, ""), (0, "m"), (5, "m")] {
                let mut request = commit(&topic, version, 9);
                request.generation_id_or_member_epoch = generation;
                request.member_id = KafkaString::from_static(member);
                let nobody = call(&ctx, &request, version).await;
                let expected = if version < 9 { 22 } else { 69 };
                assert_eq!(nobody.topics[0].partitions[0].error_code, expected);
                assert_eq!(fetched(&ctx, &topic).await, -1);
            }
            // A group that has offsets and never had members.
            call(&ctx, &commit(&topic, version, 3), version).await;
            for (generation, member) in [(0, ""), (0, "m"), (5, "m")] {
                let mut request = commit(&topic, version, 9);
                request.generation_id_or_member_epoch = generation;
                request.member_id = KafkaString::from_static(member);
                let stranger = call(&ctx, &request, version).await;
                assert_eq!(stranger.topics[0].partitions[0].error_code, 25);
            }
            assert_eq!(fetched(&ctx, &topic).await, 3);
        }
    }
}
