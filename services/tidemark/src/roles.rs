//! What a process does. `all` is every role in one process: the whole service.

pub mod all;
mod layout;

pub use all::{Service, StartError};
