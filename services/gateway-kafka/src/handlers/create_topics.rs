//! CreateTopics (KIP-4, KIP-464, KIP-525).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidemark_topics::{NewTopic, Topic};
use tidemark_types::ErrorCode;
use tidemark_wire::messages::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequestData,
    CreateTopicsResponseData,
};

use crate::Ctx;
use crate::admin::{Refused, check_replicas, each, repeated};
use crate::handler::{Call, Handler};
use crate::resolve::wire_id;

/// Kafka's "take the default".
const DEFAULT: i32 = -1;
/// The largest replication factor that is accepted; see the notes.
const FACTOR_MAX: i16 = 3;
/// First version whose answer describes the topic.
const DESCRIBED: i16 = 5;

pub(super) struct CreateTopics;

impl Handler for CreateTopics {
    type Request = CreateTopicsRequestData;
    const MIN: i16 = 2;
    const MAX: i16 = 7;
    const NOTES: &'static str = "A replication factor of -1 or 1 to 3 is accepted and has no effect: the durability class replicates. (Kafka answers \
         INVALID_REPLICATION_FACTOR above the number of brokers; Connect asks for 3 for its own topics by default, and a service \
         of one process is not short of replicas for it.) \
         Manual assignments may name this node only. The timeout is not used: the answer says what happened.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: CreateTopicsRequestData,
    ) -> CreateTopicsResponseData {
        let names = request.topics.iter().map(|t| t.name.as_str().to_owned());
        let twice = repeated(names);
        let mut answered = BTreeSet::new();
        let entries: Vec<_> = request
            .topics
            .into_iter()
            .filter(|t| {
                !twice.contains(t.name.as_str()) || answered.insert(t.name.as_str().to_owned())
            })
            .collect();
        let dry = request.validate_only;
        let topics = each(entries, |topic| {
            let repeated = twice.contains(topic.name.as_str());
            async move {
                let outcome = match repeated {
                    true => Err(Refused::request("Duplicate topic name.")),
                    false => create(ctx, call, &topic, dry).await,
                };
                answer(ctx, call, topic, outcome)
            }
        });
        CreateTopicsResponseData {
            topics: topics.await,
            ..Default::default()
        }
    }
}

async fn create(
    ctx: &Ctx,
    call: &Call,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Arc<Topic>, Refused> {
    let mut config = BTreeMap::new();
    for entry in &topic.configs {
        let name = entry.name.as_str();
        let Some(value) = &entry.value else {
            return Err(Refused::new(
                ErrorCode::InvalidConfig,
                format!("Null value not supported for topic configs: {name}"),
            ));
        };
        config.insert(name.to_owned(), value.as_str().to_owned());
    }
    let new = NewTopic {
        name: topic.name.as_str().to_owned(),
        partitions: partitions(ctx, topic)?,
        config,
        validate_only,
    };
    Ok(ctx.topics.create(&call.tenant, new).await?)
}

/// The partition count asked for, after the rules on factor and assignments.
fn partitions(ctx: &Ctx, topic: &CreatableTopic) -> Result<Option<i32>, Refused> {
    let (count, factor) = (topic.num_partitions, topic.replication_factor);
    if topic.assignments.is_empty() {
        if factor != -1 && !(1..=FACTOR_MAX).contains(&factor) {
            return Err(Refused::new(
                ErrorCode::InvalidReplicationFactor,
                format!(
                    "Replication factor must be 1 to {FACTOR_MAX}, or -1 to use the default value."
                ),
            ));
        }
        if count == 0 || count < DEFAULT {
            return Err(Refused::new(
                ErrorCode::InvalidPartitions,
                "Number of partitions must be larger than 0, or -1 to use the default value.",
            ));
        }
        return Ok((count != DEFAULT).then_some(count));
    }
    if factor != -1 {
        return Err(Refused::request(
            "A manual partition assignment was specified, but replication factor was not set to -1.",
        ));
    }
    if count != DEFAULT {
        return Err(Refused::request(
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ));
    }
    let mut indexes: Vec<i32> = topic
        .assignments
        .iter()
        .map(|a| a.partition_index)
        .collect();
    indexes.sort_unstable();
    if !(0..).zip(&indexes).all(|(want, index)| want == *index) {
        return Err(Refused::new(
            ErrorCode::InvalidReplicaAssignment,
            "Partitions should be a consecutive 0-based integer sequence.",
        ));
    }
    check_replicas(ctx, topic.assignments.iter().map(|a| &a.broker_ids))?;
    Ok(Some(i32::try_from(indexes.len()).unwrap_or(i32::MAX)))
}

fn answer(
    ctx: &Ctx,
    call: &Call,
    asked: CreatableTopic,
    outcome: Result<Arc<Topic>, Refused>,
) -> CreatableTopicResult {
    let (error_code, error_message) = Refused::fields(&outcome);
    let mut result = CreatableTopicResult {
        name: asked.name,
        error_code,
        error_message,
        num_partitions: -1,
        replication_factor: -1,
        configs: None,
        ..Default::default()
    };
    let Ok(topic) = outcome else { return result };
    if call.version >= 7 {
        result.topic_id = wire_id(topic.uuid);
    }
    if call.version >= DESCRIBED {
        result.num_partitions = topic.partition_count();
        result.replication_factor = 1;
        let described = ctx.topics.describe_config(&topic).into_iter();
        let configs = described.map(|entry| CreatableTopicConfigs {
            name: entry.spec.name.to_owned().into(),
            value: Some(entry.value.into()),
            config_source: entry.source.kafka(),
            ..Default::default()
        });
        result.configs = Some(configs.collect());
    }
    result
}

#[cfg(test)]
mod tests {
    use tidemark_wire::messages::{CreatableReplicaAssignment, CreatableTopicConfig};

    use super::*;
    use crate::testing;

    fn topic(name: &str, partitions: i32) -> CreatableTopic {
        CreatableTopic {
            name: name.to_owned().into(),
            num_partitions: partitions,
            replication_factor: -1,
            ..Default::default()
        }
    }

    fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequestData {
        CreateTopicsRequestData {
            topics,
            timeout_ms: 1000,
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_creates() {
        let ctx = testing::ctx().await;
        for version in 2..=7 {
            let mut asked = topic(&format!("t{version}"), 3);
            asked.configs = vec![CreatableTopicConfig {
                name: "retention.ms".to_owned().into(),
                value: Some("5".to_owned().into()),
                ..Default::default()
            }];
            let answer = testing::call(&ctx, &request(vec![asked]), version).await;
            let made = &answer.topics[0];
            assert_eq!((made.error_code, &made.error_message), (0, &None));
            let tenant = testing::peer().tenant;
            let found = ctx.topics.lookup(&tenant, made.name.as_str()).await;
            let found = found.unwrap().unwrap();
            assert_eq!(found.partition_count(), 3);
            assert_eq!(found.config.retention_ms, Some(5));
            if version >= 5 {
                assert_eq!((made.num_partitions, made.replication_factor), (3, 1));
                let configs = made.configs.as_ref().unwrap();
                let retention = configs.iter().find(|c| c.name.as_str() == "retention.ms");
                assert_eq!(retention.unwrap().config_source, 1);
            }
            if version >= 7 {
                assert_eq!(made.topic_id.to_bytes(), found.uuid.0);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_topic_has_its_own_outcome() {
        let ctx = testing::ctx().await;
        let mut factor = topic("factor", 1);
        factor.replication_factor = 4;
        let mut config = topic("config", 1);
        config.configs = vec![CreatableTopicConfig {
            name: "nope".to_owned().into(),
            value: Some("1".to_owned().into()),
            ..Default::default()
        }];
        let mut null = topic("null", 1);
        null.configs = vec![CreatableTopicConfig {
            name: "retention.ms".to_owned().into(),
            ..Default::default()
        }];
        let all = vec![
            topic("good", -1),
            topic("twice", 1),
            topic("no partitions", 0),
            topic("bad name", 1),
            factor,
            config,
            null,
            topic("twice", 2),
            topic("__consumer_offsets", 1),
        ];
        for version in 2..=7 {
            let answer = testing::call(&ctx, &request(all.clone()), version).await;
            let codes: Vec<_> = answer
                .topics
                .iter()
                .map(|t| (t.name.as_str(), t.error_code))
                .collect();
            let good = if version == 2 { 0 } else { 36 };
            assert_eq!(
                codes,
                [
                    ("good", good),
                    ("twice", 42),
                    ("no partitions", 37),
                    ("bad name", 17),
                    ("factor", 38),
                    ("config", 40),
                    ("null", 40),
                    ("__consumer_offsets", 42),
                ]
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn assignments_may_name_this_node_only() {
        let ctx = testing::ctx().await;
        let assigned = |name: &str, lists: &[(i32, &[i32])]| CreatableTopic {
            assignments: lists
                .iter()
                .map(|(index, brokers)| CreatableReplicaAssignment {
                    partition_index: *index,
                    broker_ids: brokers.to_vec(),
                    ..Default::default()
                })
                .collect(),
            ..topic(name, -1)
        };
        let mut counted = assigned("counted", &[(0, &[1])]);
        counted.num_partitions = 1;
        let asked = request(vec![
            assigned("a", &[(1, &[1]), (0, &[1])]),
            assigned("gap", &[(0, &[1]), (2, &[1])]),
            assigned("other", &[(0, &[2])]),
            assigned("two", &[(0, &[1, 2])]),
            counted,
        ]);
        let answer = testing::call(&ctx, &asked, 7).await;
        let codes: Vec<_> = answer.topics.iter().map(|t| t.error_code).collect();
        assert_eq!(codes, [0, 39, 39, 39, 42]);
        assert_eq!(answer.topics[0].num_partitions, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn validate_only_creates_nothing() {
        let ctx = testing::ctx().await;
        let mut asked = request(vec![topic("a", 2)]);
        asked.validate_only = true;
        for version in 2..=7 {
            let answer = testing::call(&ctx, &asked, version).await;
            assert_eq!(answer.topics[0].error_code, 0);
        }
        let tenant = testing::peer().tenant;
        assert!(ctx.topics.list(&tenant).await.unwrap().is_empty());
    }
}
