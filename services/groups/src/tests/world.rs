//! One store, coordinators that come and go, and outcomes that get lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_meta::keys::shard::{ShardKey, ShardRow, ShardState};
use tidemark_meta::keys::{self};
use tidemark_meta::sim::Sim;
use tidemark_meta::{Committed, Decorate, Decorated, MetaError, MetaStore, Transaction};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::Topics;
use tidemark_types::{
    Epoch, Incarnation, LeaderEpoch, NodeId, Offset, OwnerId, Ownership, PartitionIndex, ShardId,
    Tenant, TopicId,
};

use crate::*;

pub(super) const GROUP: &str = "billing";
const SHARD: ShardId = ShardId(3);

/// What becomes of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It happens, and nobody is told.
    LostReply,
    /// It does not happen, and nobody is told.
    LostRequest,
    /// It is refused because of a conflict.
    Conflict,
}

/// A store whose next commits have a fate.
#[derive(Clone, Debug)]
pub(super) struct Fateful {
    inner: Sim,
    fates: Arc<Mutex<VecDeque<Fate>>>,
}

impl MetaStore for Fateful {
    fn begin(&self) -> Box<dyn Transaction> {
        Decorated::boxed(self.inner.begin(), Fated(Arc::clone(&self.fates)))
    }
}

/// A transaction that takes the next fate when it writes.
struct Fated(Arc<Mutex<VecDeque<Fate>>>);

#[async_trait]
impl Decorate for Fated {
    async fn commit(
        self,
        inner: Box<dyn Transaction>,
        writes: bool,
    ) -> Result<Committed, MetaError> {
        let fate = if writes {
            self.0.lock().pop_front()
        } else {
            None
        };
        match fate {
            None => inner.commit().await,
            Some(Fate::Conflict) => Err(MetaError::Conflict),
            Some(Fate::LostRequest) => Err(MetaError::MaybeCommitted),
            Some(Fate::LostReply) => {
                inner.commit().await?;
                Err(MetaError::MaybeCommitted)
            }
        }
    }
}

/// A store and the coordinator of the day.
pub(super) struct World {
    pub(super) store: Fateful,
    pub(super) clock: Clock,
    entropy: Entropy,
    tasks: Tasks,
    epoch: u64,
    config: GroupsConfig,
    pub(super) groups: Groups,
}

pub(super) const TENANT: Tenant = Tenant::default_without_auth();

impl World {
    pub(super) async fn new() -> Self {
        Self::with(GroupsConfig::default()).await
    }

    pub(super) async fn with(config: GroupsConfig) -> Self {
        let clock = Clock::simulated(1_700_000_000_000);
        let store = Fateful {
            inner: Sim::new(&clock),
            fates: Arc::default(),
        };
        let tasks = Tasks::new();
        let entropy = Entropy::seeded(7);
        let groups = coordinator(&store, &clock, &entropy, &tasks, config, Epoch(0));
        let mut world = Self {
            store,
            clock,
            entropy,
            tasks,
            epoch: 0,
            config,
            groups,
        };
        world.take_over().await;
        world
    }

    /// Another process takes the shard; the coordinator until now is not told. It is handed back.
    pub(super) async fn take_over(&mut self) -> Groups {
        self.epoch += 1;
        let ownership = ownership(Epoch(self.epoch));
        let mut tx = self.store.inner.begin();
        let row = ShardRow {
            epoch: ownership.epoch,
            owner: Some(ownership.owner),
            state: ShardState::Serving,
            newest: None,
        };
        keys::put(tx.as_mut(), &ShardKey(SHARD), &row);
        tx.commit().await.unwrap();
        let (clock, entropy) = (&self.clock, &self.entropy);
        let epoch = ownership.epoch;
        let next = coordinator(&self.store, clock, entropy, &self.tasks, self.config, epoch);
        std::mem::replace(&mut self.groups, next)
    }

    pub(super) fn fate(&self, fates: impl IntoIterator<Item = Fate>) {
        self.store.fates.lock().extend(fates);
    }

    /// The topics as the coordinator sees them.
    pub(super) fn topics(&self) -> Topics {
        let store: Arc<dyn MetaStore> = Arc::new(self.store.clone());
        Topics::new(store, self.clock.clone(), self.entropy.clone(), 4)
    }

    pub(super) async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Starts a join and gives its outcome to come.
    pub(super) fn joining(&self, request: JoinRequest) -> tokio::task::JoinHandle<Outcome> {
        let groups = self.groups.clone();
        spawn(async move { groups.join(&TENANT, request).await })
    }

    /// Joins new members, and syncs them in turn with assignments named after them.
    pub(super) async fn assemble(&self, instances: &[Option<&str>]) -> Vec<Joined> {
        let joins: Vec<_> = instances
            .iter()
            .map(|instance| self.joining(join("", *instance, "a")))
            .collect();
        let mut joined = Vec::new();
        for join in joins {
            joined.push(join.await.unwrap().unwrap());
        }
        self.settle(&joined).await;
        joined
    }

    /// Syncs a generation, the leader first.
    pub(super) async fn settle(&self, joined: &[Joined]) {
        let leader = joined.iter().find(|j| j.leader == j.member_id).unwrap();
        let all = leader.members.iter();
        let assignments: Vec<_> = all
            .map(|m| (m.member_id.clone(), Bytes::from(m.member_id.clone())))
            .collect();
        let mut request = sync(leader);
        request.assignments = assignments;
        self.groups.sync(&TENANT, request).await.unwrap();
        for member in joined {
            let synced = self.groups.sync(&TENANT, sync(member)).await.unwrap();
            assert_eq!(synced.assignment, member.member_id.as_bytes());
        }
    }

    pub(super) async fn heartbeat(&self, member: &Joined) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group: GROUP.to_owned(),
            member_id: member.member_id.clone(),
            instance_id: None,
            generation: member.generation,
        };
        self.groups.heartbeat(&TENANT, request).await
    }

    pub(super) async fn committed(&self, partition: i32) -> Option<i64> {
        let which = OffsetSelection::Partitions(vec![(TopicId(9), PartitionIndex(partition))]);
        let fetched = self.groups.fetch_offsets(&TENANT, GROUP, which).await;
        let one = fetched.unwrap().remove(0);
        one.committed.map(|c| c.offset.0)
    }
}

pub(super) type Outcome = Result<Joined, GroupError>;

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own tasks need no supervisor"
)]
pub(super) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}

fn ownership(epoch: Epoch) -> Ownership {
    let owner = OwnerId {
        node: NodeId(1),
        incarnation: Incarnation(epoch.0),
        nonce: epoch.0,
    };
    Ownership {
        shard: SHARD,
        epoch,
        owner,
    }
}

fn coordinator(
    store: &Fateful,
    clock: &Clock,
    entropy: &Entropy,
    tasks: &Tasks,
    config: GroupsConfig,
    epoch: Epoch,
) -> Groups {
    let owned = ownership(epoch);
    let owners = Owners::new(|_, _| SHARD, move |_| Standing::Serving(owned));
    let store: Arc<dyn MetaStore> = Arc::new(store.clone());
    let topics = Topics::new(Arc::clone(&store), clock.clone(), entropy.clone(), 4);
    Groups::new(
        owners,
        store,
        topics,
        config,
        clock.clone(),
        entropy.clone(),
        tasks,
    )
}

pub(super) fn join(member: &str, instance: Option<&str>, metadata: &'static str) -> JoinRequest {
    JoinRequest {
        group: GROUP.to_owned(),
        member_id: member.to_owned(),
        instance_id: instance.map(str::to_owned),
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(metadata.as_bytes()),
        }],
        requires_known_member_id: false,
        can_skip_assignment: true,
        reason: None,
    }
}

pub(super) fn sync(member: &Joined) -> SyncRequest {
    SyncRequest {
        group: GROUP.to_owned(),
        member_id: member.member_id.clone(),
        instance_id: None,
        generation: member.generation,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some(member.protocol.clone()),
        assignments: Vec::new(),
    }
}

/// A commit of `offset` for partitions of topic 9.
pub(super) fn commit(member: Option<&Joined>, partitions: &[i32], offset: i64) -> CommitRequest {
    let one = |p: &i32| OffsetToCommit {
        topic: TopicId(9),
        partition: PartitionIndex(*p),
        committed: CommittedOffset {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(-1),
            metadata: String::new(),
        },
    };
    CommitRequest {
        group: GROUP.to_owned(),
        member_id: member.map(|m| m.member_id.clone()).unwrap_or_default(),
        instance_id: None,
        generation: member.map_or(-1, |m| m.generation),
        retention: None,
        offsets: partitions.iter().map(one).collect(),
    }
}
