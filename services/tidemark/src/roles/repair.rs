//! The operator's steps when a write-ahead log is damaged below what was acked (J10), and when a shard's state object is lost.

use std::time::Duration;

use tidemark_lease::UncleanSealed;
use tidemark_log::audit_state;
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_meta::{Mode, keys};
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_types::ShardId;

use super::{StartError, objects, parts};
use crate::config::Settings;

/// Seals a stopped service's shard at the end of what its log node can vouch for. What lies beyond is lost, recorded in
/// the extents' rows and returned; the leader epoch rises with the shard's epoch.
///
/// # Errors
/// When the folder is in use or the shard needs no such thing.
pub async fn unclean_seal(
    settings: &Settings,
    shard: ShardId,
) -> Result<UncleanSealed, StartError> {
    let tasks = Tasks::new();
    let ambient = (Clock::system(), Entropy::system());
    let base = parts::open_metadata(settings, &ambient, &tasks).await?;
    let node = parts::open_log_node(settings, (&base.clock, &base.entropy), &tasks).await?;
    let leases = parts::open_leases(&base, &node, &tasks).await?;
    let sealed = leases.unclean_seal(shard).await.map_err(StartError::of);
    node.close().await;
    tasks
        .shutdown(Duration::from_secs(10))
        .await
        .map_err(StartError::of)?;
    sealed
}

/// A state object that was given up.
#[derive(Debug)]
pub struct StateGivenUp {
    /// What named it.
    pub row: StateRow,
    /// What is wrong with it.
    pub why: String,
}

/// Has a stopped service's shard go on without its state object, which cannot be read. One that can be is never given up.
///
/// # Errors
/// When the folder is in use, the object store does not answer, or there is nothing to give up.
pub async fn give_up_state(
    settings: &Settings,
    shard: ShardId,
) -> Result<StateGivenUp, StartError> {
    let tasks = Tasks::new();
    let ambient = (Clock::system(), Entropy::system());
    let base = parts::open_metadata(settings, &ambient, &tasks).await?;
    let mut tx = base.store.begin();
    let stored = keys::get(tx.as_mut(), &StateKey(shard), Mode::Serializable).await;
    drop(tx);
    let Some(row) = stored.map_err(StartError::of)? else {
        let why = format!("shard {shard} has no state object: there is nothing to give up");
        return Err(StartError::of(why));
    };
    let objects = objects::open(settings, (&base.clock, &base.entropy), &tasks).await?;
    let wrong = audit_state(objects.store.as_ref(), &row).await;
    let Some(why) = wrong.map_err(StartError::of)? else {
        let object = row.object;
        let why = format!("the state object {object} is there and whole: it is not given up");
        return Err(StartError::of(why));
    };
    let node = parts::open_log_node(settings, (&base.clock, &base.entropy), &tasks).await?;
    let leases = parts::open_leases(&base, &node, &tasks).await?;
    let grace_ms = i64::try_from(settings.cold.grace.0.as_millis()).unwrap_or(i64::MAX);
    let not_before_ms = base.clock.wall_ms().saturating_add(grace_ms);
    let given_up = leases.give_up_state(shard, row, not_before_ms).await;
    node.close().await;
    tasks
        .shutdown(Duration::from_secs(10))
        .await
        .map_err(StartError::of)?;
    given_up.map_err(StartError::of)?;
    Ok(StateGivenUp { row, why })
}
