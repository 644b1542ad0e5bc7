//! What a process does: `all` is every role in one process, `repair` and `fsck` the operator's steps.

use std::net::SocketAddr;

mod all;
mod descriptors;
#[cfg(feature = "foundationdb")]
mod foundation;
#[cfg(not(feature = "foundationdb"))]
#[path = "roles/foundation_absent.rs"]
mod foundation;
mod fsck;
mod layout;
mod metrics;
mod objects;
mod opened;
mod parts;
mod rebuild;
mod repair;
#[cfg(feature = "s3")]
mod s3;
#[cfg(not(feature = "s3"))]
#[path = "roles/s3_absent.rs"]
mod s3;

pub use all::Service;
pub use descriptors::{fit, raise_limit};
pub use fsck::{
    Audit, BadObject, Checked, Damage, Fsck, Looked, Missing, Orphan, Report, Uncovered, fsck,
    fsck_beside,
};
pub use rebuild::DiskGone;
pub use repair::{StateGivenUp, give_up_state, unclean_seal};

/// Why a role did not start. Messages start with the verb and name the file, address or setting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener would face the network without auth.
    #[error(
        "listen on {address} ({setting}): without configured auth only loopback addresses are allowed"
    )]
    NotLoopback {
        /// The setting.
        setting: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// The write-ahead log's disk is gone: an operator decides.
    #[error("{0}")]
    DiskGone(Box<DiskGone>),
    /// There is a log, or a rebuild was asked for, and nothing says what it holds.
    #[error(
        "open the metadata in {folder}: there is none, and without it nothing says what the log and its objects hold"
    )]
    MetadataGone {
        /// Where it should be.
        folder: String,
    },
    /// A component refused; its own words say which and why.
    #[error("{0}")]
    Component(String),
}

impl StartError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Component(error.to_string())
    }
}
