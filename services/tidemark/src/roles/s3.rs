//! The S3 engine, where the binary was built with it.

use std::sync::Arc;

use tidemark_blob::BlobStore;
use tidemark_blob::s3::{S3, S3Config};
use tidemark_runtime::Tasks;

use super::{StartError, objects};
use crate::config::BlobSettings;

/// Refuses settings that contradict themselves; what the bucket says comes later.
pub(super) async fn open(
    settings: &BlobSettings,
    tasks: &Tasks,
) -> Result<Arc<dyn BlobStore>, StartError> {
    let config = S3Config {
        region: settings.s3_region.clone(),
        endpoint: settings.s3_endpoint.clone(),
        prefix: settings.s3_prefix.clone(),
        path_style: settings.s3_path_style,
        ..S3Config::new(settings.s3_bucket.clone())
    };
    let opened = S3::connect(config, tasks).await;
    Ok(Arc::new(opened.map_err(|e| objects::refused(&e))?))
}
