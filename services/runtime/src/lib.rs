//! What the production code may use of the ambient world, injected: clock, randomness, tasks.
//!
//! The simulator runs the same code on one thread with a virtual clock and seeded randomness; whatever
//! is taken from here behaves the same there. The ambient twins are banned by `.clippy.toml`.

mod accept;
mod backoff;
mod clock;
mod entropy;
mod invariants;
mod maps;
mod slice;
mod tasks;

pub use accept::{accept_error_passes, listen};
pub use backoff::Backoff;
pub use clock::Clock;
pub use entropy::Entropy;
#[doc(hidden)]
pub use invariants::violated;
pub use invariants::{Invariant, violations};
pub use maps::{FastMap, FastSet, IdHasher};
pub use slice::ask_for_slices;
pub use tasks::{ShutdownError, TaskFailure, Tasks};
