//! DeleteTopics (KIP-4), by name and by id (KIP-516).

use std::collections::BTreeSet;

use tidemark_topics::{DeletedTopic, TopicRef};
use tidemark_types::TopicUuid;
use tidemark_wire::messages::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequestData, DeleteTopicsResponseData,
};

use crate::Ctx;
use crate::admin::{Refused, each, repeated};
use crate::handler::{Call, Handler};
use crate::resolve::wire_id;

/// First version whose requests name topics by id.
const BY_ID: i16 = 6;

pub(super) struct DeleteTopics;

impl Handler for DeleteTopics {
    type Request = DeleteTopicsRequestData;
    const MIN: i16 = 1;
    const MAX: i16 = 6;
    const NOTES: &'static str =
        "The name is free at once; the data is collected later. The timeout is not used.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: DeleteTopicsRequestData,
    ) -> DeleteTopicsResponseData {
        let asked = if call.version >= BY_ID {
            request.topics
        } else {
            let named = request
                .topic_names
                .into_iter()
                .map(|name| DeleteTopicState {
                    name: Some(name),
                    ..Default::default()
                });
            named.collect()
        };
        let twice = repeated(asked.iter().map(key));
        let mut answered = BTreeSet::new();
        let entries: Vec<_> = asked
            .into_iter()
            .filter(|t| !twice.contains(&key(t)) || answered.insert(key(t)))
            .collect();
        let responses = each(entries, |topic| {
            let repeated = twice.contains(&key(&topic));
            async move {
                let outcome = match repeated {
                    true => Err(Refused::request("Duplicate topic name or id.")),
                    false => delete(ctx, call, &topic).await,
                };
                answer(call, topic, outcome)
            }
        });
        DeleteTopicsResponseData {
            responses: responses.await,
            ..Default::default()
        }
    }
}

/// What makes two entries the same.
fn key(topic: &DeleteTopicState) -> (Option<String>, [u8; 16]) {
    let name = topic.name.as_ref().map(|n| n.as_str().to_owned());
    (name, topic.topic_id.to_bytes())
}

async fn delete(ctx: &Ctx, call: &Call, topic: &DeleteTopicState) -> Result<DeletedTopic, Refused> {
    let named = match (&topic.name, topic.topic_id.is_nil()) {
        (Some(name), true) => TopicRef::Name(name.as_str()),
        (None, false) => TopicRef::Uuid(TopicUuid(topic.topic_id.to_bytes())),
        (Some(_), false) => {
            return Err(Refused::request(
                "You may not specify both topic name and topic id.",
            ));
        }
        (None, true) => {
            return Err(Refused::request(
                "Neither topic name nor id were specified.",
            ));
        }
    };
    Ok(ctx.topics.delete(&call.tenant, named).await?)
}

fn answer(
    call: &Call,
    asked: DeleteTopicState,
    outcome: Result<DeletedTopic, Refused>,
) -> DeletableTopicResult {
    let (error_code, error_message) = Refused::fields(&outcome);
    let mut result = DeletableTopicResult {
        name: asked.name,
        topic_id: asked.topic_id,
        error_code,
        error_message,
        ..Default::default()
    };
    if let Ok(deleted) = outcome
        && call.version >= BY_ID
    {
        result.name = Some(deleted.name.into());
        result.topic_id = wire_id(deleted.uuid);
    }
    result
}

#[cfg(test)]
mod tests {
    use tidemark_topics::NewTopic;
    use tidemark_types::Tenant;
    use tidemark_wire::KafkaUuid;

    use super::*;
    use crate::testing;

    const TENANT: Tenant = Tenant::default_without_auth();

    async fn create(ctx: &Ctx, name: &str) -> KafkaUuid {
        let new = NewTopic {
            name: name.to_owned(),
            ..NewTopic::default()
        };
        wire_id(ctx.topics.create(&TENANT, new).await.unwrap().uuid)
    }

    fn by_name(name: &str) -> DeleteTopicState {
        DeleteTopicState {
            name: Some(name.to_owned().into()),
            ..Default::default()
        }
    }

    fn by_id(topic_id: KafkaUuid) -> DeleteTopicState {
        DeleteTopicState {
            topic_id,
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_deletes_by_name() {
        let ctx = testing::ctx().await;
        for version in 1..=6 {
            create(&ctx, "a").await;
            let request = DeleteTopicsRequestData {
                topics: match version {
                    6 => vec![by_name("a"), by_name("b")],
                    _ => vec![],
                },
                topic_names: match version {
                    6 => vec![],
                    _ => vec!["a".to_owned().into(), "b".to_owned().into()],
                },
                ..Default::default()
            };
            let answer = testing::call(&ctx, &request, version).await;
            let codes: Vec<_> = answer.responses.iter().map(|r| r.error_code).collect();
            assert_eq!(codes, [0, 3], "version {version}");
            assert!(ctx.topics.list(&TENANT).await.unwrap().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ids_are_answered_with_names() {
        let ctx = testing::ctx().await;
        let id = create(&ctx, "a").await;
        let mut both = by_id(id);
        both.name = Some("a".to_owned().into());
        let unknown = KafkaUuid::from_parts(1, 2);
        let request = DeleteTopicsRequestData {
            topics: vec![
                by_id(id),
                by_id(unknown),
                both,
                by_id(KafkaUuid::ZERO),
                by_name("twice"),
                by_name("twice"),
            ],
            ..Default::default()
        };
        let answer = testing::call(&ctx, &request, 6).await;
        let codes: Vec<_> = answer.responses.iter().map(|r| r.error_code).collect();
        assert_eq!(codes, [0, 100, 42, 42, 42]);
        assert_eq!(answer.responses[0].name.as_ref().unwrap().as_str(), "a");
        assert_eq!(answer.responses[0].topic_id, id);
        assert_eq!(answer.responses[1].name, None);
    }
}
