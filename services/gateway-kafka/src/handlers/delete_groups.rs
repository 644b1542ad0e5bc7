//! DeleteGroups (KIP-229).

use tidemark_wire::messages::{
    DeletableGroupResult, DeleteGroupsRequestData, DeleteGroupsResponseData,
};

use super::group::code;
use crate::Ctx;
use crate::handler::{Call, Handler};

pub(super) struct DeleteGroups;

impl Handler for DeleteGroups {
    type Request = DeleteGroupsRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 2;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: DeleteGroupsRequestData,
    ) -> DeleteGroupsResponseData {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let outcome = ctx.groups.delete(&call.tenant, group_id.as_str()).await;
            results.push(DeletableGroupResult {
                group_id,
                error_code: code(outcome),
                ..Default::default()
            });
        }
        DeleteGroupsResponseData {
            results,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;

    use super::super::group_testing::{GROUP, ctx, joined};
    use super::*;
    use crate::testing::call;

    #[tokio::test(start_paused = true)]
    async fn every_version_deletes_only_groups_without_members() {
        for version in 0..=2 {
            let ctx = ctx().await;
            let request = DeleteGroupsRequestData {
                groups_names: vec![KafkaString::from_static(GROUP)],
                ..Default::default()
            };
            let mut codes = Vec::new();
            codes.push(call(&ctx, &request, version).await.results[0].error_code);
            let member = joined(&ctx, 4).await;
            codes.push(call(&ctx, &request, version).await.results[0].error_code);
            let leave = tidemark_groups::Leaving {
                member_id: member.member_id.as_str().to_owned(),
                instance_id: None,
                reason: None,
            };
            let tenant = tidemark_types::Tenant::default_without_auth();
            ctx.groups.leave(&tenant, GROUP, vec![leave]).await.unwrap();
            codes.push(call(&ctx, &request, version).await.results[0].error_code);
            assert_eq!(codes, [69, 68, 0], "v{version}");
        }
    }
}
