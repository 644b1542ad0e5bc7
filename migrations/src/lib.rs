//! Numbered migrations of the keyspace, run by every start before anything else touches the metadata store.
//!
//! # Overview
//! `meta/schema` holds the number of the last complete migration. [`migrate`] writes the newest number into an
//! empty keyspace, runs what an older one lacks, and refuses a newer one.
//!
//! # Crash consistency
//! A migration is a sequence of transactions, each idempotent and within the bounds of one; where it goes on is in
//! `meta/cursor`, written by the transaction that did the work. So a crash at any point, an unknown outcome and two
//! processes that start at once all resume at the cursor. While a migration is under way, programs that do
//! not know it refuse the keyspace.
//!
//! # Adding one
//! A file `m0002_what.rs` with a type that implements [`Migration`], a line in [`ALL`], fixtures of the old and
//! the new bytes in `fixtures/`, and a test that migrates a keyspace made of the old ones.

mod migration;
mod run;

#[cfg(test)]
mod tests;

pub use migration::{Migration, Step};
pub use run::{Applied, MigrateError, Report, migrate, migrate_with};

/// The version of a keyspace before the first migration: the layout that the first release wrote.
pub const FIRST: u32 = 1;

/// Every migration in order; the first one is number [`FIRST`] + 1.
pub static ALL: &[&dyn Migration] = &[];
