//! The coordinator's front: finds the group's owner, then its actor.

use std::fmt;
use std::sync::Arc;

use tidemark_meta::MetaStore;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::Tenant;

use crate::api::*;
use crate::{GroupError, GroupsConfig, Owners};

/// The group coordinator of this node. Cheap to clone.
#[derive(Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    owners: Owners,
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Groups")
    }
}

impl Groups {
    /// A coordinator for the groups whose shards this node owns.
    #[must_use]
    pub fn new(
        owners: Owners,
        store: Arc<dyn MetaStore>,
        config: GroupsConfig,
        clock: Clock,
        entropy: Entropy,
        tasks: &Tasks,
    ) -> Self {
        let _ = (store, config, clock, entropy, tasks);
        Self(Arc::new(Inner { owners }))
    }

    /// Joins the group's next generation; answers when all its members have joined or had their time.
    ///
    /// # Errors
    /// [`GroupError`], among them `MemberIdRequired` with the id to come back with.
    pub async fn join(&self, tenant: &Tenant, request: JoinRequest) -> Result<Joined, GroupError> {
        self.not_yet(tenant, &request.group)
    }

    /// Brings (as leader) and awaits the generation's assignment.
    ///
    /// # Errors
    /// [`GroupError`].
    pub async fn sync(&self, tenant: &Tenant, request: SyncRequest) -> Result<Synced, GroupError> {
        self.not_yet(tenant, &request.group)
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
        self.not_yet(tenant, &request.group)
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
        let _ = members;
        self.not_yet(tenant, group)
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
        self.not_yet(tenant, &request.group)
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
        let _ = which;
        self.not_yet(tenant, group)
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
        let _ = partitions;
        self.not_yet(tenant, group)
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
        self.not_yet(tenant, group)
    }

    /// Every group of the tenant that this node coordinates, in name order.
    ///
    /// # Errors
    /// [`GroupError::NotAvailable`] when the store cannot be read.
    pub async fn list(&self, tenant: &Tenant) -> Result<Vec<GroupListing>, GroupError> {
        let _ = tenant;
        Err(GroupError::NotAvailable("not started".to_owned()))
    }

    /// Deletes a group without members, with its offsets.
    ///
    /// # Errors
    /// [`GroupError::NonEmpty`], [`GroupError::NotFound`] and the coordinator's.
    pub async fn delete(&self, tenant: &Tenant, group: &str) -> Result<(), GroupError> {
        self.not_yet(tenant, group)
    }

    fn not_yet<T>(&self, tenant: &Tenant, group: &str) -> Result<T, GroupError> {
        self.0.owners.ownership(tenant, group)?;
        Err(GroupError::NotAvailable("not started".to_owned()))
    }
}
