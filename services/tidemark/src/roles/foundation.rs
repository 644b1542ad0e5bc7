//! The FoundationDB engine, where the binary was built with it.

use std::path::Path;
use std::sync::Arc;

use tidemark_meta::MetaStore;
use tidemark_meta::foundation::{Foundation, Network};
use tidemark_runtime::{Clock, Entropy, Tasks};

use super::StartError;

/// Connects to the cluster.
pub(super) fn open(
    cluster_file: &Path,
    clock: &Clock,
    entropy: &Entropy,
    tasks: &Tasks,
) -> Result<Arc<dyn MetaStore>, StartError> {
    let network = Network::start().map_err(StartError::of)?;
    let file = cluster_file.to_string_lossy();
    // The connection keeps the client's network alive until the service is dropped.
    Ok(Arc::new(
        Foundation::open(&network, &file, clock, entropy, tasks).map_err(StartError::of)?,
    ))
}
