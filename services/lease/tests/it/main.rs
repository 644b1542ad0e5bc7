//! Leases over a shaky metadata store and log nodes in memory, under paused time.

mod basics;
mod limbo;
mod mutations;
mod owner;
mod release;
mod rolls;
mod schedule;
mod shaky;
mod takeover;
mod world;
