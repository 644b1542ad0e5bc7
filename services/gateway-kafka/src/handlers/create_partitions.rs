//! CreatePartitions (KIP-195).

use std::collections::BTreeSet;

use tidemark_types::ErrorCode;
use tidemark_wire::messages::{
    CreatePartitionsRequestData, CreatePartitionsResponseData, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};

use crate::Ctx;
use crate::admin::{Refused, check_replicas, each, repeated};
use crate::handler::{Call, Handler};

pub(super) struct CreatePartitions;

impl Handler for CreatePartitions {
    type Request = CreatePartitionsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 3;
    const NOTES: &'static str =
        "Manual assignments may name this node only. The timeout is not used.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: CreatePartitionsRequestData,
    ) -> CreatePartitionsResponseData {
        let twice = repeated(request.topics.iter().map(|t| t.name.as_str().to_owned()));
        let mut answered = BTreeSet::new();
        let entries: Vec<_> = request
            .topics
            .into_iter()
            .filter(|t| {
                !twice.contains(t.name.as_str()) || answered.insert(t.name.as_str().to_owned())
            })
            .collect();
        let dry = request.validate_only;
        let results = each(entries, |topic| {
            let repeated = twice.contains(topic.name.as_str());
            async move {
                let outcome = match repeated {
                    true => Err(Refused::request("Duplicate topic name.")),
                    false => grow(ctx, call, &topic, dry).await,
                };
                let (error_code, error_message) = Refused::fields(&outcome);
                CreatePartitionsTopicResult {
                    name: topic.name,
                    error_code,
                    error_message,
                    ..Default::default()
                }
            }
        });
        CreatePartitionsResponseData {
            results: results.await,
            ..Default::default()
        }
    }
}

async fn grow(
    ctx: &Ctx,
    call: &Call,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refused> {
    let name = topic.name.as_str();
    if let Some(lists) = &topic.assignments {
        check_replicas(ctx, lists.iter().map(|a| &a.broker_ids))?;
        let found = ctx.topics.lookup(&call.tenant, name).await?;
        let now = found.map_or(topic.count, |t| t.partition_count());
        let added = i64::from(topic.count) - i64::from(now);
        // What is no growth is refused below, with its own message.
        if added > 0 && usize::try_from(added) != Ok(lists.len()) {
            return Err(Refused::new(
                ErrorCode::InvalidReplicaAssignment,
                format!(
                    "Attempted to add {added} additional partition(s), but {} assignment(s) were specified.",
                    lists.len()
                ),
            ));
        }
    }
    let grown = ctx
        .topics
        .create_partitions(&call.tenant, name, topic.count, validate_only);
    grown.await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidemark_topics::NewTopic;
    use tidemark_types::Tenant;
    use tidemark_wire::messages::CreatePartitionsAssignment;

    use super::*;
    use crate::testing;

    const TENANT: Tenant = Tenant::default_without_auth();

    async fn ctx() -> std::sync::Arc<Ctx> {
        let ctx = testing::ctx().await;
        let new = NewTopic {
            name: "a".to_owned(),
            partitions: Some(2),
            ..NewTopic::default()
        };
        ctx.topics.create(&TENANT, new).await.unwrap();
        ctx
    }

    fn topic(name: &str, count: i32, brokers: Option<&[&[i32]]>) -> CreatePartitionsTopic {
        CreatePartitionsTopic {
            name: name.to_owned().into(),
            count,
            assignments: brokers.map(|lists| {
                let lists = lists.iter().map(|list| CreatePartitionsAssignment {
                    broker_ids: list.to_vec(),
                    ..Default::default()
                });
                lists.collect()
            }),
            ..Default::default()
        }
    }

    async fn codes(
        ctx: &std::sync::Arc<Ctx>,
        topics: Vec<CreatePartitionsTopic>,
        version: i16,
    ) -> Vec<i16> {
        let request = CreatePartitionsRequestData {
            topics,
            ..Default::default()
        };
        let answer = testing::call(ctx, &request, version).await;
        answer.results.iter().map(|r| r.error_code).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_grows_a_topic() {
        let ctx = ctx().await;
        for version in 0..=3 {
            let total = 3 + i32::from(version);
            assert_eq!(
                codes(&ctx, vec![topic("a", total, None)], version).await,
                [0]
            );
            let found = ctx.topics.lookup(&TENANT, "a").await.unwrap().unwrap();
            assert_eq!(found.partition_count(), total);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_done_is_refused() {
        let ctx = ctx().await;
        for (asked, code) in [
            (topic("a", 2, None), 37),
            (topic("a", 1, None), 37),
            (topic("a", 0, None), 37),
            (topic("b", 2, None), 3),
            (topic("a", 4, Some(&[&[1]])), 39),
            (topic("a", 3, Some(&[&[2]])), 39),
            (topic("a", 3, Some(&[&[1]])), 0),
        ] {
            assert_eq!(
                codes(&ctx, vec![asked.clone()], 3).await,
                [code],
                "{asked:?}"
            );
        }
        let twice = vec![topic("a", 9, None), topic("a", 8, None)];
        assert_eq!(codes(&ctx, twice, 3).await, [42]);
    }
}
