//! The metadata seam: an ordered, strictly serializable, optimistic key-value store at FoundationDB's
//! altitude, and the one place that lists every key Tidemark keeps in it.
//!
//! # Overview
//! [`MetaStore`] hands out [`Transaction`]s. Engines: `embedded` (single node, fsynced), `sim` (in memory,
//! with faults), `foundationdb` (production, cargo feature). One conformance suite runs on all of them.
//!
//! # Consistency
//! Strict serializability: a transaction reads at one version and commits iff nothing it read (unless by a
//! snapshot read) was written since. Its own writes are visible to its later reads.
//!
//! # Retries
//! [`transact`] retries `Conflict`, `TooOld`, `Unavailable` and `MaybeCommitted` within a bound by running the
//! closure again. So closures are idempotent by construction: they re-read and decide from what is stored (J9).
//!
//! # Cancellation
//! Never drop or time out a commit whose outcome matters (J9).

mod decorate;
pub mod embedded;
pub mod faulty;
#[cfg(feature = "foundationdb")]
pub mod foundation;
pub mod keys;
mod limits;
mod occ;
pub mod sim;
mod store;
mod transact;

pub use decorate::{Decorate, Decorated};
pub use store::{
    Committed, KeyValue, MetaError, MetaStore, Mode, RangeRead, Transaction, Versionstamp, Watch,
};
pub use transact::{TransactError, transact};
