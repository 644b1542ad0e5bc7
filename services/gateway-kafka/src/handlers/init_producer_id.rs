//! InitProducerId for idempotent producers. Transactions are not served yet.

use tidemark_types::{Coded, ErrorCode};
use tidemark_wire::messages::{InitProducerIdRequestData, InitProducerIdResponseData};

use crate::Ctx;
use crate::handler::{Call, Handler};

pub(super) struct InitProducerId;

impl Handler for InitProducerId {
    type Request = InitProducerIdRequestData;
    const MIN: i16 = 0;
    const MAX: i16 = 5;
    const NOTES: &'static str = "Idempotent producers only: a transactional id is answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED until \
         transactions are served.";

    async fn handle(
        ctx: &Ctx,
        _: &Call,
        request: InitProducerIdRequestData,
    ) -> InitProducerIdResponseData {
        match &request.transactional_id {
            None => {}
            Some(empty) if empty.is_empty() => return refused(ErrorCode::InvalidRequest),
            Some(_) => return refused(ErrorCode::TransactionalIdAuthorizationFailed),
        }
        // An idempotent producer that asks again (KIP-360) gets a new id: its old sequences are its own
        // affair, and no other producer can hold the new one.
        match ctx.log().init_producer_id().await {
            Ok((id, epoch)) => InitProducerIdResponseData {
                producer_id: id.0,
                producer_epoch: epoch.0,
                ..Default::default()
            },
            Err(error) if error.is_retriable() => refused(ErrorCode::CoordinatorNotAvailable),
            Err(error) => refused(error.code()),
        }
    }
}

fn refused(error: ErrorCode) -> InitProducerIdResponseData {
    InitProducerIdResponseData {
        error_code: error.kafka(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::KafkaString;

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn transactional_ids_are_refused() {
        let ctx = testing::ctx().await;
        for (id, error) in [("tx", 53), ("", 42)] {
            let request = InitProducerIdRequestData {
                transactional_id: Some(KafkaString::from_static(id)),
                transaction_timeout_ms: 60_000,
                ..Default::default()
            };
            for version in 0..=5 {
                let answer = testing::call(&ctx, &request, version).await;
                assert_eq!((answer.error_code, answer.producer_id), (error, -1));
            }
        }
    }
}
