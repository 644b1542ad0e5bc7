//! The one binary: settings, the command line, and the roles a process can take.
//!
//! `serve` starts every role in one process. The other commands talk to a running service over its HTTP API,
//! except `fsck` and `unclean-seal`, which open the data folder of a stopped one.

pub mod cli;
pub mod config;
pub mod roles;
