//! What S3 and its SDK say, in the seam's words.
//!
//! A put's failure counts as an unknown outcome unless the answer says that it was refused: a 5xx may come from a proxy
//! after the object was written.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::{BlobError, BlobErrorKind};

/// Whether a failed request may have changed an object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// No: a read, or something that is safe to repeat.
    Read,
    /// Yes.
    Write,
}

/// An SDK error in the seam's words.
pub(super) fn classify<E>(what: &str, asked: Asked, error: &SdkError<E, HttpResponse>) -> BlobError
where
    E: StdError + ProvideErrorMetadata + 'static,
{
    let in_doubt = |error: BlobError| match asked {
        Asked::Write => error.unknown_outcome(),
        Asked::Read => error,
    };
    match error {
        SdkError::ServiceError(answer) => {
            let (raw, code) = (answer.raw(), answer.err().code());
            // S3 begins some answers before it knows how they end; an error behind a 200 is one of its own.
            let status = match raw.status().as_u16() {
                200..300 => 500,
                status => status,
            };
            let error = answered(what, status, code, answer.err().message(), raw);
            if status >= 500 || code == Some("NoSuchUpload") {
                in_doubt(error)
            } else {
                error
            }
        }
        SdkError::TimeoutError(_) => in_doubt(BlobError::new(
            BlobErrorKind::TimedOut,
            what,
            "no answer in time",
        )),
        other => {
            let told = DisplayErrorContext(other).to_string();
            let error = match unsent_kind(other, &told) {
                kind @ BlobErrorKind::Unauthorized => {
                    BlobError::new(kind, what, "no credentials were found")
                }
                kind => BlobError::new(kind, what, shortened(&told)),
            };
            if refused_connection(other) || error.kind() == BlobErrorKind::Unauthorized {
                error
            } else {
                in_doubt(error)
            }
        }
    }
}

fn unsent_kind<E>(error: &SdkError<E, HttpResponse>, why: &str) -> BlobErrorKind {
    let timed_out = matches!(error, SdkError::DispatchFailure(e) if e.is_timeout());
    if timed_out {
        BlobErrorKind::TimedOut
    } else if why.contains("CredentialsNotLoaded") || why.contains("no providers in chain") {
        BlobErrorKind::Unauthorized
    } else {
        BlobErrorKind::Unavailable
    }
}

/// Nothing was sent then.
fn refused_connection(error: &(dyn StdError + 'static)) -> bool {
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn answered(
    what: &str,
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
    raw: &HttpResponse,
) -> BlobError {
    let header = |name: &str| raw.headers().get(name);
    let mut why = format!("{status} {}", code.unwrap_or("without a code"));
    if let Some(message) = message {
        why = format!("{why}: {}", shortened(message));
    }
    if let Some(region) =
        header("x-amz-bucket-region").filter(|_| matches!(status, 301 | 307 | 400))
    {
        why = format!("{why} (the bucket's region is {region})");
    }
    let wait = header("retry-after")
        .and_then(|s| s.parse().ok())
        .map(Duration::from_secs);
    BlobError::new(kind(status, code), what, why).after(wait)
}

fn kind(status: u16, code: Option<&str>) -> BlobErrorKind {
    use BlobErrorKind as K;
    match (code.unwrap_or_default(), status) {
        (
            "NoSuchBucket"
            | "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "InvalidBucketName",
            _,
        )
        | (_, 301 | 307) => K::NoBucket,
        ("NoSuchUpload", _) => K::Unavailable,
        ("ConditionalRequestConflict" | "OperationAborted", _) | (_, 409) => K::Unavailable,
        ("PreconditionFailed", _) | (_, 412) => K::AlreadyExists,
        ("InvalidRange", _) | (_, 416) => K::Invalid,
        ("BadDigest" | "InvalidDigest" | "IncompleteBody" | "XAmzContentChecksumMismatch", _) => {
            K::Corrupt
        }
        ("RequestTimeout", _) | (_, 408 | 504) => K::TimedOut,
        (
            "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "InvalidAccessKeyId"
            | "XAdminUserNotFound",
            _,
        )
        | (_, 401 | 403) => K::Unauthorized,
        (
            "QuotaExceeded"
            | "XMinioStorageFull"
            | "InsufficientStorage"
            | "XMinioAdminBucketQuotaExceeded",
            _,
        )
        | (_, 507) => K::Full,
        ("SlowDown" | "Throttling" | "RequestLimitExceeded" | "TooManyRequests", _)
        | (_, 429 | 503) => K::Throttled,
        ("NoSuchKey" | "NotFound", _) | ("", 404) => K::NotFound,
        // A 404 of something else is no answer about the object.
        (_, 404 | 500..) => K::Unavailable,
        _ => K::Invalid,
    }
}

/// An error of one object in a batch.
pub(super) fn of_code(what: &str, code: Option<&str>, message: Option<&str>) -> BlobError {
    // The status is the batch's; codes without one of their own are the server's trouble.
    let status = match code {
        Some("AccessDenied") => 403,
        _ => 500,
    };
    let why = format!(
        "{}: {}",
        code.unwrap_or("no code"),
        message.unwrap_or("no message")
    );
    BlobError::new(kind(status, code), what, shortened(&why))
}

/// The body of an answer broke off.
pub(super) fn in_body(what: &str, error: &(dyn StdError + 'static)) -> BlobError {
    let why = DisplayErrorContext(error).to_string();
    let kind = if why.contains("IncompleteMessage")
        || why.contains("end of file")
        || why.contains("UnexpectedEof")
    {
        BlobErrorKind::Corrupt
    } else {
        BlobErrorKind::Unavailable
    };
    BlobError::new(kind, what, shortened(&why))
}

/// The bucket is not there.
pub(super) fn no_bucket(what: &str, bucket: &str) -> BlobError {
    BlobError::new(
        BlobErrorKind::NoBucket,
        what,
        format_args!("the bucket {bucket} is not there"),
    )
}

/// A size the server told.
pub(super) fn size(what: &str, told: Option<i64>) -> Result<u64, BlobError> {
    let size = told.and_then(|told| u64::try_from(told).ok());
    size.ok_or_else(|| BlobError::new(BlobErrorKind::Corrupt, what, "the answer tells no size"))
}

/// The SDK's words can fill a screen, and servers' end in a full stop.
fn shortened(why: &str) -> String {
    const CHARS_MAX: usize = 300;
    let line = why.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{} …", &line[..at]),
        None => line.trim_end_matches('.').to_owned(),
    }
}
