//! The object store that the log's older part goes to, opened from settings and decorated as every engine is.

use std::sync::Arc;

use tidemark_blob::{BlobError, BlobMeter, BlobStore, Fs, Metered, RetryPolicy, Retrying};
use tidemark_runtime::Tasks;

use super::parts::Base;
use super::{StartError, s3};
use crate::config::{BlobEngine, Settings};

/// Opens the engine that the settings name: `Retrying(Metered(engine))`.
///
/// # Errors
/// When it is unusable as it is set: in words, with what to look at. A bucket that does not answer just now is usable.
pub(super) async fn open(
    settings: &Settings,
    base: &Base,
    tasks: &Tasks,
) -> Result<Arc<dyn BlobStore>, StartError> {
    let engine = match settings.blob.engine {
        BlobEngine::Fs => open_folder(settings).await?,
        BlobEngine::S3 => s3::open(&settings.blob, tasks).await?,
    };
    let metered = Metered::new(engine, BlobMeter::new(&base.clock));
    Ok(Arc::new(Retrying::new(
        Arc::new(metered),
        RetryPolicy::default(),
        &base.clock,
        &base.entropy,
    )))
}

async fn open_folder(settings: &Settings) -> Result<Arc<dyn BlobStore>, StartError> {
    let folder = match settings.blob.path.as_os_str() {
        path if path.is_empty() => settings.node.data_dir.join("objects"),
        path => path.into(),
    };
    let opened = Tasks::spawn_blocking(move || Fs::open(&folder)).await;
    Ok(Arc::new(opened.map_err(|e| refused(&e))?))
}

/// The store's own words, and what to look at first.
pub(super) fn refused(error: &BlobError) -> StartError {
    StartError::Component(format!("{error}. {}", error.kind().hint()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::parts;

    async fn refusal(change: impl FnOnce(&mut Settings)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.node.data_dir = folder.path().to_owned();
        change(&mut settings);
        let tasks = Tasks::new();
        let base = parts::open_metadata(&settings, &tasks).await.unwrap();
        let refused = open(&settings, &base, &tasks).await;
        refused.expect_err("this store is unusable").to_string()
    }

    #[tokio::test]
    async fn an_unusable_store_is_refused_in_words() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let shown = path.display().to_string();
        let said = refusal(|s| s.blob.path = path).await;
        assert!(
            said.starts_with("open the folder") && said.contains(&shown),
            "{said}"
        );
        let said = refusal(|s| s.blob.engine = BlobEngine::S3).await;
        let wanted = if cfg!(feature = "s3") {
            "the bucket has no name"
        } else {
            "--features s3"
        };
        assert!(said.contains(wanted), "{said}");
    }

    #[tokio::test]
    async fn the_default_is_a_folder_in_the_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.node.data_dir = folder.path().to_owned();
        let tasks = Tasks::new();
        let base = parts::open_metadata(&settings, &tasks).await.unwrap();
        open(&settings, &base, &tasks).await.unwrap();
        assert!(folder.path().join("objects").is_dir());
    }
}
