//! SyncGroup: KIP-345 (v3), KIP-559 (v5).

use tidemark_groups::SyncRequest;
use tidemark_types::Coded;
use tidemark_wire::messages::{SyncGroupRequestData, SyncGroupResponseData};

use super::group::{maybe, text, unless_stopped};
use crate::Ctx;
use crate::handler::{Call, Handler, Waits};

/// First version whose requests repeat the protocol, and whose answers name it.
const NAMES_PROTOCOL: i16 = 5;

pub(super) struct SyncGroup;

impl Handler for SyncGroup {
    type Request = SyncGroupRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 5;
    const WAITS: Waits = Waits::UntilStop;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: SyncGroupRequestData,
    ) -> SyncGroupResponseData {
        let assignments = request.assignments.into_iter();
        let neutral = SyncRequest {
            group: text(&request.group_id),
            member_id: text(&request.member_id),
            instance_id: maybe(request.group_instance_id.as_ref()),
            generation: request.generation_id,
            protocol_type: maybe(request.protocol_type.as_ref()),
            protocol: maybe(request.protocol_name.as_ref()),
            assignments: assignments
                .map(|a| (text(&a.member_id), a.assignment))
                .collect(),
        };
        match unless_stopped(call, ctx.groups.sync(&call.tenant, neutral)).await {
            Ok(synced) => {
                let named = call.version >= NAMES_PROTOCOL;
                SyncGroupResponseData {
                    protocol_type: named.then(|| synced.protocol_type.into()),
                    protocol_name: named.then(|| synced.protocol.into()),
                    assignment: synced.assignment,
                    ..Default::default()
                }
            }
            Err(error) => SyncGroupResponseData {
                error_code: error.code().kafka(),
                ..Default::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;

    use super::super::group_testing::{ctx, joined, sync};
    use crate::testing::call;

    #[tokio::test(start_paused = true)]
    async fn every_version_hands_out_the_leaders_assignment() {
        for version in 0..=5 {
            let ctx = ctx().await;
            let leader = joined(&ctx, 4).await;
            let answer = call(&ctx, &sync(&leader, "mine"), version).await;
            assert_eq!(answer.error_code, 0, "v{version}");
            assert_eq!(&answer.assignment[..], b"mine");
            let named = answer.protocol_name.map(|n| n.as_str().to_owned());
            assert_eq!(named.as_deref(), (version >= 5).then_some("range"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_have_kafkas_codes() {
        let ctx = ctx().await;
        let leader = joined(&ctx, 4).await;
        for version in 0..=5 {
            let mut old = sync(&leader, "");
            old.generation_id = 0;
            assert_eq!(call(&ctx, &old, version).await.error_code, 22);
            let mut stranger = sync(&leader, "");
            stranger.member_id = KafkaString::from_static("nobody");
            assert_eq!(call(&ctx, &stranger, version).await.error_code, 25);
        }
        let mut other = sync(&leader, "");
        other.protocol_name = Some(KafkaString::from_static("sticky"));
        assert_eq!(call(&ctx, &other, 5).await.error_code, 23);
    }
}
