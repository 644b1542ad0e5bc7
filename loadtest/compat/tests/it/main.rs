//! Real clients, real processes.

mod clients;
mod crash;
mod process;
mod quickstart;
