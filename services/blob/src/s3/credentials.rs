//! Credentials that are looked for again.
//!
//! The SDK's providers read the profile's files once. Keys that an operator puts there when the old ones were revoked would
//! be seen by the next start only. So the chain is built anew for every look, and keys that do not expire by themselves are
//! looked for again before long.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_credential_types::provider::{self, SharedCredentialsProvider, future};
use aws_sdk_s3::config::{ProvideCredentials, Region};
use futures_util::future::BoxFuture;
use tidemark_runtime::Clock;

/// How long keys without an expiry are believed: a look costs the reading of two small files.
const BELIEVED: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Fresh<F> {
    build: F,
    clock: Clock,
}

impl<F> fmt::Debug for Fresh<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh")
    }
}

/// The SDK's chain: environment, profile, web identity, container, instance.
/// `region`: as the settings say; what asks STS needs one.
pub(super) fn chain(region: Option<Region>) -> BoxFuture<'static, SharedCredentialsProvider> {
    Box::pin(async {
        let mut chain = DefaultCredentialsChain::builder();
        chain.set_region(region);
        SharedCredentialsProvider::new(chain.build().await)
    })
}

impl<F> Fresh<F>
where
    F: Fn() -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync + 'static,
{
    pub(super) fn new(build: F) -> Self {
        // What signs requests goes by the system's time.
        let clock = Clock::system();
        Self { build, clock }
    }

    async fn look(&self) -> provider::Result {
        let mut found = (self.build)().await.provide_credentials().await?;
        if found.expiry().is_none() {
            let now_ms = u64::try_from(self.clock.wall_ms()).unwrap_or_default();
            *found.expiry_mut() = Some(UNIX_EPOCH + Duration::from_millis(now_ms) + BELIEVED);
        }
        Ok(found)
    }
}

impl<F> ProvideCredentials for Fresh<F>
where
    F: Fn() -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync + 'static,
{
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.look())
    }
}

#[cfg(test)]
#[expect(
    deprecated,
    reason = "the new names are of a crate that nothing else needs"
)]
mod tests {
    use aws_config::profile::ProfileFileCredentialsProvider;
    use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};

    use super::*;

    #[tokio::test]
    async fn keys_that_were_replaced_in_their_file_are_found_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let keys = |id: &str| {
            let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s\n");
            #[expect(clippy::disallowed_methods, reason = "a test's fixture")]
            std::fs::write(&path, text).unwrap();
        };
        let file = path.clone();
        let fresh = Fresh::new(move || {
            let files = ProfileFiles::builder();
            let files = files.with_file(ProfileFileKind::Credentials, file.clone());
            let provider = ProfileFileCredentialsProvider::builder();
            let provider = provider
                .profile_files(files.build())
                .profile_name("default");
            let provider = SharedCredentialsProvider::new(provider.build());
            Box::pin(std::future::ready(provider))
        });
        let now_ms = u64::try_from(Clock::system().wall_ms()).unwrap();
        for id in ["first", "second"] {
            keys(id);
            let found = fresh.provide_credentials().await.unwrap();
            assert_eq!(found.access_key_id(), id);
            let expiry = found.expiry().expect("they are looked for again");
            let believed = expiry.duration_since(UNIX_EPOCH).unwrap();
            assert!(
                believed >= Duration::from_millis(now_ms)
                    && believed < Duration::from_millis(now_ms) + 5 * BELIEVED
            );
        }
    }
}
