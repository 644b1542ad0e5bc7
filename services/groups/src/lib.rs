//! The coordinator of consumer groups: Kafka's classic group protocol, and committed offsets.
//!
//! # Overview
//! A group is coordinated by the owner of the shard that `hash(tenant, group)` falls on; there is no lease
//! besides the shard's. Every loaded group has one actor. It feeds a state machine that does no I/O, stores
//! what the machine says must be stored, and only then lets the answers go.
//!
//! # Consistency
//! Every transaction reads the shard's row and the group's row under conflict (J9, K7), so an owner that was
//! replaced changes nothing. One transaction per group is in flight. What a client was told is stored: a
//! generation's number before its members learn it, an assignment before a member gets it.
//!
//! # Crash consistency
//! A new coordinator starts from the stored generation: members keep their ids and assignments and go on with
//! a heartbeat, each with a whole session timeout (K7). A rebalance that was under way is forgotten; its members
//! are told to rejoin. Any failure of a transaction takes the same way: the group is unloaded and read again.

mod actor;
mod api;
mod config;
mod error;
mod groups;
mod machine;
mod owners;
mod store;
mod subscription;
#[cfg(test)]
mod tests;

pub use api::*;
pub use config::GroupsConfig;
pub use error::GroupError;
pub use groups::Groups;
pub use owners::{Owners, Standing};
