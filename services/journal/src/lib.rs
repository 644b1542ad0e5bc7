//! The journal seam: frames, the request types of a log node's replica, and the quorum client over replicas.
//!
//! # Overview
//! A shard's journal is a chain of extents. An extent has one writer epoch and a fixed replica set and is
//! never reopened. [`Replica`] is one log node as an owner sees it, in process or remote; everything that
//! decides (commit point, fence quorum, End, re-append) is in the quorum client, above it.
//!
//! # Notation
//! `n` replicas, ack quorum `A`, fence quorum `F = n − A + 1`. Ends are exclusive.

mod frame;
pub mod memory;
mod mutation;
mod nodes;
mod reader;
mod recover;
mod replica;
mod writer;

pub use frame::{FRAME_HEADER_BYTES, Frame, FrameBody, FrameKind, Part};
#[doc(hidden)]
pub use mutation::Mutation;
pub use nodes::{Extent, Nodes, REPLICAS_MAX, ReplicaSet};
pub use reader::{ReadError, Reader};
pub use recover::{
    Damage, RecoverError, RecoverOptions, Recovery, UncleanEnd, recover, recover_unclean,
};
pub use replica::{
    Append, Appended, DiskUse, ExtentId, ExtentInfo, Fence, Fenced, Inventory, OpenExtent, Probe,
    Probed, ReadFrames, Release, Replica, ReplicaError, read_memory_bytes_max,
};
pub use writer::{AppendRefused, Committed, RefusedWhy, Writer, WriterEnd, WriterOptions};
