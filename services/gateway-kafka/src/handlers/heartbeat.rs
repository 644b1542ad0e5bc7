//! Heartbeat: KIP-345 (v3).

use tidemark_groups::HeartbeatRequest;
use tidemark_wire::messages::{HeartbeatRequestData, HeartbeatResponseData};

use super::group::{code, maybe, text};
use crate::Ctx;
use crate::handler::{Call, Handler};

pub(super) struct Heartbeat;

impl Handler for Heartbeat {
    type Request = HeartbeatRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 4;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: HeartbeatRequestData,
    ) -> HeartbeatResponseData {
        let neutral = HeartbeatRequest {
            group: text(&request.group_id),
            member_id: text(&request.member_id),
            instance_id: maybe(request.group_instance_id.as_ref()),
            generation: request.generation_id,
        };
        HeartbeatResponseData {
            error_code: code(ctx.groups.heartbeat(&call.tenant, neutral).await),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;

    use super::super::group_testing::{GROUP, ctx, joined, sync};
    use super::*;
    use crate::testing::call;

    #[tokio::test(start_paused = true)]
    async fn every_version_knows_members_generations_and_instances() {
        let ctx = ctx().await;
        let member = joined(&ctx, 4).await;
        call(&ctx, &sync(&member, "mine"), 5).await;
        for version in 0..=4 {
            let beat = HeartbeatRequestData {
                group_id: KafkaString::from_static(GROUP),
                generation_id: 1,
                member_id: member.member_id.clone(),
                ..Default::default()
            };
            assert_eq!(call(&ctx, &beat, version).await.error_code, 0);
            let mut old = beat.clone();
            old.generation_id = 0;
            assert_eq!(call(&ctx, &old, version).await.error_code, 22);
            let mut unnamed = beat.clone();
            unnamed.group_id = KafkaString::default();
            assert_eq!(call(&ctx, &unnamed, version).await.error_code, 24);
            let mut stranger = beat;
            stranger.member_id = KafkaString::from_static("nobody");
            assert_eq!(call(&ctx, &stranger, version).await.error_code, 25);
        }
    }
}
