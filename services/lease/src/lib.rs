//! Leases: who owns a shard, and how ownership passes without losing or inventing a frame.
//!
//! # Overview
//! [`Leases::take`] is the one way to become owner, at a start and at a takeover alike: T1 raises the epoch, the
//! open extent's replicas are fenced, its end is decided and repaired, T2 seals it there and creates the next
//! extent. The caller replays [`Taken::replay`], appends its checkpoint through [`Taken::writer`], and when that
//! is committed calls [`Leases::mark_checkpoint`] and [`Leases::mark_serving`]. From then on [`Leases::roll`] moves
//! to a new extent, [`Leases::probe`] proves ownership (K1), and [`require`] guards every transaction the owner makes.
//!
//! # Consistency
//! The epoch is the fencing token: compare-and-swap in `shard/{s}`, fences on the replicas' disks. A heartbeat
//! only decides *when* a takeover is tried, never whether it is safe.
//!
//! # Retries
//! Transactions whose outcome is unknown are settled by re-reading under conflict; the stored row is the truth and
//! nothing from memory is reused (J9). [`Leases::take`] starts over from T1 a bounded number of times.
//!
//! # Cancellation
//! A future of this crate may be dropped only by an owner that stops: the next taker finds whatever was left.

mod claim;
mod error;
mod extents;
mod heartbeat;
mod leases;
mod observer;
mod owner;
mod ownership;
mod roll;
mod seal;
mod settle;
mod take;
mod unclean;
mod walk;

pub use error::{NotOwner, OwnerError, ProbeError, RollError, TakeError};
pub use leases::{LeaseConfig, Leases, Rolled, SealedExtent, Taken, UncleanSealed};
pub use ownership::{OwnershipState, require};
pub use roll::{RollReason, roll_reason};
pub use tidemark_meta::keys::extent::LostRange;
