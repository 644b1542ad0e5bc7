//! The blob seam: immutable objects under names, at S3's altitude, and the engines behind it.
//!
//! # Overview
//! [`BlobStore`] is what tiering, cold reads and collection see. Decorators add what every engine needs:
//! `Retrying(Metered(Faulty(engine)))`. One conformance suite runs on every engine, bare and decorated.
//!
//! # Consistency
//! Read after write: what a put answered is read by every later get and list. An object appears whole or not at all.
//!
//! # Retries
//! Engines do one attempt. [`BlobError`] says what to do next: [`Remedy`] whether to repeat, and
//! [`BlobError::outcome_unknown`] whether a put may have happened, or may still happen, all the same.
//!
//! # Cancellation
//! Every future may be dropped. A dropped put has an unknown outcome: it may land later (T3).

mod body;
mod error;
pub mod faulty;
mod fs;
mod key;
mod metered;
mod retrying;
#[cfg(feature = "s3")]
pub mod s3;
pub mod sim;
mod store;

pub use body::Body;
pub use error::{BlobError, BlobErrorKind, Remedy};
pub use fs::Fs;
pub use key::{BadKey, BlobKey};
pub use metered::{BlobMeter, Metered, Op, OpCounts};
pub use retrying::{RetryPolicy, Retrying};
pub use store::{BlobInfo, BlobStore, List, Listed, Page, Put, PutId, PutMode, checked_range};
