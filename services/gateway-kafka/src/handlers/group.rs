//! What the group APIs share: names and ids of topics, and how committed offsets travel.

use std::sync::Arc;

use tidemark_groups::GroupError;
use tidemark_topics::Topic;
use tidemark_types::{Coded, ErrorCode};
use tidemark_wire::{KafkaString, KafkaUuid};

use crate::Ctx;
use crate::handler::Call;
use crate::resolve;

/// First version of OffsetCommit and OffsetFetch that names topics by id (KIP-848).
pub(super) const TOPIC_IDS: i16 = 10;

/// Kafka's code of an outcome: 0 for none.
pub(super) fn code<E: Coded>(outcome: Result<(), E>) -> i16 {
    outcome.err().map_or(0, |e| e.code().kafka())
}

/// Waits for the coordinator. When the connection is to end the client is sent to look for the coordinator again, as
/// by a Kafka broker that shuts down: it rejoins with the member id it has.
pub(super) async fn unless_stopped<T>(
    call: &Call,
    waiting: impl Future<Output = Result<T, GroupError>>,
) -> Result<T, GroupError> {
    tokio::select! {
        biased;
        outcome = waiting => outcome,
        () = call.stop.cancelled() => Err(GroupError::NotCoordinator),
    }
}

/// A string as the coordinator takes it.
pub(super) fn text(s: &KafkaString) -> String {
    s.as_str().to_owned()
}

/// An optional string as the coordinator takes it.
pub(super) fn maybe(s: Option<&KafkaString>) -> Option<String> {
    s.map(text)
}

/// The topic that a request of `version` means: by name, or from [`TOPIC_IDS`] on by id.
pub(super) async fn topic(
    ctx: &Ctx,
    call: &Call,
    name: &KafkaString,
    id: KafkaUuid,
) -> Result<Arc<Topic>, ErrorCode> {
    let found = if call.version >= TOPIC_IDS {
        resolve::by_id(ctx, call, id).await
    } else {
        resolve::data_by_name(ctx, call, name.as_str()).await
    };
    // Consumers know "leader not available" from other APIs only.
    found.map_err(|code| match code {
        ErrorCode::LeaderNotAvailable => ErrorCode::CoordinatorNotAvailable,
        other => other,
    })
}
