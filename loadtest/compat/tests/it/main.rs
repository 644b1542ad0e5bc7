//! Real clients, real processes.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests may unwrap as tests do"
)]

mod attack;
mod clients;
mod cold;
mod crash;
mod damage;
mod fields;
mod fsck;
mod groups;
mod hostile;
mod messages;
mod outage;
mod process;
mod quickstart;
mod rebuild;
mod table;
mod tiering;
mod wire;
