//! The coordinator's front: finds the group's owner, then its actor.

mod sweep;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_meta::MetaStore;
use tidemark_meta::keys::group::GroupOffset;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::Topics;
use tidemark_types::limits::NAME_BYTES_MAX;
use tidemark_types::{LeaderEpoch, Offset, Ownership, Tenant, TenantId};
use tokio::sync::{mpsc, oneshot};

use crate::actor::{Actor, Answer, EVENTS_MAX, Event, Shown, Surroundings};
use crate::api::*;
use crate::store::{GroupStore, Home};
use crate::{GroupError, GroupsConfig, Owners};

/// The first sweep comes soon: members that died with the last coordinator must expire.
const FIRST_SWEEP: Duration = Duration::from_secs(10);

/// The group coordinator of this node. Cheap to clone.
#[derive(Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    owners: Owners,
    around: Arc<Surroundings>,
    tasks: Tasks,
    actors: Mutex<Actors>,
}

#[derive(Default)]
struct Actors {
    started: u64,
    running: BTreeMap<(TenantId, String), Running>,
}

/// An actor from outside.
struct Running {
    id: u64,
    ownership: Ownership,
    events: mpsc::Sender<Event>,
    shown: Shown,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Groups")
    }
}

impl Groups {
    /// A coordinator for the groups whose shards this node owns. Call inside a tokio runtime.
    #[must_use]
    pub fn new(
        owners: Owners,
        store: Arc<dyn MetaStore>,
        topics: Topics,
        config: GroupsConfig,
        clock: Clock,
        entropy: Entropy,
        tasks: &Tasks,
    ) -> Self {
        let store = GroupStore {
            store,
            clock: clock.clone(),
            entropy: entropy.clone(),
            groups_per_tenant_max: config.groups_per_tenant_max,
        };
        let around = Arc::new(Surroundings {
            store,
            topics,
            config,
            origin: clock.now(),
            clock,
            entropy,
            stopping: tasks.token(),
        });
        let groups = Self(Arc::new(Inner {
            owners,
            around,
            tasks: tasks.clone(),
            actors: Mutex::default(),
        }));
        tasks.spawn("groups sweep", groups.clone().sweep_for_ever());
        groups
    }

    /// Joins the group's next generation; answers when all its members have joined or had their time.
    ///
    /// # Errors
    /// [`GroupError`], among them `MemberIdRequired` with the id to come back with.
    pub async fn join(&self, tenant: &Tenant, request: JoinRequest) -> Result<Joined, GroupError> {
        let group = named(&request.group)?.to_owned();
        self.ask(tenant, &group, |answer| Event::Join(request, answer))
            .await
    }

    /// Brings (as leader) and awaits the generation's assignment.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn sync(&self, tenant: &Tenant, request: SyncRequest) -> Result<Synced, GroupError> {
        let group = named(&request.group)?.to_owned();
        self.ask(tenant, &group, |answer| Event::Sync(request, answer))
            .await
    }

    /// Keeps a member's session alive.
    ///
    /// # Errors
    /// [`GroupError`]; `RebalanceInProgress` asks the member to rejoin.
    pub async fn heartbeat(
        &self,
        tenant: &Tenant,
        request: HeartbeatRequest,
    ) -> Result<(), GroupError> {
        let group = named(&request.group)?.to_owned();
        self.ask(tenant, &group, |answer| Event::Heartbeat(request, answer))
            .await
    }

    /// Removes members; one [`Left`] for each, in order.
    ///
    /// # Errors
    /// [`GroupError`] when none could be looked at.
    pub async fn leave(
        &self,
        tenant: &Tenant,
        group: &str,
        members: Vec<Leaving>,
    ) -> Result<Vec<Left>, GroupError> {
        named(group)?;
        self.ask(tenant, group, |answer| Event::Leave(members, answer))
            .await
    }

    /// Commits offsets; one outcome for each partition, in order. Answers when they are stored.
    ///
    /// # Errors
    /// [`GroupError`] when the member may not commit at all.
    pub async fn commit_offsets(
        &self,
        tenant: &Tenant,
        request: CommitRequest,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        let group = request.group.clone();
        self.ask(tenant, &group, |answer| Event::Commit(request, answer))
            .await
    }

    /// Committed offsets, read from the store (K7). A group that does not exist has none.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn fetch_offsets(
        &self,
        tenant: &Tenant,
        group: &str,
        which: OffsetSelection,
    ) -> Result<Vec<FetchedOffset>, GroupError> {
        let home = Arc::new(self.home(tenant, group)?);
        let store = &self.0.around.store;
        match which {
            OffsetSelection::All => {
                let all = store.all_offsets(&home).await?;
                let one = |(key, offset): (tidemark_meta::keys::group::GroupOffsetKey, _)| {
                    FetchedOffset {
                        topic: key.topic,
                        partition: key.partition,
                        committed: Some(committed(offset)),
                    }
                };
                Ok(all.into_iter().map(one).collect())
            }
            OffsetSelection::Partitions(partitions) => {
                let found = store.offsets(&home, partitions.clone()).await?;
                let pairs = partitions.into_iter().zip(found);
                Ok(pairs
                    .map(|((topic, partition), offset)| FetchedOffset {
                        topic,
                        partition,
                        committed: offset.map(committed),
                    })
                    .collect())
            }
        }
    }

    /// Deletes offsets of topics that no member subscribes to; one outcome for each, in order.
    ///
    /// # Errors
    /// [`GroupError`] when the group does not exist or has members that are no consumers.
    pub async fn delete_offsets(
        &self,
        tenant: &Tenant,
        group: &str,
        partitions: Vec<OffsetToDelete>,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        self.ask(tenant, group, |answer| {
            Event::DeleteOffsets(partitions, answer)
        })
        .await
    }

    /// Describes a group.
    ///
    /// # Errors
    /// [`GroupError::NotFound`] and the coordinator's.
    pub async fn describe(
        &self,
        tenant: &Tenant,
        group: &str,
    ) -> Result<GroupDescription, GroupError> {
        self.ask(tenant, group, Event::Describe).await
    }

    /// Every group of the tenant that this node coordinates, in name order.
    ///
    /// # Errors
    /// [`GroupError::NotAvailable`] when the store cannot be read.
    pub async fn list(&self, tenant: &Tenant) -> Result<Vec<GroupListing>, GroupError> {
        let mut listed = BTreeMap::new();
        for (key, row) in self.0.around.store.groups(tenant.id()).await? {
            let state = if row.members > 0 {
                GroupState::Stable
            } else {
                GroupState::Empty
            };
            listed.insert(key.group, (state, row.protocol_type.unwrap_or_default()));
        }
        for ((of, group), actor) in &self.0.actors.lock().running {
            if let Some(shown) = actor.shown.lock().clone().filter(|_| *of == tenant.id()) {
                listed.insert(group.clone(), shown);
            }
        }
        let ours = listed
            .into_iter()
            .filter(|(group, _)| self.0.owners.ownership(tenant, group).is_ok());
        Ok(ours
            .map(|(group, (state, protocol_type))| GroupListing {
                group,
                state,
                protocol_type,
            })
            .collect())
    }

    /// Deletes a group without members, with its offsets.
    ///
    /// # Errors
    /// [`GroupError::NonEmpty`], [`GroupError::NotFound`] and the coordinator's.
    pub async fn delete(&self, tenant: &Tenant, group: &str) -> Result<(), GroupError> {
        self.ask(tenant, group, Event::Delete).await
    }

    /// Whether this node coordinates the group now.
    ///
    /// # Errors
    /// [`GroupError::Loading`], [`GroupError::NotCoordinator`] or [`GroupError::InvalidGroupId`].
    pub fn check_coordinator(&self, tenant: &Tenant, group: &str) -> Result<(), GroupError> {
        self.home(tenant, group).map(drop)
    }

    fn home(&self, tenant: &Tenant, group: &str) -> Result<Home, GroupError> {
        if group.len() > NAME_BYTES_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        Ok(Home {
            tenant: tenant.id(),
            group: group.to_owned(),
            ownership: self.0.owners.ownership(tenant, group)?,
        })
    }

    async fn ask<T>(
        &self,
        tenant: &Tenant,
        group: &str,
        event: impl FnOnce(Answer<T>) -> Event,
    ) -> Result<T, GroupError> {
        let home = self.home(tenant, group)?;
        let (answer, answered) = oneshot::channel();
        self.send(home, event(answer))?;
        let gone = || GroupError::NotAvailable("its coordinator stopped".to_owned());
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Hands an event to the group's actor, which is started if need be. Actors end only under the same lock,
    /// so an event that was taken is seen.
    fn send(&self, home: Home, event: Event) -> Result<(), GroupError> {
        let mut actors = self.0.actors.lock();
        let key = (home.tenant, home.group.clone());
        let current = actors.running.get(&key);
        // An actor of an older ownership ends when its channel closes.
        if !current.is_some_and(|a| a.ownership == home.ownership && !a.events.is_closed()) {
            let running = self.start(&mut actors.started, home);
            actors.running.insert(key.clone(), running);
        }
        let sent = actors.running[&key].events.try_send(event);
        sent.map_err(|_| GroupError::NotAvailable("too many requests wait for it".to_owned()))
    }

    fn start(&self, started: &mut u64, home: Home) -> Running {
        *started += 1;
        let id = *started;
        let ownership = home.ownership;
        let key = (home.tenant, home.group.clone());
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let shown = Shown::default();
        let name = format!("group {}", home.group);
        let around = Arc::clone(&self.0.around);
        let actor = Actor::new(around, home, receiver, Arc::clone(&shown));
        let groups = self.clone();
        self.0.tasks.spawn(name, async move {
            let may_end = |events: &mpsc::Receiver<Event>| {
                let mut actors = groups.0.actors.lock();
                let ends = events.is_empty();
                if ends && actors.running.get(&key).is_some_and(|a| a.id == id) {
                    actors.running.remove(&key);
                }
                ends
            };
            actor.run(may_end).await;
        });
        Running {
            id,
            ownership,
            events,
            shown,
        }
    }
}

fn named(group: &str) -> Result<&str, GroupError> {
    if group.is_empty() {
        Err(GroupError::InvalidGroupId)
    } else {
        Ok(group)
    }
}

fn committed(stored: GroupOffset) -> CommittedOffset {
    CommittedOffset {
        offset: Offset(stored.offset),
        leader_epoch: LeaderEpoch(stored.leader_epoch),
        metadata: stored.metadata,
    }
}
