//! The operator's step when a write-ahead log is damaged below what was acked (J10).

use std::time::Duration;

use tidemark_lease::UncleanSealed;
use tidemark_runtime::Tasks;
use tidemark_types::ShardId;

use super::{StartError, parts};
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
    let base = parts::open_metadata(settings, &tasks).await?;
    let node = parts::open_log_node(settings, &base, &tasks).await?;
    let leases = parts::open_leases(&base, &node, &tasks).await?;
    let sealed = leases.unclean_seal(shard).await.map_err(StartError::of);
    node.close().await;
    tasks
        .shutdown(Duration::from_secs(10))
        .await
        .map_err(StartError::of)?;
    sealed
}
