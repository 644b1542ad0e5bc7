//! Who coordinates: the owner of the shard that a group hashes to. Coordinators have no leases of their own.

use std::fmt;
use std::sync::Arc;

use tidemark_log::Log;
use tidemark_types::{Ownership, ShardId, Tenant};

use crate::GroupError;

/// How a shard stands with this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Owned and SERVING.
    Serving(Ownership),
    /// Owned, still recovering: clients wait.
    Recovering,
    /// Owned by another node, or by none: clients find the coordinator again.
    Elsewhere,
}

type ShardOf = dyn Fn(&Tenant, &str) -> ShardId + Send + Sync;
type StandingOf = dyn Fn(ShardId) -> Standing + Send + Sync;

/// Answers which shard a group belongs to and how that shard stands. Cheap to clone.
#[derive(Clone)]
pub struct Owners {
    shard_of: Arc<ShardOf>,
    standing: Arc<StandingOf>,
}

impl Owners {
    /// The log's answers: a shard that nobody is known to serve is one this process still recovers.
    #[must_use]
    pub fn of_log(log: &Log) -> Self {
        let (hashes, table) = (log.clone(), log.clone());
        Self::new(
            move |tenant, group| hashes.shard_of_group(tenant, group),
            move |shard| match (table.ownership(shard), table.owner(shard)) {
                (Some(ownership), _) => Standing::Serving(ownership),
                (None, None) => Standing::Recovering,
                (None, Some(_)) => Standing::Elsewhere,
            },
        )
    }

    /// From two answers: the shard of a group, and how a shard stands.
    pub fn new(
        shard_of: impl Fn(&Tenant, &str) -> ShardId + Send + Sync + 'static,
        standing: impl Fn(ShardId) -> Standing + Send + Sync + 'static,
    ) -> Self {
        Self {
            shard_of: Arc::new(shard_of),
            standing: Arc::new(standing),
        }
    }

    /// The group's shard as this node owns it.
    ///
    /// # Errors
    /// [`GroupError::Loading`] or [`GroupError::NotCoordinator`] while it is not SERVING here.
    pub fn ownership(&self, tenant: &Tenant, group: &str) -> Result<Ownership, GroupError> {
        match (self.standing)((self.shard_of)(tenant, group)) {
            Standing::Serving(ownership) => Ok(ownership),
            Standing::Recovering => Err(GroupError::Loading),
            Standing::Elsewhere => Err(GroupError::NotCoordinator),
        }
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owners")
    }
}
