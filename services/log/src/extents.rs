//! What the metadata says of the journal's extents, for who checks the log nodes.

use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::{self, Key};
use tidemark_meta::{MetaError, MetaStore, Mode};
use tidemark_types::{ExtentIdx, Lsn, NodeId, ShardId};

use crate::Log;

/// Rows read in one transaction.
const PAGE: usize = 500;

/// An extent's row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtentStatus {
    /// The shard.
    pub shard: ShardId,
    /// Which of its extents.
    pub index: ExtentIdx,
    /// LSN of its first frame.
    pub first: Lsn,
    /// Where it ends, exclusive; `None` while it is open.
    pub end: Option<Lsn>,
    /// The nodes that hold it.
    pub replicas: Vec<NodeId>,
    /// From here on an operator gave it up.
    pub lost_from: Option<Lsn>,
}

impl From<(ExtentKey, ExtentRow)> for ExtentStatus {
    fn from((key, row): (ExtentKey, ExtentRow)) -> Self {
        Self {
            shard: key.shard,
            index: key.index,
            first: row.first,
            end: match row.state {
                ExtentState::Open => None,
                ExtentState::Sealed(end) => Some(end),
            },
            replicas: row.replicas,
            lost_from: row.lost.map(|lost| lost.from),
        }
    }
}

impl Log {
    /// What the metadata says of every extent.
    ///
    /// # Errors
    /// The metadata store's.
    pub async fn extents(&self) -> Result<Vec<ExtentStatus>, MetaError> {
        let (env, _) = self.parts();
        extents(env.meta.as_ref()).await
    }
}

/// Every extent, by shard and index. Read in pages: each row stands for itself.
///
/// # Errors
/// The metadata store's.
pub async fn extents(meta: &dyn MetaStore) -> Result<Vec<ExtentStatus>, MetaError> {
    let mut range = ExtentKey::all();
    let mut found = Vec::new();
    loop {
        let mut tx = meta.begin();
        let page: Vec<(ExtentKey, ExtentRow)> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        let last = page.last().filter(|_| page.len() == PAGE);
        let next = last.map(|(last, _)| keys::behind(last));
        found.extend(page.into_iter().map(ExtentStatus::from));
        let Some(next) = next else {
            return Ok(found);
        };
        range.begin = next;
    }
}
