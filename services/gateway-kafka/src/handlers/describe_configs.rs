//! DescribeConfigs (KIP-133, KIP-226, KIP-569): topics, and the broker as clients see it.

use tidemark_topics::{ConfigEntry, ConfigSource, ConfigType};
use tidemark_types::ErrorCode;
use tidemark_wire::KafkaString;
use tidemark_wire::messages::{
    DescribeConfigsRequestData, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponseData, DescribeConfigsResult, DescribeConfigsSynonym,
};

use crate::Ctx;
use crate::admin::{Refused, resource};
use crate::handler::{Call, Handler};
use crate::resolve;

pub(super) struct DescribeConfigs;

impl Handler for DescribeConfigs {
    type Request = DescribeConfigsRequestData;
    const MIN: i16 = 1;
    const MAX: i16 = 4;
    const NOTES: &'static str = "Topics and this broker. The documentation of each topic config says whether it has effect here.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: DescribeConfigsRequestData,
    ) -> DescribeConfigsResponseData {
        let mut results = Vec::new();
        for asked in request.resources {
            let outcome = describe(ctx, call, &asked).await;
            let (error_code, error_message) = Refused::fields(&outcome);
            let mut configs = outcome.unwrap_or_default();
            for config in &mut configs {
                if !request.include_synonyms {
                    config.synonyms.clear();
                }
                if !request.include_documentation || call.version < 3 {
                    config.documentation = None;
                }
                if call.version < 3 {
                    config.config_type = 0;
                }
            }
            results.push(DescribeConfigsResult {
                error_code,
                error_message,
                resource_type: asked.resource_type,
                resource_name: asked.resource_name,
                configs,
                ..Default::default()
            });
        }
        DescribeConfigsResponseData {
            results,
            ..Default::default()
        }
    }
}

async fn describe(
    ctx: &Ctx,
    call: &Call,
    asked: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let name = asked.resource_name.as_str();
    let mut configs = match asked.resource_type {
        resource::TOPIC => topic(ctx, call, name).await?,
        resource::BROKER => broker(ctx, name)?,
        other => {
            return Err(Refused::request(format!(
                "Resources of type {other} have no configuration here: ask for topics (2) or brokers (4)."
            )));
        }
    };
    // Null asks for all; so does the empty list of older clients.
    if let Some(keys) = asked.configuration_keys.as_ref().filter(|k| !k.is_empty()) {
        configs.retain(|c| keys.contains(&c.name));
    }
    Ok(configs)
}

async fn topic(
    ctx: &Ctx,
    call: &Call,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let topic = resolve::by_name(ctx, call, name)
        .await
        .map_err(|code| Refused::new(code, format!("Topic '{name}': {}", code.hint())))?;
    let entries = ctx.topics.describe_config(&topic).into_iter();
    Ok(entries.map(of_topic).collect())
}

fn of_topic(entry: ConfigEntry) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.into_iter().map(|s| DescribeConfigsSynonym {
        name: s.name.to_owned().into(),
        value: Some(s.value.into()),
        source: s.source.kafka(),
        ..Default::default()
    });
    DescribeConfigsResourceResult {
        name: entry.spec.name.to_owned().into(),
        value: Some(entry.value.into()),
        config_source: entry.source.kafka(),
        synonyms: synonyms.collect(),
        config_type: entry.spec.ty.kafka(),
        documentation: Some(entry.spec.documentation().into()),
        ..Default::default()
    }
}

/// The broker's configs: the topics' defaults under their broker names, and what clients and tools look for.
fn broker(ctx: &Ctx, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let node = ctx.cluster.node_id;
    // The empty name asks for dynamic defaults of all brokers: there are none.
    if name.is_empty() {
        return Ok(Vec::new());
    }
    if name.parse() != Ok(node) {
        return Err(Refused::new(
            ErrorCode::InvalidRequest,
            format!("Unexpected broker id, expected {node} but received {name:?}"),
        ));
    }
    let mut configs: Vec<_> = ctx
        .topics
        .describe_defaults()
        .into_iter()
        .map(|entry| {
            let mut config = of_broker(
                entry.spec.broker_name,
                entry.value,
                entry.source,
                entry.spec.ty,
            );
            config.documentation = Some(entry.spec.documentation().into());
            config
        })
        .collect();
    let settings = ctx.topics.settings();
    let listener = format!("PLAINTEXT://{}:{}", ctx.cluster.host, ctx.cluster.port);
    let fixed = [
        ("advertised.listeners", listener, ConfigType::String),
        (
            "auto.create.topics.enable",
            settings.auto_create.to_string(),
            ConfigType::Boolean,
        ),
        ("broker.id", node.to_string(), ConfigType::Int),
        (
            "default.replication.factor",
            "1".to_owned(),
            ConfigType::Int,
        ),
        (
            "delete.topic.enable",
            "true".to_owned(),
            ConfigType::Boolean,
        ),
        ("node.id", node.to_string(), ConfigType::Int),
        (
            "num.partitions",
            settings.partitions_default.to_string(),
            ConfigType::Int,
        ),
    ];
    let fixed = fixed.map(|(name, value, ty)| of_broker(name, value, ConfigSource::Service, ty));
    configs.extend(fixed);
    configs.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    Ok(configs)
}

fn of_broker(
    name: &'static str,
    value: String,
    source: ConfigSource,
    ty: ConfigType,
) -> DescribeConfigsResourceResult {
    let name = KafkaString::from_static(name);
    let value = KafkaString::from(value);
    DescribeConfigsResourceResult {
        name: name.clone(),
        value: Some(value.clone()),
        // Set in the service's settings, never at run time.
        read_only: true,
        config_source: source.kafka(),
        synonyms: vec![DescribeConfigsSynonym {
            name,
            value: Some(value),
            source: source.kafka(),
            ..Default::default()
        }],
        config_type: ty.kafka(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_topics::NewTopic;
    use tidemark_types::Tenant;

    use super::*;
    use crate::testing;

    async fn ctx() -> std::sync::Arc<Ctx> {
        let ctx = testing::ctx().await;
        let new = NewTopic {
            name: "a".to_owned(),
            config: [("retention.ms".to_owned(), "5".to_owned())].into(),
            ..NewTopic::default()
        };
        let tenant = Tenant::default_without_auth();
        ctx.topics.create(&tenant, new).await.unwrap();
        ctx
    }

    fn asked(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
        DescribeConfigsResource {
            resource_type,
            resource_name: name.to_owned().into(),
            configuration_keys: keys
                .map(|keys| keys.iter().map(|k| (*k).to_owned().into()).collect()),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_describes_a_topic() {
        let ctx = ctx().await;
        for version in 1..=4 {
            let request = DescribeConfigsRequestData {
                resources: vec![asked(2, "a", None), asked(2, "a", Some(&["retention.ms"]))],
                include_synonyms: true,
                include_documentation: version >= 3,
                ..Default::default()
            };
            let answer = testing::call(&ctx, &request, version).await;
            assert!(answer.results[0].configs.len() > 30);
            let only = &answer.results[1].configs;
            assert_eq!(only.len(), 1);
            let retention = &only[0];
            assert_eq!(retention.value.as_ref().unwrap().as_str(), "5");
            assert_eq!((retention.config_source, retention.read_only), (1, false));
            let synonyms: Vec<_> = retention
                .synonyms
                .iter()
                .map(|s| (s.name.as_str(), s.source))
                .collect();
            assert_eq!(synonyms, [("retention.ms", 1), ("log.retention.ms", 5)]);
            assert_eq!(retention.config_type, if version >= 3 { 5 } else { 0 });
            assert_eq!(retention.documentation.is_some(), version >= 3);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_broker_is_described_by_its_id() {
        let ctx = ctx().await;
        let request = DescribeConfigsRequestData {
            resources: vec![
                asked(4, "1", None),
                asked(4, "", None),
                asked(4, "2", None),
                asked(8, "1", None),
                asked(2, "none", None),
                asked(2, "not ok", None),
            ],
            ..Default::default()
        };
        for version in 1..=4 {
            let answer = testing::call(&ctx, &request, version).await;
            let codes: Vec<_> = answer.results.iter().map(|r| r.error_code).collect();
            assert_eq!(codes, [0, 0, 42, 42, 3, 17]);
            let broker = &answer.results[0].configs;
            let value = |name: &str| {
                let found = broker.iter().find(|c| c.name.as_str() == name);
                found
                    .and_then(|c| c.value.as_ref())
                    .map(|v| v.as_str().to_owned())
            };
            assert_eq!(value("num.partitions").as_deref(), Some("1"));
            assert_eq!(value("log.retention.ms").as_deref(), Some("604800000"));
            assert!(broker.iter().all(|c| c.read_only && c.synonyms.is_empty()));
            assert!(broker.is_sorted_by(|a, b| a.name.as_str() < b.name.as_str()));
            assert!(answer.results[1].configs.is_empty());
        }
    }
}
