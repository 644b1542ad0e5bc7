//! Ranged reads, exact or refused.

use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use super::calls::Call;
use super::error::{self, Asked};
use super::{S3, body};
use crate::{BlobError, BlobErrorKind, BlobKey};

impl S3 {
    pub(super) async fn get_range(
        &self,
        key: &BlobKey,
        range: Range<u64>,
        len: usize,
    ) -> Result<Bytes, BlobError> {
        self.calls.count(Call::Get);
        let what = format!("get {key}");
        let sent = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.name(key))
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .customize()
            // Not the SDK's own mode: some servers answer a range with the sum of the whole object.
            .mutate_request(|request| {
                request
                    .headers_mut()
                    .insert("x-amz-checksum-mode", "ENABLED");
            })
            .send()
            .await;
        let mut out = sent.map_err(|e| error::classify(&what, Asked::Read, &e))?;
        let held = check_extent(&what, &out, &range)?;
        let bytes = collect(&what, std::mem::take(&mut out.body), len).await?;
        if held == len as u64 {
            check_sum(&what, out.checksum_crc32_c(), &bytes)?;
        }
        Ok(bytes)
    }
}

/// That the answer is about the bytes asked for. Gives the object's size.
fn check_extent(what: &str, out: &GetObjectOutput, range: &Range<u64>) -> Result<u64, BlobError> {
    let len = error::size(what, out.content_length())?;
    let answered = match out.content_range() {
        Some(text) => parse_content_range(text),
        None => Some((0..len, len)),
    };
    let corrupt = |why: String| Err(BlobError::new(BlobErrorKind::Corrupt, what, why));
    let Some((part, held)) = answered else {
        return corrupt(format!(
            "the answer's Content-Range {:?} is none",
            out.content_range()
        ));
    };
    if range.end > held {
        let why = format!(
            "the range {}..{} passes the end {held}",
            range.start, range.end
        );
        return Err(BlobError::new(BlobErrorKind::Invalid, what, why));
    }
    if part != *range || part.end - part.start != len {
        return corrupt(format!(
            "asked for bytes {range:?}, the answer has {len} of {part:?}"
        ));
    }
    Ok(held)
}

/// `bytes 0-9/100`
fn parse_content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (part, held) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let end = last.parse::<u64>().ok()?.checked_add(1)?;
    Some((first.parse().ok()?..end, held.parse().ok()?)).filter(|(part, _)| part.start < part.end)
}

/// Exactly `len` bytes. No copy when they come in one piece.
async fn collect(what: &str, mut body: ByteStream, len: usize) -> Result<Bytes, BlobError> {
    let mut all = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| error::in_body(what, &e))?;
        if all.is_empty() && chunk.len() == len {
            return Ok(chunk);
        }
        if all.len() + chunk.len() > len {
            return Err(BlobError::new(
                BlobErrorKind::Corrupt,
                what,
                "the body is longer than was promised",
            ));
        }
        if all.is_empty() {
            all.reserve(len);
        }
        all.extend_from_slice(&chunk);
    }
    if all.len() == len {
        return Ok(all.freeze());
    }
    let why = format_args!("the body ended after {} of {len} bytes", all.len());
    Err(BlobError::new(BlobErrorKind::Corrupt, what, why))
}

/// Sums of objects uploaded in parts are sums of sums (`…-3`) and tell nothing of the whole.
fn check_sum(what: &str, told: Option<&str>, bytes: &Bytes) -> Result<(), BlobError> {
    match told {
        Some(told) if !told.contains('-') && told != body::checksum([bytes]) => {
            Err(BlobError::new(
                BlobErrorKind::Corrupt,
                what,
                "the body does not match its checksum",
            ))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_content_range_is_read() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((0..10, 100)));
        for bad in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes */100",
            "bytes 9-3/100",
            "bytes 0-9/*",
            "0-9/100",
            "bytes 0-18446744073709551615/1",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_sum_is_compared_unless_it_is_one_of_parts() {
        let bytes = Bytes::from_static(b"123456789");
        // CRC32C's check value, e3069283.
        check_sum("get", Some("4waSgw=="), &bytes).unwrap();
        check_sum("get", Some("AAAAAA==-2"), &bytes).unwrap();
        check_sum("get", None, &bytes).unwrap();
        let error = check_sum("get", Some("AAAAAA=="), &bytes).unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Corrupt);
    }
}
