//! Why an operation on an object failed, and what the caller does about it.

use std::fmt;
use std::time::Duration;

use tidemark_types::{Coded, ErrorCode};

use crate::BadKey;

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BlobErrorKind {
    /// No such object.
    NotFound,
    /// A conditional put found an object of another put.
    AlreadyExists,
    /// The store asks to be left alone for a while (503, SlowDown).
    Throttled,
    /// The store cannot be reached, broke the connection or failed by itself.
    Unavailable,
    /// No answer in time.
    TimedOut,
    /// The store answered with fewer or other bytes than it holds: the answer is worthless, the object may be whole.
    Corrupt,
    /// The store has no room.
    Full,
    /// Credentials are missing, wrong, expired or not allowed to do this.
    Unauthorized,
    /// The bucket or folder is not there, or lies in another region.
    NoBucket,
    /// The call is wrong: a range outside of the object, a store opened for reading only.
    Invalid,
}

/// Whether and when to do the same again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// Soon, with backoff: it passes by itself.
    Retry,
    /// Seldom, and tell an operator: it passes when somebody acts (credentials, bucket, room).
    Operator,
    /// Never: the answer is final.
    Final,
}

impl BlobErrorKind {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::Throttled | Self::Unavailable | Self::TimedOut | Self::Corrupt => Remedy::Retry,
            Self::Full | Self::Unauthorized | Self::NoBucket => Remedy::Operator,
            Self::NotFound | Self::AlreadyExists | Self::Invalid => Remedy::Final,
        }
    }

    /// What an operator looks at first.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NotFound => "The object was collected or never written.",
            Self::AlreadyExists => {
                "Names are never reused: another process writes under this prefix."
            }
            Self::Throttled => "The store limits requests; it is asked again with backoff.",
            Self::Unavailable | Self::TimedOut => {
                "Check the network and the store's own status; it is asked again."
            }
            Self::Corrupt => "The answer was damaged on its way; it is asked again.",
            Self::Full => "Make room: nothing can be tiered until then.",
            Self::Unauthorized => {
                "Check the credentials (environment, profile, instance role) and the bucket's policy."
            }
            Self::NoBucket => "Check the bucket's or folder's name, its region and the endpoint.",
            Self::Invalid => "Check the object store's settings; if these are right it is a bug.",
        }
    }
}

/// A failed operation. Boxed inside: results stay small.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobError(Box<Inner>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Inner {
    kind: BlobErrorKind,
    what: String,
    why: String,
    outcome_unknown: bool,
    retry_after: Option<Duration>,
}

impl BlobError {
    /// `what` begins with the bare verb and names the object ("get l0/1/2"), `why` is the cause.
    #[must_use]
    pub fn new(kind: BlobErrorKind, what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.to_string(),
            why: why.to_string(),
            outcome_unknown: false,
            retry_after: None,
        }))
    }

    /// Marks that the put may have happened, or may still happen.
    #[must_use]
    pub fn unknown_outcome(mut self) -> Self {
        self.0.outcome_unknown = true;
        self
    }

    /// Adds how long the store asked to be left alone.
    #[must_use]
    pub fn after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait;
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> BlobErrorKind {
        self.0.kind
    }

    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> Remedy {
        self.0.kind.remedy()
    }

    /// A put may have happened, or may still happen. `false` for reads, and for puts that certainly did nothing.
    #[must_use]
    pub const fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// How long the store asked to be left alone.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The cause, as the engine words it.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.0.why
    }
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.what, self.0.why)?;
        if self.0.outcome_unknown {
            f.write_str(" (outcome unknown)")?;
        }
        Ok(())
    }
}

impl std::error::Error for BlobError {}

impl From<BadKey> for BlobError {
    fn from(error: BadKey) -> Self {
        Self::new(
            BlobErrorKind::Invalid,
            format_args!("name an object {:?}", error.key),
            error.why,
        )
    }
}

impl Coded for BlobError {
    fn code(&self) -> ErrorCode {
        match self.0.kind {
            BlobErrorKind::Throttled => ErrorCode::Overloaded,
            BlobErrorKind::TimedOut => ErrorCode::RequestTimedOut,
            BlobErrorKind::Invalid => ErrorCode::Unknown,
            _ => ErrorCode::StorageError,
        }
    }
}
