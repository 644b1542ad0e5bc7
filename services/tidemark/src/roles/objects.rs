//! The object store that the log's older part goes to, opened from settings and decorated as every engine is.

use std::sync::Arc;
use std::time::Duration;

use tidemark_blob::{BlobError, BlobMeter, BlobStore, Fs, List, Metered, RetryPolicy, Retrying};
use tidemark_runtime::{Clock, Entropy, Tasks};

use super::{StartError, s3};
use crate::config::{BlobEngine, Settings};

/// Pause between two questions to a store that did not serve the last one; as much again by chance.
const CHECK_PAUSE: Duration = Duration::from_secs(15);

/// The object store, and what is known of it.
pub(super) struct Objects {
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) meter: BlobMeter,
}

/// Opens the engine that the settings name: `Retrying(Metered(engine))`. A bucket that cannot be reached, is gone or lets
/// nobody in is no reason not to start: produce and tail reads need none. It is asked in the background, and warned of.
///
/// # Errors
/// When the settings are wrong in themselves: in words, with what to look at.
pub(super) async fn open(
    settings: &Settings,
    (clock, entropy): (&Clock, &Entropy),
    tasks: &Tasks,
) -> Result<Objects, StartError> {
    let engine = match settings.blob.engine {
        BlobEngine::Fs => open_folder(settings).await?,
        BlobEngine::S3 => s3::open(&settings.blob, tasks).await?,
    };
    let meter = BlobMeter::new(clock);
    let metered = Arc::new(Metered::new(engine, meter.clone()));
    let policy = RetryPolicy::default();
    let store: Arc<dyn BlobStore> = Arc::new(Retrying::new(metered, policy, clock, entropy));
    let (asked, stop) = (Arc::clone(&store), tasks.clone());
    let (clock, entropy) = (clock.clone(), entropy.clone());
    tasks.spawn("object store check", async move {
        tokio::select! {
            biased;
            () = stop.stopping() => {}
            () = check(asked.as_ref(), &clock, &entropy) => {}
        }
    });
    Ok(Objects { store, meter })
}

/// Asks the store for one name until it answers, seldom; tells when it does not, once, and when it does again.
async fn check(store: &dyn BlobStore, clock: &Clock, entropy: &Entropy) {
    let one = List {
        limit: 1,
        ..List::default()
    };
    let mut failed = false;
    while let Err(error) = store.list(one.clone()).await {
        if !failed {
            let hint = error.kind().hint();
            tracing::warn!(%error, hint, "the object store does not serve; going on without it");
            failed = true;
        }
        let jitter_ms = entropy.below(CHECK_PAUSE.as_millis().try_into().unwrap_or(u64::MAX));
        clock
            .sleep(CHECK_PAUSE + Duration::from_millis(jitter_ms))
            .await;
    }
    if failed {
        tracing::info!("the object store serves");
    }
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

    async fn refusal(change: impl FnOnce(&mut Settings)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.node.data_dir = folder.path().to_owned();
        change(&mut settings);
        let tasks = Tasks::new();
        let ambient = (&Clock::system(), &Entropy::system());
        match open(&settings, ambient, &tasks).await {
            Ok(_) => panic!("this store is unusable"),
            Err(refused) => refused.to_string(),
        }
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

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_is_asked_again_until_it_serves() {
        use tidemark_blob::faulty::{Faults, Faulty};
        let (clock, entropy) = (Clock::simulated(0), Entropy::seeded(1));
        let sim = Arc::new(tidemark_blob::sim::Sim::new(&clock));
        let faulty = Faulty::new(sim, &clock, &entropy);
        faulty.set_faults(Faults::throttling());
        let meter = BlobMeter::new(&clock);
        let store = Metered::new(Arc::new(faulty.clone()), meter.clone());
        let mut asking = std::pin::pin!(check(&store, &clock, &entropy));
        let hour = tokio::time::timeout(Duration::from_secs(3_600), &mut asking);
        assert!(hour.await.is_err(), "it goes on asking");
        assert!(meter.trouble().is_some());
        let asked = meter.counts(tidemark_blob::Op::List).requests;
        assert!((60..=240).contains(&asked), "{asked} in an hour");
        faulty.set_faults(Faults::default());
        asking.await;
        assert_eq!(meter.trouble(), None);
    }

    /// A server that answers everything with 403, as S3 does to revoked credentials.
    #[cfg(feature = "s3")]
    async fn forbidding() -> std::net::SocketAddr {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tidemark_runtime::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let body = "<Error><Code>InvalidAccessKeyId</Code><Message>revoked</Message></Error>";
        let answer = format!(
            "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        Tasks::new().spawn("forbidding", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4_096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    #[cfg(feature = "s3")]
    #[tokio::test]
    async fn revoked_credentials_and_an_absent_server_do_not_keep_the_service_from_starting() {
        let refusing = "127.0.0.1:9".parse().unwrap();
        for (endpoint, word) in [(forbidding().await, "credentials"), (refusing, "network")] {
            let folder = tempfile::tempdir().unwrap();
            let mut settings = Settings::default();
            settings.node.data_dir = folder.path().to_owned();
            settings.blob.engine = BlobEngine::S3;
            settings.blob.s3_bucket = "bucket".to_owned();
            settings.blob.s3_endpoint = format!("http://{endpoint}");
            settings.blob.s3_path_style = true;
            let tasks = Tasks::new();
            let ambient = (&Clock::system(), &Entropy::system());
            let opened = open(&settings, ambient, &tasks).await.unwrap();
            let trouble = loop {
                match opened.meter.trouble() {
                    Some(trouble) => break trouble,
                    None => tokio::task::yield_now().await,
                }
            };
            assert!(trouble.contains(word), "{trouble}");
        }
    }

    #[tokio::test]
    async fn the_default_is_a_folder_in_the_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.node.data_dir = folder.path().to_owned();
        let tasks = Tasks::new();
        let opened = open(&settings, (&Clock::system(), &Entropy::system()), &tasks).await;
        opened.unwrap();
        assert!(folder.path().join("objects").is_dir());
    }
}
