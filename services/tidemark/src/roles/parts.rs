//! The parts that roles are made of, opened from settings.

use std::path::Path;
use std::sync::Arc;

use tidemark_journal::{Nodes, Replica};
use tidemark_lease::{LeaseConfig, Leases};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig};
use tidemark_meta::MetaStore;
use tidemark_meta::embedded::Embedded;
use tidemark_runtime::{Clock, Entropy, Tasks};

use super::{StartError, foundation};
use crate::config::{MetaEngine, Settings};

/// Time, randomness, the embedded metadata store of one process, and whose it is.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    pub(super) store: Arc<dyn MetaStore>,
    /// As Kafka writes it.
    pub(super) cluster_id: String,
}

/// Whether the metadata is this process's own and there is none yet.
pub(super) fn is_new(settings: &Settings) -> bool {
    settings.meta.engine == MetaEngine::Embedded && !settings.node.data_dir.join("meta").is_dir()
}

/// Makes the metadata's folder, durably: a start that finds a write-ahead log without that folder refuses, so a crash
/// must not leave the log alone.
pub(super) async fn begin_metadata(settings: &Settings) -> Result<(), StartError> {
    let data = settings.node.data_dir.clone();
    create_folder(&data.join("meta"))?;
    let synced = Tasks::spawn_blocking(move || sync_folder(&data).map_err(|e| (data, e))).await;
    synced.map_err(|(data, e)| {
        StartError::Component(format!("sync the data folder {}: {e}", data.display()))
    })
}

#[expect(clippy::disallowed_methods, reason = "the folder all roles share")]
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Opens (or creates) the metadata store and brings its schema up to date.
pub(super) async fn open_metadata(
    settings: &Settings,
    ambient: &(Clock, Entropy),
    tasks: &Tasks,
) -> Result<Base, StartError> {
    let (clock, entropy) = ambient.clone();
    let store = match settings.meta.engine {
        MetaEngine::Embedded => open_embedded(settings, &clock, tasks)?,
        MetaEngine::FoundationDb => {
            foundation::open(&settings.meta.cluster_file, &clock, &entropy, tasks)?
        }
    };
    let report = tidemark_migrations::migrate(store.as_ref(), &clock, &entropy)
        .await
        .map_err(StartError::of)?;
    tracing::debug!(?report, "metadata is ready");
    let cluster_id = report.cluster.to_text();
    Ok(Base {
        clock,
        entropy,
        store,
        cluster_id,
    })
}

fn open_embedded(
    settings: &Settings,
    clock: &Clock,
    tasks: &Tasks,
) -> Result<Arc<dyn MetaStore>, StartError> {
    let folder = settings.node.data_dir.join("meta");
    create_folder(&folder)?;
    Ok(Arc::new(
        Embedded::open(&folder, clock, tasks).map_err(StartError::of)?,
    ))
}

/// Opens (or creates) the write-ahead log and recovers it.
pub(super) async fn open_log_node(
    settings: &Settings,
    (clock, entropy): (&Clock, &Entropy),
    tasks: &Tasks,
) -> Result<Arc<LogNode>, StartError> {
    let folder = settings.node.data_dir.join("wal");
    create_folder(&folder)?;
    let disk = FileDisk::open(&folder).map_err(StartError::of)?;
    let budget = settings.wal.disk_budget.0;
    // Small steps of a small budget: two segments are in reserve, and space comes back by whole ones.
    let segment_bytes = settings.wal.segment_size.0.min(budget / 16);
    let config = LogNodeConfig {
        segment_bytes,
        disk_bytes_max: budget,
        takeover_bytes: segment_bytes,
        ..LogNodeConfig::default()
    };
    LogNode::open(Arc::new(disk), config, clock, entropy, tasks)
        .await
        .map_err(StartError::of)
}

/// Registers this start of the node and gives its lease operations.
pub(super) async fn open_leases(
    base: &Base,
    node: &Arc<LogNode>,
    tasks: &Tasks,
) -> Result<Leases, StartError> {
    let nodes = Nodes::new();
    nodes.insert(Arc::clone(node) as Arc<dyn Replica>);
    let incarnation =
        Leases::register(base.store.as_ref(), &base.clock, &base.entropy, node.node())
            .await
            .map_err(StartError::of)?;
    Ok(Leases::new(
        Arc::clone(&base.store),
        nodes,
        base.clock.clone(),
        base.entropy.clone(),
        tasks.clone(),
        (node.node(), incarnation),
        LeaseConfig::embedded(),
    ))
}

fn create_folder(folder: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(folder).map_err(|e| {
        StartError::Component(format!("create the data folder {}: {e}", folder.display()))
    })
}
