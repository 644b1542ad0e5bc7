//! The words of Tidemark as types: ids, offsets, epochs, bounds and the public error codes.
//!
//! No I/O, no clock, no randomness. Every other crate depends on this one and it depends on none.

mod codec;
mod error_code;
mod ids;
pub mod limits;
mod tenant;

pub use codec::{DecodeError, Reader};
pub use error_code::{Coded, ErrorCode};
pub use ids::*;
pub use tenant::Tenant;
