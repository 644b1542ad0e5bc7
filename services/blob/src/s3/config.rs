//! Where the bucket is, and how long to wait for it.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider,
};

use super::PART_BYTES;
use super::credentials::{self, Fresh};
use super::upload::PARTS_AT_ONCE;
use crate::{BlobError, BlobErrorKind, BlobKey, RetryPolicy};

/// Keys given outright, in place of the SDK's chain (environment, profile, container, instance).
#[derive(Clone, PartialEq, Eq)]
pub struct S3Credentials {
    /// The access key's id.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
}

impl std::fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Credentials({})", self.access_key)
    }
}

/// A bucket and the way to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct S3Config {
    /// The bucket's name.
    pub bucket: String,
    /// Its region; empty: as the SDK finds it (environment, profile), and `us-east-1` where an endpoint is given.
    pub region: String,
    /// URL of a server that speaks S3; empty: AWS.
    pub endpoint: String,
    /// All objects lie under this; empty: the bucket is ours.
    pub prefix: String,
    /// The bucket goes into the path, not into the host name.
    pub path_style: bool,
    /// `None`: the SDK's chain. Keys in its files may be replaced at run time.
    pub credentials: Option<S3Credentials>,
    /// For a connection to be made.
    pub connect_timeout: Duration,
    /// For one HTTP request up to the head of its answer, the upload of a part included; the service's own bound on an
    /// attempt (`Retrying`) is smaller for what moves few bytes.
    pub attempt_timeout: Duration,
}

/// Parts on their way at once share the slowest line that [`RetryPolicy`] allows for, and have as long again as a
/// request that moves nothing: an upload that goes on is not cut off.
const ATTEMPT_TIMEOUT: Duration = {
    let upload_s = (PARTS_AT_ONCE * PART_BYTES) as u64 / RetryPolicy::DEFAULT.bytes_per_s_min;
    Duration::from_secs(upload_s + RetryPolicy::DEFAULT.attempt.as_secs())
};

impl S3Config {
    /// A bucket at AWS, under no prefix.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            region: String::new(),
            endpoint: String::new(),
            prefix: String::new(),
            path_style: false,
            credentials: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: ATTEMPT_TIMEOUT,
        }
    }

    /// The prefix as it stands before every key: empty, or ending in a `/`.
    pub(super) fn checked_prefix(&self) -> Result<String, BlobError> {
        let refused = |why: &str| {
            Err(BlobError::new(
                BlobErrorKind::Invalid,
                "use the S3 settings",
                why,
            ))
        };
        if self.bucket.is_empty() {
            return refused("the bucket has no name");
        }
        let known = self.endpoint.is_empty()
            || ["http://", "https://"]
                .iter()
                .any(|s| self.endpoint.starts_with(s));
        if !known {
            return refused("the endpoint is a URL: http://host:port or https://host");
        }
        match self.prefix.trim_end_matches('/') {
            "" => Ok(String::new()),
            prefix => Ok(format!("{}/", BlobKey::new(prefix)?)),
        }
    }

    /// As the SDK wants it.
    pub(super) async fn sdk(&self) -> Result<Config, BlobError> {
        // The SDK's read timeout includes the sending: it would be another bound on the same.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(self.connect_timeout)
            .operation_attempt_timeout(self.attempt_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        let region = match (self.region.as_str(), self.endpoint.as_str()) {
            ("", "") => None,
            ("", _) if std::env::var_os("AWS_REGION").is_some() => None,
            ("", _) => Some(Region::from_static("us-east-1")),
            (region, _) => Some(Region::new(region.to_owned())),
        };
        loader = match &self.credentials {
            Some(keys) => {
                let (access, secret) = (&keys.access_key, &keys.secret_key);
                let keys = Credentials::new(access, secret, None, None, "settings");
                loader.credentials_provider(SharedCredentialsProvider::new(keys))
            }
            None => {
                let region = region.clone();
                let chain = Fresh::new(move || credentials::chain(region.clone()));
                loader.credentials_provider(SharedCredentialsProvider::new(chain))
            }
        };
        if let Some(region) = region {
            loader = loader.region(region);
        }
        let shared = loader.load().await;
        if shared.region().is_none() {
            let why = "no region: set blob.s3_region, AWS_REGION or a profile's region";
            return Err(BlobError::new(
                BlobErrorKind::Invalid,
                "use the S3 settings",
                why,
            ));
        }
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .force_path_style(self.path_style)
            // We send and compare CRC32C ourselves, over the chunks as they are.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if !self.endpoint.is_empty() {
            config = config.endpoint_url(&self.endpoint);
        }
        Ok(config.build())
    }
}
