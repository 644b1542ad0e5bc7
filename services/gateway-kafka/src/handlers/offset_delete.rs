//! OffsetDelete (KIP-496).

use tidemark_groups::OffsetToDelete;
use tidemark_types::{Coded, ErrorCode, PartitionIndex};
use tidemark_wire::KafkaUuid;
use tidemark_wire::messages::{
    OffsetDeleteRequestData, OffsetDeleteResponseData, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

use super::group::{code, topic};
use crate::Ctx;
use crate::handler::{Call, Handler};

pub(super) struct OffsetDelete;

impl Handler for OffsetDelete {
    type Request = OffsetDeleteRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 0;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: OffsetDeleteRequestData,
    ) -> OffsetDeleteResponseData {
        let mut deleted = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for asked in request.topics {
            let found = topic(ctx, call, &asked.name, KafkaUuid::ZERO).await;
            let mut partitions = Vec::with_capacity(asked.partitions.len());
            for one in &asked.partitions {
                let index = PartitionIndex(one.partition_index);
                let known = found.as_ref().map_err(|e| *e).and_then(|topic| {
                    let placed = topic.partition(index);
                    placed.ok_or(ErrorCode::UnknownTopicOrPartition)?;
                    deleted.push(OffsetToDelete {
                        topic: topic.id,
                        topic_name: topic.name.clone(),
                        partition: index,
                    });
                    Ok(())
                });
                partitions.push(OffsetDeleteResponsePartition {
                    partition_index: one.partition_index,
                    error_code: known.err().map_or(0, ErrorCode::kafka),
                    ..Default::default()
                });
            }
            topics.push(OffsetDeleteResponseTopic {
                name: asked.name,
                partitions,
                ..Default::default()
            });
        }
        let group = request.group_id.as_str();
        let outcomes = ctx
            .groups
            .delete_offsets(&call.tenant, group, deleted)
            .await;
        let mut outcomes = match outcomes {
            Ok(outcomes) => outcomes.into_iter(),
            Err(error) => {
                return OffsetDeleteResponseData {
                    error_code: error.code().kafka(),
                    ..Default::default()
                };
            }
        };
        for partition in topics.iter_mut().flat_map(|t| &mut t.partitions) {
            if partition.error_code == 0 {
                let outcome = outcomes.next().map_or(Ok(()), |(_, _, outcome)| outcome);
                partition.error_code = code(outcome);
            }
        }
        OffsetDeleteResponseData {
            topics,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;
    use tidemark_wire::messages::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};

    use super::super::group_testing::{
        GROUP, commit, create_topic, ctx, fetched, join, subscription, sync,
    };
    use super::*;
    use crate::testing::call;

    fn deletes(name: &'static str) -> OffsetDeleteRequestData {
        OffsetDeleteRequestData {
            group_id: KafkaString::from_static(GROUP),
            topics: vec![OffsetDeleteRequestTopic {
                name: KafkaString::from_static(name),
                partitions: vec![OffsetDeleteRequestPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn offsets_of_topics_without_subscribers_are_deleted() {
        let ctx = ctx().await;
        let topic = create_topic(&ctx, "orders").await;
        assert_eq!(call(&ctx, &deletes("orders"), 0).await.error_code, 69);
        call(&ctx, &commit(&topic, 9, 41), 9).await;
        let answer = call(&ctx, &deletes("missing"), 0).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, 3);
        for (subscribed, code) in [("orders", 86), ("other", 0)] {
            let mut request = join("");
            request.protocols[0].metadata = subscription(subscribed);
            let member = call(&ctx, &request, 3).await;
            call(&ctx, &sync(&member, "mine"), 5).await;
            let answer = call(&ctx, &deletes("orders"), 0).await;
            assert_eq!(answer.topics[0].partitions[0].error_code, code);
            let left = fetched(&ctx, &topic).await;
            assert_eq!(left, if code == 0 { -1 } else { 41 });
            let leave = tidemark_groups::Leaving {
                member_id: member.member_id.as_str().to_owned(),
                instance_id: None,
                reason: None,
            };
            let tenant = tidemark_types::Tenant::default_without_auth();
            ctx.groups.leave(&tenant, GROUP, vec![leave]).await.unwrap();
        }
    }
}
