//! A coordinator over a store in memory, for the group handlers' tests.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_groups::{Groups, GroupsConfig, OffsetSelection, Owners, Standing};
use tidemark_meta::keys::shard::{ShardKey, ShardRow, ShardState};
use tidemark_meta::sim::Sim;
use tidemark_meta::{MetaStore, keys};
use tidemark_runtime::{Entropy, Tasks};
use tidemark_topics::{NewTopic, Topic, TopicRef, Topics};
use tidemark_types::{
    Epoch, Incarnation, NodeId, OwnerId, Ownership, PartitionIndex, ShardId, Tenant,
};
use tidemark_wire::messages::{
    JoinGroupRequestData, JoinGroupRequestProtocol, JoinGroupResponseData, OffsetCommitRequestData,
    OffsetCommitRequestPartition, OffsetCommitRequestTopic, SyncGroupRequestAssignment,
    SyncGroupRequestData,
};
use tidemark_wire::{KafkaString, KafkaUuid};

use super::group::TOPIC_IDS;
use crate::Ctx;
use crate::testing::call;

pub(super) const GROUP: &str = "billing";
const SHARD: ShardId = ShardId(0);
const TENANT: Tenant = Tenant::default_without_auth();

/// A context whose groups are coordinated here.
pub(super) async fn ctx() -> Arc<Ctx> {
    let mut ctx = Ctx::clone(&*crate::testing::ctx().await);
    let entropy = Entropy::seeded(1);
    let store = Sim::new(&ctx.clock);
    let owner = OwnerId {
        node: NodeId(1),
        incarnation: Incarnation(1),
        nonce: 1,
    };
    let row = ShardRow {
        epoch: Epoch(1),
        owner: Some(owner),
        state: ShardState::Serving,
        newest: None,
    };
    let mut tx = store.begin();
    keys::put(tx.as_mut(), &ShardKey(SHARD), &row);
    tx.commit().await.expect("the store takes a row");
    let store: Arc<dyn MetaStore> = Arc::new(store);
    ctx.topics = Topics::new(Arc::clone(&store), ctx.clock.clone(), entropy.clone(), 4);
    let owned = Ownership {
        shard: SHARD,
        epoch: Epoch(1),
        owner,
    };
    ctx.groups = Groups::new(
        Owners::new(|_, _| SHARD, move |_| Standing::Serving(owned)),
        store,
        ctx.topics.clone(),
        GroupsConfig::default(),
        ctx.clock.clone(),
        entropy,
        &Tasks::new(),
    );
    Arc::new(ctx)
}

/// A join of a consumer.
pub(super) fn join(member: &'static str) -> JoinGroupRequestData {
    JoinGroupRequestData {
        group_id: KafkaString::from_static(GROUP),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: KafkaString::from_static(member),
        protocol_type: KafkaString::from_static("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: KafkaString::from_static("range"),
            metadata: Bytes::from_static(b"subscription"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A member of the group's next generation, with its id given out first where the version wants that.
pub(super) async fn joined(ctx: &Arc<Ctx>, version: i16) -> JoinGroupResponseData {
    let mut request = join("");
    if version >= 4 {
        request.member_id = call(ctx, &request, version).await.member_id;
    }
    let joined = call(ctx, &request, version).await;
    assert_eq!(joined.error_code, 0);
    joined
}

/// A leader's sync that assigns to itself.
pub(super) fn sync(member: &JoinGroupResponseData, mine: &'static str) -> SyncGroupRequestData {
    SyncGroupRequestData {
        group_id: KafkaString::from_static(GROUP),
        generation_id: member.generation_id,
        member_id: member.member_id.clone(),
        protocol_type: Some(KafkaString::from_static("consumer")),
        protocol_name: Some(KafkaString::from_static("range")),
        assignments: vec![SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: Bytes::from_static(mine.as_bytes()),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A consumer's subscription to one topic.
pub(super) fn subscription(topic: &str) -> Bytes {
    let mut raw = BytesMut::new();
    raw.put_i16(1);
    raw.put_i32(1);
    raw.put_i16(i16::try_from(topic.len()).expect("short"));
    raw.put_slice(topic.as_bytes());
    raw.put_i32(-1);
    raw.freeze()
}

pub(super) async fn create_topic(ctx: &Arc<Ctx>, name: &str) -> Arc<Topic> {
    let new = NewTopic {
        name: name.to_owned(),
        partitions: Some(2),
        ..NewTopic::default()
    };
    ctx.topics
        .create(&TENANT, new)
        .await
        .expect("the topic is new")
}

pub(super) async fn delete_topic(ctx: &Arc<Ctx>, name: &str) {
    let deleted = ctx.topics.delete(&TENANT, TopicRef::Name(name)).await;
    deleted.expect("the topic exists");
}

/// A commit of `offset` for partition 0, from outside the group protocol.
pub(super) fn commit(topic: &Topic, version: i16, offset: i64) -> OffsetCommitRequestData {
    let by_id = version >= TOPIC_IDS;
    OffsetCommitRequestData {
        group_id: KafkaString::from_static(GROUP),
        generation_id_or_member_epoch: -1,
        retention_time_ms: -1,
        topics: vec![OffsetCommitRequestTopic {
            name: if by_id {
                KafkaString::default()
            } else {
                topic.name.clone().into()
            },
            topic_id: if by_id {
                crate::resolve::wire_id(topic.uuid)
            } else {
                KafkaUuid::ZERO
            },
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                committed_leader_epoch: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// The offset stored for partition 0; −1 for none.
pub(super) async fn fetched(ctx: &Arc<Ctx>, topic: &Topic) -> i64 {
    let which = OffsetSelection::Partitions(vec![(topic.id, PartitionIndex(0))]);
    let fetched = ctx.groups.fetch_offsets(&TENANT, GROUP, which).await;
    let one = fetched.expect("the coordinator serves").remove(0);
    one.committed.map_or(-1, |c| c.offset.0)
}
