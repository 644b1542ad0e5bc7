//! In place of the S3 engine, where the binary was built without it.

use std::sync::Arc;

use tidemark_blob::BlobStore;
use tidemark_runtime::Tasks;

use super::StartError;
use crate::config::BlobSettings;

/// Refuses: says what to build.
#[expect(clippy::unused_async, reason = "the engine connects here")]
pub(super) async fn open(_: &BlobSettings, _: &Tasks) -> Result<Arc<dyn BlobStore>, StartError> {
    Err(StartError::Component(
        "open the object store: this binary was built without the s3 engine; \
         build it with `cargo build --release --features s3`, or set blob.engine = \"fs\""
            .to_owned(),
    ))
}
