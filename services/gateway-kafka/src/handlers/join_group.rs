//! JoinGroup: KIP-62 (v1), KIP-394 (v4), KIP-345 (v5), KIP-559 (v7), KIP-800 (v8), KIP-814 (v9).

use std::time::Duration;

use tidemark_groups::{GroupError, JoinRequest, Joined, Protocol};
use tidemark_types::Coded;
use tidemark_wire::KafkaString;
use tidemark_wire::messages::{
    JoinGroupRequestData, JoinGroupResponseData, JoinGroupResponseMember,
};

use super::group::{maybe, text, unless_stopped};
use crate::Ctx;
use crate::handler::{Call, Handler, Waits};

/// First version whose new members must come back with the id they were given (KIP-394).
const KNOWN_MEMBER_ID: i16 = 4;
/// First version whose answers may name no protocol.
const NO_PROTOCOL: i16 = 7;
/// First version that understands `skip_assignment`.
const SKIP_ASSIGNMENT: i16 = 9;

pub(super) struct JoinGroup;

impl Handler for JoinGroup {
    type Request = JoinGroupRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 9;
    const NOTES: &'static str =
        "An empty group gathers its first members for groups.initial_rebalance_delay.";
    const WAITS: Waits = Waits::UntilStop;

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: JoinGroupRequestData,
    ) -> JoinGroupResponseData {
        let asked = request.member_id.clone();
        let joining = ctx.groups.join(&call.tenant, neutral(call, request));
        match unless_stopped(call, joining).await {
            Ok(joined) => answer(joined),
            Err(error) => JoinGroupResponseData {
                error_code: error.code().kafka(),
                generation_id: -1,
                protocol_name: (call.version < NO_PROTOCOL).then(KafkaString::default),
                member_id: match error {
                    GroupError::MemberIdRequired { member_id } => member_id.into(),
                    _ => asked,
                },
                ..Default::default()
            },
        }
    }
}

fn neutral(call: &Call, request: JoinGroupRequestData) -> JoinRequest {
    let session_timeout = millis(request.session_timeout_ms);
    // Version 0 knows only the session's.
    let rebalance_timeout = match call.version {
        0 => session_timeout,
        _ => millis(request.rebalance_timeout_ms),
    };
    let protocols = request.protocols.into_iter();
    JoinRequest {
        group: text(&request.group_id),
        member_id: text(&request.member_id),
        instance_id: maybe(request.group_instance_id.as_ref()),
        client_id: text(&call.client_id),
        client_host: format!("/{}", call.addr.ip()),
        session_timeout,
        rebalance_timeout,
        protocol_type: text(&request.protocol_type),
        protocols: protocols
            .map(|p| Protocol {
                name: text(&p.name),
                metadata: p.metadata,
            })
            .collect(),
        requires_known_member_id: call.version >= KNOWN_MEMBER_ID,
        can_skip_assignment: call.version >= SKIP_ASSIGNMENT,
        reason: maybe(request.reason.as_ref()),
    }
}

fn answer(joined: Joined) -> JoinGroupResponseData {
    let members = joined.members.into_iter();
    JoinGroupResponseData {
        generation_id: joined.generation,
        protocol_type: Some(joined.protocol_type.into()),
        protocol_name: Some(joined.protocol.into()),
        leader: joined.leader.into(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member_id.into(),
        members: members
            .map(|m| JoinGroupResponseMember {
                member_id: m.member_id.into(),
                group_instance_id: m.instance_id.map(Into::into),
                metadata: m.metadata,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::group_testing::{ctx, join, joined, sync};
    use super::*;
    use crate::testing::call;

    #[tokio::test(start_paused = true)]
    async fn every_version_joins_and_leads() {
        for version in 0..=9 {
            let ctx = ctx().await;
            let answer = joined(&ctx, version).await;
            assert_eq!(answer.error_code, 0, "v{version}");
            assert_eq!(answer.generation_id, 1);
            assert_eq!(answer.leader, answer.member_id);
            assert_eq!(answer.members.len(), 1);
            assert_eq!(&answer.members[0].metadata[..], b"subscription");
            assert_eq!(answer.protocol_name.unwrap().as_str(), "range");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_members_must_come_back_from_version_4_on() {
        for version in 0..=9 {
            let answer = call(&ctx().await, &join(""), version).await;
            let refused = answer.error_code == 79;
            assert_eq!(refused, version >= 4, "v{version}");
            assert!(!answer.member_id.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_have_kafkas_codes() {
        let ctx = ctx().await;
        for version in 0..=9 {
            let unknown = call(&ctx, &join("nobody"), version).await;
            assert_eq!((unknown.error_code, unknown.generation_id), (25, -1));
            assert_eq!(unknown.member_id.as_str(), "nobody");
            let mut unnamed = join("");
            unnamed.group_id = KafkaString::default();
            assert_eq!(call(&ctx, &unnamed, version).await.error_code, 24);
            let mut impatient = join("");
            impatient.session_timeout_ms = -1;
            assert_eq!(call(&ctx, &impatient, version).await.error_code, 26);
            let mut shapeless = join("");
            shapeless.protocols.clear();
            assert_eq!(call(&ctx, &shapeless, version).await.error_code, 23);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_static_leader_that_comes_back_skips_the_assignment_from_version_9_on() {
        for version in 5..=9 {
            let ctx = ctx().await;
            let mut request = join("");
            request.group_instance_id = Some(KafkaString::from_static("instance"));
            let first = call(&ctx, &request, version).await;
            assert_eq!(first.error_code, 0);
            call(&ctx, &sync(&first, "all"), 5).await;
            let again = call(&ctx, &request, version).await;
            assert_eq!((again.error_code, again.generation_id), (0, 1));
            assert_ne!(again.member_id, first.member_id);
            assert_eq!(again.skip_assignment, version >= 9, "v{version}");
            assert_eq!(again.leader == again.member_id, version >= 9);
        }
    }
}
