//! Fetch: long polls over any number of partitions, with sessions (KIP-227), topic ids, and record batches that
//! go from the log to the socket without a copy.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_log::{FetchPartition, FetchRequest, Isolation};
use tidemark_topics::Topic;
use tidemark_types::{ErrorCode, Offset, PartitionIndex};
use tidemark_wire::fetch::{Endpoint, FetchAnswer, FetchedPartition, FetchedTopic};
use tidemark_wire::messages::FetchRequestData;
use tidemark_wire::{ApiKey, KafkaString};

use crate::Ctx;
use crate::handler::{Call, Entry, Run, Running, Waits};
use crate::memory::{self, Held};
use crate::resolve;
use crate::sessions::{Changes, PartKey, Session, TopicKey, Want};

pub(super) const ENTRY: Entry = Entry {
    key: ApiKey::Fetch,
    name: "Fetch",
    min: 4,
    max: 18,
    notes: "For consumers: requests of replicas are refused. The preferred read replica is always this node.",
    waits: Waits::UntilStop,
    run: Run::Whole(run),
};

/// First version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// Longest wait for data, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Near the bound of unread answers a fetch still gets this much.
const BYTES_MIN: usize = 64 << 10;
/// `session_epoch` of a fetch that wants no session.
const NO_SESSION: i32 = -1;

/// What a request asks for, its session taken into account.
struct Plan {
    parts: Vec<(PartKey, Want)>,
    session: Option<(i32, Arc<Mutex<Session>>)>,
    /// Make a session of it.
    creates: bool,
}

fn run(ctx: Arc<Ctx>, call: Call, body: Bytes) -> Running {
    Box::pin(async move {
        let (request, held) = memory::read_fetch(&ctx, &call, body).await?;
        let answer = fetch(&ctx, &call, request, held).await;
        Ok(Some(answer.encode(call.version, call.correlation_id)?))
    })
}

async fn fetch(
    ctx: &Ctx,
    call: &Call,
    mut request: FetchRequestData,
    decoded: Held,
) -> FetchAnswer {
    let isolation = match request.isolation_level {
        0 => Isolation::ReadUncommitted,
        1 => Isolation::ReadCommitted,
        _ => return refused(call, request, ErrorCode::InvalidRequest),
    };
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        return refused(call, request, ErrorCode::ClusterAuthorizationFailed);
    }
    let plan = match plan(ctx, call, &mut request) {
        Ok(plan) => plan,
        Err(error) => {
            return FetchAnswer {
                error_code: error.kafka(),
                ..Default::default()
            };
        }
    };
    let asked =
        Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let (_held, wait) = memory::wait_of_fetch(ctx, decoded, plan.parts.len(), asked);
    let answers = read(ctx, call, &request, &plan.parts, (isolation, wait)).await;
    answered(ctx, call, plan, answers)
}

/// Takes the request's partitions, and its session's if it has one.
fn plan(ctx: &Ctx, call: &Call, request: &mut FetchRequestData) -> Result<Plan, ErrorCode> {
    let by_id = call.version >= TOPIC_IDS_FROM;
    let tenant = call.tenant.id();
    let changes = changes(call, request);
    let (id, epoch) = (request.session_id, request.session_epoch);
    if epoch > 0 {
        let resumed = ctx.sessions.resume((id, epoch), tenant, by_id, changes)?;
        return Ok(Plan {
            parts: resumed.parts,
            session: Some((id, resumed.session)),
            creates: false,
        });
    }
    if id != 0 {
        ctx.sessions.close(id, tenant);
    }
    Ok(Plan {
        parts: changes.set,
        session: None,
        creates: epoch != NO_SESSION && call.version >= 7,
    })
}

fn changes(call: &Call, request: &mut FetchRequestData) -> Changes {
    let key_of = |name: &KafkaString, id: tidemark_wire::KafkaUuid| match call.version {
        TOPIC_IDS_FROM.. => TopicKey::Id(id.to_bytes()),
        // A copy: a session must not keep the frame that named the topic.
        _ => TopicKey::Name(name.as_str().into()),
    };
    let mut changes = Changes::default();
    for topic in std::mem::take(&mut request.topics) {
        let key = key_of(&topic.topic, topic.topic_id);
        changes.set.extend(topic.partitions.into_iter().map(|p| {
            let want = Want {
                offset: p.fetch_offset,
                max_bytes: p.partition_max_bytes,
                current_epoch: p.current_leader_epoch,
                last_epoch: p.last_fetched_epoch,
            };
            ((key.clone(), p.partition), want)
        }));
    }
    for topic in std::mem::take(&mut request.forgotten_topics_data) {
        let key = key_of(&topic.topic, topic.topic_id);
        let forgotten = topic.partitions.into_iter();
        changes.forget.extend(forgotten.map(|p| (key.clone(), p)));
    }
    changes
}

/// Reads every partition; answers in the order of `parts`.
async fn read(
    ctx: &Ctx,
    call: &Call,
    request: &FetchRequestData,
    parts: &[(PartKey, Want)],
    (isolation, max_wait): (Isolation, Duration),
) -> Vec<FetchedPartition> {
    let mut answers = Vec::with_capacity(parts.len());
    let mut wanted = Vec::with_capacity(parts.len());
    let mut topic: Option<(&TopicKey, Result<Arc<Topic>, ErrorCode>)> = None;
    for ((key, index), want) in parts {
        let found = match topic.take() {
            Some((same, found)) if same == key => found,
            Some(_) | None => match key {
                TopicKey::Name(name) => resolve::data_by_name(ctx, call, name).await,
                TopicKey::Id(_) => resolve::by_id(ctx, call, key.id()).await,
            },
        };
        match &found {
            Ok(found) => {
                wanted.push((answers.len(), wanted_of(found, *index, want)));
                answers.push(failed(*index, ErrorCode::Unknown));
            }
            Err(error) => answers.push(failed(*index, *error)),
        }
        topic = Some((key, found));
    }
    if wanted.is_empty() {
        return answers;
    }
    let (places, partitions): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
    let topics: Vec<_> = partitions.iter().map(|p| Arc::clone(&p.topic)).collect();
    let asked = FetchRequest {
        partitions,
        min_bytes: bytes_of(request.min_bytes),
        max_bytes: bytes_max(ctx, request),
        max_wait,
        isolation,
    };
    let found = wait_for(ctx, call, asked).await;
    for ((place, topic), found) in places.into_iter().zip(topics).zip(found) {
        let index = answers[place].index;
        answers[place] = fetched(ctx, &topic, index, isolation, found);
    }
    answers
}

/// Fetches; the wait ends early, with what there is, when the connection is to end.
async fn wait_for(
    ctx: &Ctx,
    call: &Call,
    mut asked: FetchRequest,
) -> Vec<tidemark_log::FetchedPartition> {
    tokio::select! {
        biased;
        found = ctx.log().fetch_borrowed(&call.tenant, &asked) => return found,
        () = call.stop.cancelled() => {}
    }
    asked.max_wait = Duration::ZERO;
    ctx.log().fetch_borrowed(&call.tenant, &asked).await
}

fn wanted_of(topic: &Arc<Topic>, index: i32, want: &Want) -> FetchPartition {
    FetchPartition {
        topic: Arc::clone(topic),
        index: PartitionIndex(index),
        offset: Offset(want.offset),
        current_leader_epoch: resolve::epoch_of(want.current_epoch),
        last_fetched_epoch: resolve::epoch_of(want.last_epoch),
        max_bytes: bytes_of(want.max_bytes),
    }
}

fn bytes_of(raw: i32) -> usize {
    usize::try_from(raw).unwrap_or(0)
}

/// What the client allows, within the server's bound, and less when many answers are waiting to be read.
fn bytes_max(ctx: &Ctx, request: &FetchRequestData) -> usize {
    let room = ctx.answers.left().max(BYTES_MIN);
    bytes_of(request.max_bytes)
        .min(ctx.fetch_bytes_max)
        .min(room)
}

fn failed(index: i32, error: ErrorCode) -> FetchedPartition {
    FetchedPartition {
        index,
        error_code: error.kafka(),
        ..Default::default()
    }
}

fn fetched(
    ctx: &Ctx,
    topic: &Topic,
    index: i32,
    isolation: Isolation,
    found: tidemark_log::FetchedPartition,
) -> FetchedPartition {
    let aborted = || found.aborted.iter().map(|(id, at)| (*id, at.0)).collect();
    FetchedPartition {
        index,
        error_code: found.error.map_or(0, ErrorCode::kafka),
        high_watermark: found.high_watermark.0,
        last_stable_offset: found.last_stable_offset.0,
        log_start: found.log_start.0,
        leader: found
            .error
            .and_then(|e| resolve::leader_hint(ctx, topic, PartitionIndex(index), e)),
        aborted: (isolation == Isolation::ReadCommitted).then(aborted),
        records: found.batches,
    }
}

/// Puts the answers together: all of them, or what is new to the session.
fn answered(ctx: &Ctx, call: &Call, plan: Plan, answers: Vec<FetchedPartition>) -> FetchAnswer {
    let session_id = match &plan.session {
        Some((id, _)) => *id,
        None if plan.creates => {
            let by_id = call.version >= TOPIC_IDS_FROM;
            let told = plan.parts.iter().zip(&answers);
            let told = told.map(|((key, want), answer)| (key.clone(), *want, answer));
            ctx.sessions.create(call.tenant.id(), by_id, told.collect())
        }
        None => 0,
    };
    let mut session = plan.session.as_ref().map(|(_, s)| s.lock());
    let mut answer = FetchAnswer {
        session_id,
        ..Default::default()
    };
    let mut last: Option<TopicKey> = None;
    for ((key, _), partition) in plan.parts.into_iter().zip(answers) {
        if let Some(session) = &mut session
            && !session.tell(&key, &partition)
        {
            continue;
        }
        if partition.leader.is_some() && answer.endpoints.is_empty() {
            answer.endpoints.push(endpoint(ctx));
        }
        match answer.topics.last_mut() {
            Some(topic) if last.as_ref() == Some(&key.0) => topic.partitions.push(partition),
            Some(_) | None => answer.topics.push(topic_of(&key.0, partition)),
        }
        last = Some(key.0);
    }
    answer
}

fn topic_of(key: &TopicKey, first: FetchedPartition) -> FetchedTopic {
    FetchedTopic {
        name: match key {
            TopicKey::Name(name) => name.to_string().into(),
            TopicKey::Id(_) => KafkaString::from_static(""),
        },
        id: key.id(),
        partitions: vec![first],
    }
}

fn endpoint(ctx: &Ctx) -> Endpoint {
    Endpoint {
        node_id: ctx.cluster.node_id,
        host: ctx.cluster.host.clone().into(),
        port: i32::from(ctx.cluster.port),
    }
}

/// An error for the whole request; versions without a place for it get it per partition.
fn refused(call: &Call, mut request: FetchRequestData, error: ErrorCode) -> FetchAnswer {
    if call.version >= 7 {
        return FetchAnswer {
            error_code: error.kafka(),
            ..Default::default()
        };
    }
    let parts = changes(call, &mut request).set.into_iter();
    let topics = parts.map(|((key, index), _)| topic_of(&key, failed(index, error)));
    FetchAnswer {
        topics: topics.collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tidemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};

    use super::*;
    use crate::handlers::data_path::{batch, produced, topic};
    use crate::testing;

    fn request(session: (i32, i32)) -> FetchRequestData {
        FetchRequestData {
            max_wait_ms: 10,
            session_id: session.0,
            session_epoch: session.1,
            topics: vec![FetchTopic {
                topic: KafkaString::from_static("bad name!"),
                partitions: vec![FetchPartition::default(), FetchPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_of_bad_topics_fail_alone_and_without_a_wait() {
        let ctx = testing::ctx().await;
        for version in 4..=12 {
            let answer = testing::call(&ctx, &request((0, -1)), version).await;
            assert_eq!((answer.error_code, answer.session_id), (0, 0));
            let parts = &answer.responses[0].partitions;
            assert!(parts.iter().all(|p| p.error_code == 3) && parts.len() == 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_do_not_exist_are_named_so() {
        let ctx = testing::ctx().await;
        for version in 7..=12 {
            let answer = testing::call(&ctx, &request((5, 1)), version).await;
            assert_eq!((answer.error_code, answer.session_id), (70, 0));
            assert!(answer.responses.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_carries_its_partitions_on() {
        let ctx = testing::ctx().await;
        let first = testing::call(&ctx, &request((0, 0)), 12).await;
        assert_ne!(first.session_id, 0);
        let mut next = request((first.session_id, 1));
        next.topics.clear();
        let second = testing::call(&ctx, &next, 12).await;
        assert_eq!(second.session_id, first.session_id);
        // Errors are told again and again; two entries of one partition are one in a session.
        assert_eq!(second.responses[0].partitions.len(), 1);
        let stale = testing::call(&ctx, &next, 12).await;
        assert_eq!(stale.error_code, 71);
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_and_unknown_isolation_are_refused() {
        let ctx = testing::ctx().await;
        let replica = FetchRequestData {
            replica_id: 3,
            ..request((0, -1))
        };
        let odd = FetchRequestData {
            isolation_level: 9,
            ..request((0, -1))
        };
        assert_eq!(testing::call(&ctx, &replica, 12).await.error_code, 31);
        assert_eq!(testing::call(&ctx, &odd, 12).await.error_code, 42);
        let old = testing::call(&ctx, &odd, 4).await;
        assert_eq!(old.responses[0].partitions[0].error_code, 42);
    }

    #[tokio::test(start_paused = true)]
    async fn aborted_transactions_are_listed_for_read_committed_only() {
        let ctx = testing::ctx().await;
        let t = topic(&ctx, "t").await;
        produced(&ctx, &t.produce(9, Some(batch(b"x"))), 9).await;
        for version in 4..=18 {
            let mut request = t.fetch(version, 0, (0, -1));
            for (isolation_level, expected) in [(0, None), (1, Some(0))] {
                request.isolation_level = isolation_level;
                let answer = testing::call(&ctx, &request, version).await;
                let listed = &answer.responses[0].partitions[0].aborted_transactions;
                // None were aborted; `null` says that nobody asked.
                assert_eq!(listed.as_ref().map(Vec::len), expected);
            }
        }
    }
}
