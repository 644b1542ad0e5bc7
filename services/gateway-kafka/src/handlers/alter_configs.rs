//! AlterConfigs (KIP-133): replaces all of a topic's overrides. Superseded by IncrementalAlterConfigs.

use tidemark_topics::ConfigOp;
use tidemark_wire::messages::alter_configs_request::AlterConfigsResource;
use tidemark_wire::messages::alter_configs_response::AlterConfigsResourceResponse;
use tidemark_wire::messages::{AlterConfigsRequestData, AlterConfigsResponseData};

use crate::Ctx;
use crate::admin::{Refused, alter, check_configs, repeated};
use crate::handler::{Call, Handler};

pub(super) struct AlterConfigs;

impl Handler for AlterConfigs {
    type Request = AlterConfigsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 2;
    const NOTES: &'static str =
        "Topics only. Overrides that are not named return to their defaults, as in Kafka.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: AlterConfigsRequestData,
    ) -> AlterConfigsResponseData {
        let key = |r: &AlterConfigsResource| (r.resource_type, r.resource_name.as_str().to_owned());
        let twice = repeated(request.resources.iter().map(key));
        let mut responses = Vec::new();
        for asked in request.resources {
            let outcome = match twice.contains(&key(&asked)) {
                true => Err(Refused::request("Duplicate resource.")),
                false => replace(ctx, call, &asked, request.validate_only).await,
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
        AlterConfigsResponseData {
            responses,
            ..Default::default()
        }
    }
}

async fn replace(
    ctx: &Ctx,
    call: &Call,
    asked: &AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    let configs = asked.configs.iter();
    check_configs(
        configs
            .clone()
            .map(|c| (c.name.as_str(), c.value.is_some())),
    )?;
    let names = configs.clone().map(|c| c.name.as_str().to_owned());
    let retain = ConfigOp::RetainOnly {
        names: names.collect(),
    };
    let set = configs.filter_map(|c| {
        let value = c.value.as_ref()?;
        Some(ConfigOp::Set {
            name: c.name.as_str().to_owned(),
            value: value.as_str().to_owned(),
        })
    });
    let ops = std::iter::once(retain).chain(set).collect();
    let resource = (asked.resource_type, asked.resource_name.as_str());
    alter(ctx, call, resource, ops, validate_only).await
}

#[cfg(test)]
mod tests {
    use tidemark_topics::NewTopic;
    use tidemark_types::Tenant;
    use tidemark_wire::messages::alter_configs_request::AlterableConfig;

    use super::*;
    use crate::testing;

    const TENANT: Tenant = Tenant::default_without_auth();

    fn asked(
        resource_type: i8,
        name: &str,
        configs: &[(&str, Option<&str>)],
    ) -> AlterConfigsResource {
        AlterConfigsResource {
            resource_type,
            resource_name: name.to_owned().into(),
            configs: configs
                .iter()
                .map(|(name, value)| AlterableConfig {
                    name: (*name).to_owned().into(),
                    value: value.map(|v| v.to_owned().into()),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_version_replaces_all_overrides() {
        let ctx = testing::ctx().await;
        let new = NewTopic {
            name: "a".to_owned(),
            config: [("flush.ms".to_owned(), "5".to_owned())].into(),
            ..NewTopic::default()
        };
        ctx.topics.create(&TENANT, new).await.unwrap();
        for version in 0..=2 {
            for (key, dry) in [("retention.ms", false), ("segment.ms", true)] {
                let value = format!("{}", 100 + version);
                let request = AlterConfigsRequestData {
                    resources: vec![
                        asked(2, "a", &[(key, Some(&value))]),
                        asked(2, "none", &[]),
                        asked(4, "1", &[("num.partitions", Some("3"))]),
                        asked(2, "b", &[("flush.ms", None)]),
                        asked(2, "c", &[]),
                        asked(2, "c", &[]),
                    ],
                    validate_only: dry,
                    ..Default::default()
                };
                let answer = testing::call(&ctx, &request, version).await;
                let codes: Vec<_> = answer.responses.iter().map(|r| r.error_code).collect();
                assert_eq!(codes, [0, 3, 42, 42, 42, 42]);
                let found = ctx.topics.lookup(&TENANT, "a").await.unwrap().unwrap();
                let expected = [("retention.ms".to_owned(), format!("{}", 100 + version))];
                assert_eq!(*found.config.overrides, expected.into());
            }
        }
    }
}
