//! Real clients, real processes.

mod clients;
mod crash;
mod hostile;
mod process;
mod quickstart;
