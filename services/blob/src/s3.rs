//! Objects in a bucket of S3, or of what speaks its protocol.
//!
//! # Overview
//! One HTTP request for each operation, except for puts over [`PART_BYTES`], which are multipart uploads. The SDK's own
//! retries are off: `Retrying` decides, for every engine alike.
//!
//! # Consistency
//! Conditional puts are `If-None-Match: *`. Each object carries its put's id as metadata, so that a 412 after an unknown
//! outcome is told apart from another's object. Bodies are checked by CRC32C: sent with every put, and compared on
//! reads of a whole object where the server tells it; a part of an object has no checksum, callers keep their own.
//!
//! # Cancellation
//! A dropped or failed multipart upload is aborted in the background. What a crash leaves, a lifecycle rule of the bucket
//! (`AbortIncompleteMultipartUpload`) removes.

mod body;
mod calls;
mod config;
mod credentials;
mod error;
mod get;
#[cfg(test)]
mod tests;
mod upload;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use bytes::Bytes;
use tidemark_runtime::Tasks;
use tidemark_types::limits::BLOB_LIST_MAX;

use self::calls::{Call, Calls};
pub use self::config::{S3Config, S3Credentials};
use self::error::Asked;
use crate::{
    BlobError, BlobErrorKind, BlobInfo, BlobKey, BlobStore, List, Listed, Page, Put, PutId,
    PutMode, checked_range,
};

/// Bodies over this are uploaded in parts of this size, bytes. S3 wants parts of at least 5 MiB and at most 10,000 of them:
/// `BLOB_BYTES_MAX / PART_BYTES` = 1,024.
pub const PART_BYTES: usize = 16 << 20;
/// Metadata of an object: the id of its put.
const PUT_ID: &str = "tidemark-put";

const _: () = assert!(tidemark_types::limits::BLOB_BYTES_MAX.div_ceil(PART_BYTES as u64) <= 10_000);

/// A bucket, or what lies under a prefix of it.
#[derive(Clone)]
pub struct S3 {
    client: Client,
    bucket: String,
    /// Empty or ending in `/`.
    prefix: String,
    calls: Calls,
    tasks: Tasks,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({}/{})", self.bucket, self.prefix)
    }
}

/// What a HEAD tells.
struct Head {
    info: BlobInfo,
    put: Option<String>,
}

impl S3 {
    /// From settings. Nothing is asked of the bucket: whether it is there, and lets us in, may change at any time.
    ///
    /// # Errors
    /// `Invalid` for settings that contradict themselves.
    pub async fn connect(config: S3Config, tasks: &Tasks) -> Result<Self, BlobError> {
        let prefix = config.checked_prefix()?;
        Ok(Self {
            client: Client::from_conf(config.sdk().await?),
            bucket: config.bucket,
            prefix,
            calls: Calls::new(),
            tasks: tasks.clone(),
        })
    }

    /// Makes the bucket; for tests and for stores of one's own.
    ///
    /// # Errors
    /// As the server says.
    pub async fn create_bucket(&self) -> Result<(), BlobError> {
        let sent = self
            .client
            .create_bucket()
            .bucket(&self.bucket)
            .send()
            .await;
        let what = format!("create the bucket {}", self.bucket);
        sent.map(drop)
            .map_err(|e| error::classify(&what, Asked::Read, &e))
    }

    fn name(&self, key: &BlobKey) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn head_object(&self, key: &BlobKey) -> Result<Head, BlobError> {
        self.calls.count(Call::Head);
        let sent = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .send()
            .await;
        let what = format!("head {key}");
        match sent {
            Ok(out) => Ok(Head {
                info: BlobInfo {
                    bytes: error::size(&what, out.content_length())?,
                    modified_ms: out
                        .last_modified()
                        .and_then(|t| t.to_millis().ok())
                        .unwrap_or_default(),
                },
                put: out.metadata().and_then(|m| m.get(PUT_ID)).cloned(),
            }),
            Err(e) => {
                let error = error::classify(&what, Asked::Read, &e);
                if error.kind() == BlobErrorKind::NotFound {
                    self.require_bucket(&what).await?;
                }
                Err(error)
            }
        }
    }

    /// A HEAD's 404 has no words: it may be the bucket that is not there.
    async fn require_bucket(&self, what: &str) -> Result<(), BlobError> {
        self.calls.count(Call::Head);
        let sent = self.client.head_bucket().bucket(&self.bucket).send().await;
        sent.map(drop).map_err(|e| {
            let error = error::classify(what, Asked::Read, &e);
            match error.kind() {
                BlobErrorKind::NotFound => error::no_bucket(what, &self.bucket),
                _ => error,
            }
        })
    }

    /// After a 412: is the object of this very put?
    async fn is_own(&self, put: &Put) -> Result<(), BlobError> {
        let what = format!("put {}", put.key);
        match self.head_object(&put.key).await {
            Ok(head) if is_of(put.id, &head) => Ok(()),
            Ok(_) => Err(BlobError::new(
                BlobErrorKind::AlreadyExists,
                what,
                "the object exists",
            )),
            Err(e) if e.kind() == BlobErrorKind::NotFound => Err(BlobError::new(
                BlobErrorKind::Unavailable,
                what,
                "the object existed, and then did not",
            )),
            // Whose object it is was not learned: it may be this put's.
            Err(e) => Err(e.unknown_outcome()),
        }
    }

    /// A page that has objects, or is the last: names that are no keys are passed over.
    async fn list_page(&self, list: List) -> Result<Page, BlobError> {
        let what = format!("list {:?}", list.prefix);
        let limit = i32::try_from(list.page()).unwrap_or(i32::MAX);
        let mut token = None;
        loop {
            self.calls.count(Call::List);
            let out = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{}{}", self.prefix, list.prefix))
                .set_start_after(list.after.as_ref().map(|after| self.name(after)))
                .set_continuation_token(token)
                .max_keys(limit)
                .send()
                .await
                .map_err(|e| error::classify(&what, Asked::Read, &e))?;
            let objects: Vec<Listed> = out
                .contents()
                .iter()
                .filter_map(|object| self.listed(object))
                .collect();
            token = out.next_continuation_token().map(str::to_owned);
            // A full page may have a next one whatever is said: MinIO forgets what follows a key that is itself the prefix.
            let full = objects.len() >= list.page();
            let more = out.is_truncated().unwrap_or_default() && token.is_some();
            if !more || !objects.is_empty() {
                let next = objects
                    .last()
                    .filter(|_| more || full)
                    .map(|last| last.key.clone());
                return Ok(Page { objects, next });
            }
        }
    }

    fn listed(&self, object: &aws_sdk_s3::types::Object) -> Option<Listed> {
        let key = BlobKey::new(object.key()?.strip_prefix(&self.prefix)?).ok()?;
        let info = BlobInfo {
            bytes: u64::try_from(object.size()?).ok()?,
            modified_ms: object
                .last_modified()
                .and_then(|t| t.to_millis().ok())
                .unwrap_or_default(),
        };
        Some(Listed { key, info })
    }

    async fn delete_some(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        let what = format!("delete {} objects", keys.len());
        let wrong = |e| BlobError::new(BlobErrorKind::Invalid, &what, e);
        let mut objects = Vec::with_capacity(keys.len());
        for key in keys {
            objects.push(
                ObjectIdentifier::builder()
                    .key(self.name(key))
                    .build()
                    .map_err(wrong)?,
            );
        }
        let delete = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .map_err(wrong)?;
        self.calls.count(Call::Delete);
        let sent = self
            .client
            .delete_objects()
            .bucket(&self.bucket)
            .delete(delete)
            .send()
            .await;
        let out = sent.map_err(|e| error::classify(&what, Asked::Read, &e))?;
        let mut failures = out
            .errors()
            .iter()
            .filter(|e| e.code() != Some("NoSuchKey"));
        match failures.next() {
            None => Ok(()),
            Some(failed) => {
                let what = format!("delete {}", failed.key().unwrap_or("an object"));
                Err(error::of_code(&what, failed.code(), failed.message()))
            }
        }
    }
}

/// Whether what a HEAD found is of the put.
fn is_of(put: PutId, head: &Head) -> bool {
    head.put.as_deref() == Some(put.to_string().as_str())
}

#[async_trait]
impl BlobStore for S3 {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        put.check()?;
        let outcome = if put.body.len() <= PART_BYTES as u64 {
            self.put_at_once(&put).await
        } else {
            self.put_in_parts(&put).await
        };
        match outcome {
            Err(e) if e.kind() == BlobErrorKind::AlreadyExists && put.mode == PutMode::IfAbsent => {
                self.is_own(&put).await
            }
            other => other,
        }
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let len = checked_range(key, &range)?;
        self.get_range(key, range, len).await
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        Ok(self.head_object(key).await?.info)
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.calls.count(Call::Delete);
        let sent = self
            .client
            .delete_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .send()
            .await;
        match sent.map_err(|e| error::classify(&format!("delete {key}"), Asked::Read, &e)) {
            Err(e) if e.kind() == BlobErrorKind::NotFound => Ok(()),
            other => other.map(drop),
        }
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        for some in keys.chunks(BLOB_LIST_MAX) {
            self.delete_some(some).await?;
        }
        Ok(())
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        list.check()?;
        self.list_page(list).await
    }
}
