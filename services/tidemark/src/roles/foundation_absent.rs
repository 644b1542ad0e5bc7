//! In place of the FoundationDB engine, where the binary was built without it.

use std::path::Path;
use std::sync::Arc;

use tidemark_meta::MetaStore;
use tidemark_runtime::{Clock, Entropy, Tasks};

use super::StartError;

/// Refuses: says what to build.
pub(super) fn open(
    _: &Path,
    _: &Clock,
    _: &Entropy,
    _: &Tasks,
) -> Result<Arc<dyn MetaStore>, StartError> {
    Err(StartError::Component(
        "open the metadata store: this binary was built without the foundationdb engine; \
         build it with `cargo build --release --features foundationdb`, or set meta.engine = \"embedded\""
            .to_owned(),
    ))
}
