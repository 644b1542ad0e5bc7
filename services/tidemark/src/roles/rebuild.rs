//! Starting where the write-ahead log's disk is gone: refused, unless the operator says to go on with the object store.
//!
//! # Consistency
//! A wiped disk is a new log node, so what the metadata names and this folder is not is gone, unless some other process is that
//! node: with the embedded store there is none, since its folder is locked; otherwise a node counts as gone when its
//! heartbeat stands still for a lease's time.
//!
//! # Crash consistency
//! Nothing is created before the refusal. With consent, shard by shard; whichever are left are found again by the next start.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tidemark_lease::{GoneShard, LeaseConfig, Leases, find_gone, silent_nodes};
use tidemark_lognode::LogNode;
use tidemark_meta::keys;
use tidemark_meta::keys::partition::{PartitionKey, ShardPartitionKey};
use tidemark_meta::keys::schema::LayoutKey;
use tidemark_meta::keys::topic::TopicKey;
use tidemark_meta::{MetaError, MetaStore, Mode};
use tidemark_runtime::Tasks;
use tidemark_types::{Lsn, NodeId, PartitionId};

use super::StartError;
use super::parts::Base;
use crate::config::{BlobEngine, MetaEngine, Settings};

/// Shards, and partitions, that a message names.
const NAMED_MAX: usize = 20;
/// Keys read in one transaction.
const PAGE: usize = 1_000;

/// The write-ahead log that the metadata speaks of is not in its folder.
#[derive(Debug)]
pub struct DiskGone {
    folder: String,
    /// Whose disk is in the folder, if any's.
    here: Option<NodeId>,
    /// Nodes that are elsewhere and alive.
    alive: Vec<NodeId>,
    silent: Vec<(NodeId, u64)>,
    shards: Vec<GoneShard>,
    /// Partitions of these shards, and the names of the first of them.
    partitions: usize,
    names: Vec<String>,
}

impl fmt::Display for DiskGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = self.shards.iter().flat_map(|shard| &shard.extents);
        let gone: BTreeSet<NodeId> = gone.flat_map(|e| &e.nodes).copied().collect();
        let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
        write!(f, "open the write-ahead log in {}: ", self.folder)?;
        write!(f, "the disk of log node {} is gone; ", gone.join(", "))?;
        match self.here {
            None => write!(f, "there is none in the folder")?,
            Some(here) => write!(f, "the folder is log node {here}")?,
        }
        for shard in self.shards.iter().take(NAMED_MAX) {
            write!(f, "\n  {}", told(shard))?;
        }
        if let Some(more @ 1..) = self.shards.len().checked_sub(NAMED_MAX) {
            write!(f, "\n  and {more} more shards")?;
        }
        if self.shards.iter().all(GoneShard::is_tiered) {
            write!(f, "\n  all that was written is in the object store")?;
        }
        let (count, names) = (self.partitions, self.names.join(", "));
        let more = match count - self.names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        write!(f, "\n  {count} partitions live there: {names}{more}")
    }
}

/// One shard's line.
fn told(shard: &GoneShard) -> String {
    let (id, tiered) = (shard.shard, shard.tiered);
    let untiered = untiered(shard);
    if untiered.is_empty() {
        return format!("shard {id}: in the object store up to lsn {tiered}, all of it");
    }
    format!("shard {id}: in the object store up to lsn {tiered}; lost: {untiered}")
}

fn untiered(shard: &GoneShard) -> String {
    let ranges = shard.untiered().into_iter();
    let ranges = ranges.map(|(from, to): (Lsn, Option<Lsn>)| match to {
        Some(to) => format!("lsn {from} to {to}"),
        None => format!("from lsn {from} on whatever was written, how much is not known"),
    });
    ranges.collect::<Vec<_>>().join(", ")
}

/// Refuses a start without metadata that would hide what is there.
///
/// # Errors
/// [`StartError::MetadataGone`].
pub(super) fn check_metadata(settings: &Settings, rebuild: bool) -> Result<(), StartError> {
    if settings.meta.engine != MetaEngine::Embedded {
        return Ok(());
    }
    let data = &settings.node.data_dir;
    let folder = data.join("meta");
    let wal = LogNode::identity(data.join("wal")).map_err(StartError::of)?;
    let default_objects =
        settings.blob.engine == BlobEngine::Fs && settings.blob.path.as_os_str().is_empty();
    let objects = default_objects && data.join("objects").join("cold").is_dir();
    if folder.is_dir() || !(rebuild || objects || wal.is_some()) {
        return Ok(());
    }
    Err(StartError::MetadataGone {
        folder: folder.display().to_string(),
    })
}

/// What of the metadata's log is on no disk any more; `None` when all of it is where it should be.
///
/// # Errors
/// When the folder or the metadata cannot be read; [`StartError::MetadataGone`] for a rebuild of nothing.
pub(super) async fn look(
    settings: &Settings,
    base: &Base,
    rebuild: bool,
) -> Result<Option<DiskGone>, StartError> {
    let store = base.store.as_ref();
    let folder = settings.node.data_dir.join("wal");
    let read = folder.clone();
    let identity = Tasks::spawn_blocking(move || LogNode::identity(&read)).await;
    let here = identity.map_err(StartError::of)?;
    if rebuild && is_new(store).await.map_err(StartError::of)? {
        return Err(StartError::MetadataGone {
            folder: settings.node.data_dir.join("meta").display().to_string(),
        });
    }
    let mut known: Vec<NodeId> = here.into_iter().collect();
    let mut shards = find_gone(store, &known).await.map_err(StartError::of)?;
    if shards.is_empty() {
        return Ok(None);
    }
    let nodes: BTreeSet<NodeId> = shards.iter().flat_map(GoneShard::nodes).collect();
    let wait = match settings.meta.engine {
        MetaEngine::Embedded => Duration::ZERO,
        MetaEngine::FoundationDb => LeaseConfig::embedded().ttl,
    };
    let silent = silent_nodes(store, &base.clock, &nodes, wait).await;
    let silent = silent.map_err(StartError::of)?;
    let is_silent = |node: &NodeId| silent.iter().any(|(silent, _)| silent == node);
    let alive: Vec<NodeId> = nodes.into_iter().filter(|node| !is_silent(node)).collect();
    if !alive.is_empty() {
        known.extend(&alive);
        shards = find_gone(store, &known).await.map_err(StartError::of)?;
    }
    if shards.is_empty() {
        return Ok(None);
    }
    let mut gone = DiskGone {
        folder: folder.display().to_string(),
        here,
        alive,
        silent,
        shards,
        partitions: 0,
        names: Vec::new(),
    };
    name_partitions(store, &mut gone)
        .await
        .map_err(StartError::of)?;
    Ok(Some(gone))
}

async fn is_new(store: &dyn MetaStore) -> Result<bool, MetaError> {
    let mut tx = store.begin();
    let layout = keys::get(tx.as_mut(), &LayoutKey, Mode::Serializable).await?;
    Ok(layout.is_none())
}

async fn name_partitions(store: &dyn MetaStore, gone: &mut DiskGone) -> Result<(), MetaError> {
    for shard in &gone.shards {
        let mut range = ShardPartitionKey::of_shard(shard.shard);
        loop {
            let mut tx = store.begin();
            let page: Vec<(ShardPartitionKey, ())> =
                keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
            gone.partitions += page.len();
            let unnamed = NAMED_MAX.saturating_sub(gone.names.len());
            for (key, ()) in page.iter().take(unnamed) {
                gone.names.push(name(store, key.partition).await?);
            }
            let Some((last, ())) = page.last().filter(|_| page.len() == PAGE) else {
                break;
            };
            range.begin = keys::behind(last);
        }
    }
    Ok(())
}

async fn name(store: &dyn MetaStore, id: PartitionId) -> Result<String, MetaError> {
    let mut tx = store.begin();
    let row = keys::get(tx.as_mut(), &PartitionKey(id), Mode::Snapshot).await?;
    let topic = match row {
        Some(row) => {
            let (tenant, topic) = (row.tenant, id.topic);
            keys::get(tx.as_mut(), &TopicKey { tenant, topic }, Mode::Snapshot).await?
        }
        None => None,
    };
    let topic = topic.map_or_else(|| format!("topic {}", id.topic), |topic| topic.name);
    Ok(format!("{topic}-{}", id.index))
}

/// Gives up what is gone, shard by shard. What was lost by that is in the log.
///
/// # Errors
/// When a shard cannot be taken; those before it are done.
pub(super) async fn give_up(
    leases: &Leases,
    node: NodeId,
    gone: DiskGone,
) -> Result<(), StartError> {
    let mut here = gone.alive;
    here.push(node);
    for shard in gone.shards {
        let given_up = leases.give_up_gone(shard.shard, &here, &gone.silent).await;
        let given_up = given_up.map_err(StartError::of)?;
        if given_up.is_tiered() {
            tracing::info!("rebuild {}", told(&given_up));
        } else {
            tracing::warn!("rebuild {}", told(&given_up));
        }
    }
    Ok(())
}
