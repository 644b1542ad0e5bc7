//! `cleanup.policy=compact`: which records of a partition stay. No I/O.
//!
//! # Overview
//! Two passes over a partition, as Kafka's log cleaner makes them. A [`Survey`] reads its new part and notes each key's
//! latest offset in an [`OffsetMap`] of bounded memory; it stops when the map is full, and the next run goes on from
//! there. A [`Cleaner`] then goes through everything below the surveyed end, batch by batch, and keeps what is latest.
//!
//! # Guarantees
//! 1. The latest record of a key stays until it is a tombstone whose delete horizon has passed.
//! 2. Offsets, timestamps, headers and producers of what stays are unchanged; order too.
//! 3. Memory is the map's budget plus one decoded batch, whatever the number of keys.
//! 4. Cleaning is idempotent: cleaning again with the same map changes nothing.
//!
//! Source: Kafka's documentation "Log Compaction", KIP-58 (min lag), KIP-354 (max lag), KIP-534 (delete horizon).

mod cleaner;
mod map;
mod survey;
#[cfg(test)]
mod tests;

pub use cleaner::{Cleaned, Cleaner, Counts};
pub use map::{Full, OffsetMap};
pub use survey::{Lag, Survey, Surveyed};
