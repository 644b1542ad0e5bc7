//! IncrementalAlterConfigs (KIP-339): sets, deletes, appends and subtracts.

use tidemark_topics::ConfigOp;
use tidemark_wire::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use tidemark_wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use tidemark_wire::messages::{
    IncrementalAlterConfigsRequestData, IncrementalAlterConfigsResponseData,
};

use crate::Ctx;
use crate::admin::{Refused, alter, check_configs, repeated};
use crate::handler::{Call, Handler};

/// `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) struct IncrementalAlterConfigs;

impl Handler for IncrementalAlterConfigs {
    type Request = IncrementalAlterConfigsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 1;
    const NOTES: &'static str = "Topics only.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: IncrementalAlterConfigsRequestData,
    ) -> IncrementalAlterConfigsResponseData {
        let key = |r: &AlterConfigsResource| (r.resource_type, r.resource_name.as_str().to_owned());
        let twice = repeated(request.resources.iter().map(key));
        let mut responses = Vec::new();
        for asked in request.resources {
            let outcome = match twice.contains(&key(&asked)) {
                true => Err(Refused::request("Duplicate resource.")),
                false => change(ctx, call, &asked, request.validate_only).await,
            };
            let (error_code, error_message) = Refused::fields(&outcome);
            responses.push(AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: asked.resource_type,
                resource_name: asked.resource_name,
                ..Default::default()
            });
        }
        IncrementalAlterConfigsResponseData {
            responses,
            ..Default::default()
        }
    }
}

async fn change(
    ctx: &Ctx,
    call: &Call,
    asked: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    let whole = |c: &AlterableConfig| c.config_operation == DELETE || c.value.is_some();
    check_configs(asked.configs.iter().map(|c| (c.name.as_str(), whole(c))))?;
    let ops = asked.configs.iter().map(op).collect::<Result<_, _>>()?;
    let resource = (asked.resource_type, asked.resource_name.as_str());
    alter(ctx, call, resource, ops, validate_only).await
}

fn op(config: &AlterableConfig) -> Result<ConfigOp, Refused> {
    let name = config.name.as_str().to_owned();
    let value = config.value.as_ref().map_or("", |v| v.as_str()).to_owned();
    Ok(match config.config_operation {
        SET => ConfigOp::Set { name, value },
        DELETE => ConfigOp::Delete { name },
        APPEND => ConfigOp::Append { name, value },
        SUBTRACT => ConfigOp::Subtract { name, value },
        other => {
            return Err(Refused::request(format!(
                "Unknown operation {other} on configuration {name}"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use tidemark_topics::NewTopic;
    use tidemark_types::Tenant;

    use super::*;
    use crate::testing;

    const TENANT: Tenant = Tenant::default_without_auth();

    fn asked(
        resource_type: i8,
        name: &str,
        configs: &[(&str, i8, Option<&str>)],
    ) -> AlterConfigsResource {
        AlterConfigsResource {
            resource_type,
            resource_name: name.to_owned().into(),
            configs: configs
                .iter()
                .map(|(name, config_operation, value)| AlterableConfig {
                    name: (*name).to_owned().into(),
                    config_operation: *config_operation,
                    value: value.map(|v| v.to_owned().into()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_changes_what_is_named_and_only_that() {
        for version in 0..=1 {
            let ctx = testing::ctx().await;
            let new = NewTopic {
                name: "a".to_owned(),
                config: [("flush.ms", "5"), ("segment.ms", "6")]
                    .map(|(k, v)| (k.to_owned(), v.to_owned()))
                    .into(),
                ..NewTopic::default()
            };
            ctx.topics.create(&TENANT, new).await.unwrap();
            let request = IncrementalAlterConfigsRequestData {
                resources: vec![asked(
                    2,
                    "a",
                    &[
                        ("retention.ms", SET, Some("7")),
                        ("flush.ms", DELETE, None),
                        ("cleanup.policy", APPEND, Some("compact")),
                    ],
                )],
                ..Default::default()
            };
            let answer = testing::call(&ctx, &request, version).await;
            assert_eq!(answer.responses[0].error_code, 0);
            let found = ctx.topics.lookup(&TENANT, "a").await.unwrap().unwrap();
            let pairs: Vec<_> = found.config.overrides.iter().collect();
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            assert_eq!(
                pairs,
                [
                    ("cleanup.policy", "delete,compact"),
                    ("retention.ms", "7"),
                    ("segment.ms", "6")
                ]
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bad_changes_are_refused_whole() {
        let ctx = testing::ctx().await;
        let new = NewTopic {
            name: "a".to_owned(),
            ..NewTopic::default()
        };
        ctx.topics.create(&TENANT, new).await.unwrap();
        let half = [
            ("flush.ms", SET, Some("1")),
            ("retention.ms", SET, Some("x")),
        ];
        for (resource, code) in [
            (asked(2, "a", &half), 40),
            (asked(2, "a", &[("nope", SET, Some("1"))]), 40),
            (asked(2, "a", &[("retention.ms", APPEND, Some("1"))]), 40),
            (
                asked(2, "a", &[("tidemark.durability", SET, Some("object"))]),
                40,
            ),
            (asked(2, "a", &[("flush.ms", SET, None)]), 42),
            (asked(2, "a", &[("flush.ms", 9, Some("1"))]), 42),
            (
                asked(
                    2,
                    "a",
                    &[("flush.ms", SET, Some("1")), ("flush.ms", DELETE, None)],
                ),
                42,
            ),
            (asked(4, "1", &[("num.partitions", SET, Some("2"))]), 42),
            (asked(32, "g", &[]), 42),
            (asked(2, "none", &[]), 3),
        ] {
            let request = IncrementalAlterConfigsRequestData {
                resources: vec![resource.clone()],
                ..Default::default()
            };
            let answer = testing::call(&ctx, &request, 1).await;
            assert_eq!(answer.responses[0].error_code, code, "{resource:?}");
            assert!(answer.responses[0].error_message.is_some());
        }
        let found = ctx.topics.lookup(&TENANT, "a").await.unwrap().unwrap();
        assert!(found.config.overrides.is_empty());
    }
}
