//! Reads a stopped node's disk and says whose it is, what it holds and what is damaged. Writes nothing.

use std::path::Path;

use tidemark_journal::ExtentInfo;
use tidemark_types::{Epoch, NodeId, ShardId};

use crate::damage::Damage;
use crate::disk::{Disk, FileDisk};
use crate::error::OpenError;
use crate::format::Cookie;
use crate::node::LogNode;
use crate::recover::{Depth, recover};

/// What a disk holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The node, by its disk's cookie.
    pub node: NodeId,
    /// Extents with what can be vouched for, and their bytes.
    pub extents: Vec<ExtentInfo>,
    /// Fences per shard.
    pub fences: Vec<(ShardId, Epoch)>,
    /// Segment files, of them free ones.
    pub segments: (usize, usize),
    /// Everything damaged.
    pub damage: Vec<Damage>,
    /// Segment files of another disk cookie, which this node does not read.
    pub foreign: Vec<String>,
}

impl LogNode {
    /// Which log node a folder is; `None` when it is none (yet), or not there. Changes nothing.
    ///
    /// # Errors
    /// When the folder or its cookie cannot be read.
    pub fn identity(folder: impl AsRef<Path>) -> Result<Option<NodeId>, OpenError> {
        let folder = folder.as_ref();
        if !folder.is_dir() {
            return Ok(None);
        }
        let cookie = Cookie::read(&FileDisk::read_only(folder)?)?;
        Ok(cookie.map(|cookie| cookie.node))
    }

    /// Checks every frame of a stopped node's folder. Takes no lock and writes nothing; on a running node's
    /// folder the last blocks may look torn.
    ///
    /// # Errors
    /// When there is no log node, or its files cannot be read or are of an unknown format.
    pub fn verify(folder: impl AsRef<Path>) -> Result<Report, OpenError> {
        Self::verify_disk(&FileDisk::read_only(folder)?)
    }

    /// The same for any disk.
    ///
    /// # Errors
    /// As [`LogNode::verify`].
    pub fn verify_disk(disk: &dyn Disk) -> Result<Report, OpenError> {
        let folder = disk.folder();
        let cookie = Cookie::read(disk)?.ok_or_else(|| OpenError::BadCookie {
            file: format!("{folder}/cookie"),
            why: "it is missing, so this is no log node's folder".to_owned(),
        })?;
        let found = recover(disk, cookie.secret, Depth::Everything)?;
        let free = found.pool.free.len();
        let used = found.pool.closed.len() + usize::from(found.active.is_some());
        let shards = found.state.shards.iter();
        Ok(Report {
            node: cookie.node,
            extents: found.state.infos(),
            fences: shards.map(|(id, shard)| (*id, shard.fence)).collect(),
            segments: (used + free, free),
            damage: found.damage,
            foreign: found.foreign,
        })
    }
}
