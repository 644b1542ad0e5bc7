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
//! # Rules and the tests that break without them
//! | rule | kept in | test (`tests/it`, unless named otherwise) |
//! |---|---|---|
//! | J1 | `walk` | `takeover::a_takeover_walks_back_to_the_newest_complete_checkpoint` |
//! | J2 | `roll`, journal's writer | `rolls::nothing_is_acked_while_a_rolls_outcome_is_unknown` |
//! | J3 | journal's `recover`, writer | `mutations::forgotten_reply`, journal `acks_of_another_epoch_are_not_counted` |
//! | J4 | the log node | `mutations::{volatile_fence, fence_dies_with_its_extent}` (in memory) |
//! | J5 | the log node | `limbo::a_damaged_only_replica_keeps_the_shard_closed_until_an_unclean_seal` (above the seam) |
//! | J6 | journal's reader | `mutations::read_beyond_the_seal` |
//! | J7 | journal's writer | `World::check` after every run |
//! | J8 | `claim`, `seal` | `mutations::stale_extent_read` |
//! | J9 | `settle`, `require` | `takeover::unknown_outcomes_of_t1_and_t2_are_settled_by_what_is_stored`, `rolls::every_lost_reply_…` |
//! | J10 | journal's `recover`, `extents`, `unclean` | `limbo::an_unreadable_highest_inventory_waits_for_all_replies` |
//! | J11 | `roll_reason` | `rolls::optional_rolls_wait_…` (repair of sealed extents is not built) |
//! | J12 | `owner`, `walk` | `takeover::a_checkpoint_that_was_never_marked_counts` |
//! | J1, J12 | `release`, `empty` | `tests/it/release.rs` |
//! | J1, J10 | `gone` | log's `tests/it/rebuild.rs` |
//! | J13 | `roll`, journal's writer | `rolls::pending_acks_follow_their_offsets_into_the_next_extent` |
//! | K1 | `owner` | `basics::a_zombie_proves_nothing_and_its_transactions_are_refused` |
//! | B1 | `observer`, `claim` | `basics::{a_silent_node_…, time_without_own_heartbeats_is_not_credited}` |
//! | B2, B3 | `observer`, `take`, `leases` | `observer`'s own (ranks); the waits have none |
//!
//! # Cancellation
//! A future of this crate may be dropped only by an owner that stops: the next taker finds whatever was left.

mod claim;
mod empty;
mod error;
mod extents;
mod gone;
mod heartbeat;
mod leases;
mod observer;
mod owner;
mod ownership;
mod release;
mod roll;
mod seal;
mod settle;
mod stateless;
mod take;
mod unclean;
mod walk;

pub use error::{NotOwner, OwnerError, ProbeError, RollError, TakeError};
pub use gone::{GoneExtent, GoneShard, find_gone, silent_nodes};
pub use leases::{LeaseConfig, Leases, Rolled, SealedExtent, Taken};
pub use ownership::{OwnershipState, require};
pub use roll::{RollReason, roll_reason};
pub use tidemark_meta::keys::extent::LostRange;
pub use unclean::UncleanSealed;
