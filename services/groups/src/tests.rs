//! The coordinator over a store in memory, under paused time.

mod expiry;
mod offsets;
mod rebalance;
mod takeover;
mod world;
