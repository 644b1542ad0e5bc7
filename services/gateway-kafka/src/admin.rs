//! What the handlers of topic administration share.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};
use tidemark_topics::{ConfigOp, TopicError};
use tidemark_types::{Coded, ErrorCode};
use tidemark_wire::KafkaString;

use crate::Ctx;
use crate::handler::Call;
use crate::resolve;

/// Changes of one request under way at once: enough for their commits to share syncs.
const AT_ONCE: usize = 16;

/// Why an entry of a request was refused: the code and a message for its place in the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    message: String,
}

impl Refused {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// The two fields of an answer; none for success.
    pub(crate) fn fields<T>(outcome: &Result<T, Self>) -> (i16, Option<KafkaString>) {
        match outcome {
            Ok(_) => (0, None),
            Err(refused) => (refused.code.kafka(), Some(refused.message.clone().into())),
        }
    }
}

impl From<TopicError> for Refused {
    fn from(error: TopicError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Configuration resources, by Kafka's numbers (`ConfigResource.Type`).
pub(crate) mod resource {
    pub(crate) const TOPIC: i8 = 2;
    pub(crate) const BROKER: i8 = 4;
    pub(crate) const CLIENT_METRICS: i8 = 16;
    pub(crate) const GROUP: i8 = 32;
}

/// The keys that appear more than once.
pub(crate) fn repeated<K: Ord + Clone>(keys: impl Iterator<Item = K>) -> BTreeSet<K> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_insert(0u32) += 1;
    }
    counts
        .into_iter()
        .filter_map(|(key, count)| (count > 1).then_some(key))
        .collect()
}

/// Runs the entries of a request a few at a time; the answers keep their order.
pub(crate) async fn each<T, F: Future>(
    entries: impl IntoIterator<Item = T>,
    run: impl FnMut(T) -> F,
) -> Vec<F::Output> {
    stream::iter(entries)
        .map(run)
        .buffered(AT_ONCE)
        .collect()
        .await
}

/// Checks manual replica lists: this node places every partition itself and is the only replica to name.
pub(crate) fn check_replicas<'a>(
    ctx: &Ctx,
    lists: impl IntoIterator<Item = &'a Vec<i32>>,
) -> Result<(), Refused> {
    let node = ctx.cluster.node_id;
    match lists.into_iter().find(|list| ***list != [node]) {
        None => Ok(()),
        Some(other) => Err(Refused::new(
            ErrorCode::InvalidReplicaAssignment,
            format!("Manual assignment {other:?}: the only broker is {node}, once per partition."),
        )),
    }
}

/// Changes the configuration of one resource: a topic's; a broker's is the service's settings.
pub(crate) async fn alter(
    ctx: &Ctx,
    call: &Call,
    (resource_type, name): (i8, &str),
    ops: Vec<ConfigOp>,
    validate_only: bool,
) -> Result<(), Refused> {
    match resource_type {
        resource::TOPIC => {
            resolve::by_name(ctx, call, name)
                .await
                .map_err(|code| Refused::new(code, format!("Topic '{name}': {}", code.hint())))?;
            let altered = ctx
                .topics
                .alter_config(&call.tenant, name, ops, validate_only);
            altered.await?;
            Ok(())
        }
        resource::BROKER => Err(Refused::request(
            "Broker configs are the service's settings: they cannot be changed at run time.",
        )),
        other => Err(Refused::request(format!(
            "Resources of type {other} have no configuration here: only topics (2) can be altered."
        ))),
    }
}

/// The configs of one resource, with whether each has the value it needs: each is named once.
pub(crate) fn check_configs<'a>(
    configs: impl Iterator<Item = (&'a str, bool)> + Clone,
) -> Result<(), Refused> {
    let twice = repeated(configs.clone().map(|(name, _)| name));
    if let Some(name) = twice.first() {
        return Err(Refused::request(format!(
            "Error due to duplicate config keys : {name}"
        )));
    }
    match configs.into_iter().find(|(_, is_whole)| !is_whole) {
        None => Ok(()),
        Some((name, _)) => Err(Refused::request(format!(
            "Null value not supported for : {name}"
        ))),
    }
}
