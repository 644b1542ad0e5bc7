//! Real clients, real processes.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as tests do"
)]

mod clients;
mod crash;
mod damage;
mod fsck;
mod hostile;
mod process;
mod quickstart;
