//! Puts: small ones in one request, large ones in parts.

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::calls::Call;
use super::error::{self, Asked};
use super::{PART_BYTES, PUT_ID, S3, body, is_of};
use crate::{BlobError, BlobErrorKind, Body, Put, PutMode};

/// Parts of one upload on their way at once; their memory is the body's own.
pub(super) const PARTS_AT_ONCE: usize = 4;
const CONTENT_TYPE: &str = "application/octet-stream";

impl S3 {
    pub(super) async fn put_at_once(&self, put: &Put) -> Result<(), BlobError> {
        self.calls.count(Call::Put);
        let sent = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.name(&put.key))
            .set_if_none_match(if_none_match(put.mode))
            .metadata(PUT_ID, put.id.to_string())
            .content_type(CONTENT_TYPE)
            .content_length(length(&put.body))
            .checksum_crc32_c(body::checksum(put.body.chunks()))
            .body(body::stream(&put.body))
            .customize()
            // The checksum is signed, and stands for the payload: no second hash over it.
            .disable_payload_signing()
            .send()
            .await;
        sent.map(drop)
            .map_err(|e| error::classify(&format!("put {}", put.key), Asked::Write, &e))
    }

    pub(super) async fn put_in_parts(&self, put: &Put) -> Result<(), BlobError> {
        if put.mode == PutMode::IfAbsent {
            // Before so many bytes are sent: the condition is checked by the last request only.
            match self.head_object(&put.key).await {
                Ok(head) if is_of(put.id, &head) => return Ok(()),
                Ok(_) => {
                    let what = format_args!("put {}", put.key);
                    return Err(BlobError::new(
                        BlobErrorKind::AlreadyExists,
                        what,
                        "the object exists",
                    ));
                }
                Err(e) if e.kind() == BlobErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        let upload = self.create_upload(put).await?;
        let parts: Vec<Body> = put.body.parts(PART_BYTES);
        let numbered = (1_i32..).zip(parts);
        let sent = stream::iter(numbered.map(|(number, part)| upload.part(number, part)))
            .buffer_unordered(PARTS_AT_ONCE);
        let mut parts: Vec<CompletedPart> = sent.try_collect().await?;
        parts.sort_by_key(CompletedPart::part_number);
        upload.complete(put.mode, parts).await
    }

    async fn create_upload(&self, put: &Put) -> Result<Upload, BlobError> {
        self.calls.count(Call::CreateUpload);
        let (what, name) = (format!("put {}", put.key), self.name(&put.key));
        let sent = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(&name)
            .metadata(PUT_ID, put.id.to_string())
            .content_type(CONTENT_TYPE)
            .checksum_algorithm(ChecksumAlgorithm::Crc32C)
            .send()
            .await;
        // An upload that was begun is no object.
        let out = sent.map_err(|e| error::classify(&what, Asked::Read, &e))?;
        let Some(id) = out.upload_id else {
            return Err(BlobError::new(
                BlobErrorKind::Unavailable,
                what,
                "the upload has no id",
            ));
        };
        Ok(Upload {
            store: self.clone(),
            what,
            name,
            id,
            done: false,
        })
    }
}

/// A multipart upload. Dropped before it is complete it is aborted; the abort may also meet one whose completion is in
/// doubt: then it kills what would have landed late, or finds nothing.
struct Upload {
    store: S3,
    what: String,
    name: String,
    id: String,
    done: bool,
}

impl Upload {
    async fn part(&self, number: i32, part: Body) -> Result<CompletedPart, BlobError> {
        let (store, sum) = (&self.store, body::checksum(part.chunks()));
        store.calls.count(Call::UploadPart);
        let sent = store
            .client
            .upload_part()
            .bucket(&store.bucket)
            .key(&self.name)
            .upload_id(&self.id)
            .part_number(number)
            .content_length(length(&part))
            .checksum_crc32_c(&sum)
            .body(body::stream(&part))
            .customize()
            .disable_payload_signing()
            .send()
            .await;
        let out = sent.map_err(|e| error::classify(&self.what, Asked::Read, &e))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(out.e_tag)
            .checksum_crc32_c(sum)
            .build())
    }

    async fn complete(mut self, mode: PutMode, parts: Vec<CompletedPart>) -> Result<(), BlobError> {
        let store = &self.store;
        store.calls.count(Call::CompleteUpload);
        let sent = store
            .client
            .complete_multipart_upload()
            .bucket(&store.bucket)
            .key(&self.name)
            .upload_id(&self.id)
            .set_if_none_match(if_none_match(mode))
            .multipart_upload(
                CompletedMultipartUpload::builder()
                    .set_parts(Some(parts))
                    .build(),
            )
            .send()
            .await;
        sent.map_err(|e| error::classify(&self.what, Asked::Write, &e))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.store.calls.count(Call::AbortUpload);
        let abort = self.store.client.abort_multipart_upload();
        let abort = abort
            .bucket(&self.store.bucket)
            .key(&self.name)
            .upload_id(&self.id);
        self.store.tasks.spawn_isolated("abort an upload", async move {
            if let Err(error) = abort.send().await {
                let error = error::classify("abort an upload", Asked::Read, &error);
                tracing::debug!(%error, "parts of an upload are left to the bucket's lifecycle rule");
            }
        });
    }
}

fn if_none_match(mode: PutMode) -> Option<String> {
    (mode == PutMode::IfAbsent).then(|| "*".to_owned())
}

fn length(body: &Body) -> i64 {
    i64::try_from(body.len()).expect("below BLOB_BYTES_MAX")
}
