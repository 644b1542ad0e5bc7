//! FindCoordinator: this node coordinates every group.
//!
//! Transactions are not served yet. Of the errors this API has, TRANSACTIONAL_ID_AUTHORIZATION_FAILED is the one
//! that makes both the Java client and librdkafka give up at once with a fatal error; the alternatives
//! (COORDINATOR_NOT_AVAILABLE, INVALID_REQUEST) are retried until a timeout by at least one of them.

use tidemark_types::ErrorCode;
use tidemark_types::limits::NAME_BYTES_MAX;
use tidemark_wire::KafkaString;
use tidemark_wire::messages::{
    Coordinator, FindCoordinatorRequestData, FindCoordinatorResponseData,
};

use crate::Ctx;
use crate::handler::{Call, Handler};

/// First version that asks for several keys.
const BATCHED: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) struct FindCoordinator;

impl Handler for FindCoordinator {
    type Request = FindCoordinatorRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 6;
    const NOTES: &'static str = "Groups only. Transactional ids are answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED, share groups \
         INVALID_REQUEST, until they are served.";

    async fn handle(
        ctx: &Ctx,
        call: &Call,
        request: FindCoordinatorRequestData,
    ) -> FindCoordinatorResponseData {
        if call.version >= BATCHED {
            let found = request.coordinator_keys.into_iter();
            return FindCoordinatorResponseData {
                coordinators: found.map(|k| find(ctx, request.key_type, k)).collect(),
                ..Default::default()
            };
        }
        let found = find(ctx, request.key_type, request.key);
        FindCoordinatorResponseData {
            error_code: found.error_code,
            error_message: found.error_message.filter(|_| call.version >= 1),
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..Default::default()
        }
    }
}

fn find(ctx: &Ctx, key_type: i8, key: KafkaString) -> Coordinator {
    let refused = match key_type {
        GROUP if key.len() > NAME_BYTES_MAX => {
            Some((ErrorCode::InvalidGroupId, "the group id is too long"))
        }
        GROUP => None,
        TRANSACTION => Some((
            ErrorCode::TransactionalIdAuthorizationFailed,
            "transactions are not served yet",
        )),
        _ => Some((
            ErrorCode::InvalidRequest,
            "only groups have coordinators here",
        )),
    };
    match refused {
        None => Coordinator {
            key,
            node_id: ctx.cluster.node_id,
            host: ctx.cluster.host.clone().into(),
            port: i32::from(ctx.cluster.port),
            ..Default::default()
        },
        Some((error, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.kafka(),
            error_message: Some(KafkaString::from_static(message)),
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn groups_are_coordinated_here() {
        let ctx = testing::ctx().await;
        for version in 0..=6 {
            let batched = version >= BATCHED;
            let name = KafkaString::from_static("g");
            let request = FindCoordinatorRequestData {
                key: if batched {
                    KafkaString::default()
                } else {
                    name.clone()
                },
                coordinator_keys: if batched { vec![name] } else { Vec::new() },
                ..Default::default()
            };
            let answer = testing::call(&ctx, &request, version).await;
            let (node, port, error) = match answer.coordinators.first() {
                Some(c) => (c.node_id, c.port, c.error_code),
                None => (answer.node_id, answer.port, answer.error_code),
            };
            assert_eq!((node, port, error), (1, 9092, 0), "version {version}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn transactions_are_refused_with_an_error_clients_take_as_final() {
        let ctx = testing::ctx().await;
        for version in 1..=6 {
            let batched = version >= BATCHED;
            let name = KafkaString::from_static("tx");
            let request = FindCoordinatorRequestData {
                key: if batched {
                    KafkaString::default()
                } else {
                    name.clone()
                },
                key_type: TRANSACTION,
                coordinator_keys: if batched { vec![name] } else { Vec::new() },
                ..Default::default()
            };
            let answer = testing::call(&ctx, &request, version).await;
            let error = answer
                .coordinators
                .first()
                .map_or(answer.error_code, |c| c.error_code);
            assert_eq!(error, 53, "version {version}");
        }
    }
}
