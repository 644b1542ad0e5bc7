//! How far log nodes' write-ahead logs have moved on since an extent was opened.
//!
//! A node counts what it wrote since it was started, so a restart of it begins at 0 again: what is kept here are the
//! steps between two looks, node by node.

use tidemark_journal::Extent;
use tidemark_types::NodeId;

use crate::env::Env;

/// Of the open extent. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<Node>);

#[derive(Debug)]
struct Node {
    id: NodeId,
    /// Its counter when it was last looked at.
    counter: u64,
    /// What it wrote since the extent was opened.
    bytes: u64,
}

impl Written {
    /// Begins at what the extent's nodes have written now; one that was not heard yet, at what it says first.
    pub(super) fn since_now(env: &Env, extent: &Extent) -> Self {
        let mut written = Self::default();
        written.look(env, extent);
        written
    }

    /// Adds what was written since the last look. What a node wrote between that and its restart is not known.
    pub(super) fn look(&mut self, env: &Env, extent: &Extent) {
        for (id, used) in env.leases.disk_uses(extent) {
            let counter = used.written_bytes;
            match self.0.iter_mut().find(|node| node.id == id) {
                Some(node) => {
                    node.bytes += counter.checked_sub(node.counter).unwrap_or(counter);
                    node.counter = counter;
                }
                None => self.0.push(Node {
                    id,
                    counter,
                    bytes: 0,
                }),
            }
        }
    }

    /// What the node that wrote most has written.
    pub(super) fn bytes(&self) -> u64 {
        let each = self.0.iter().map(|node| node.bytes);
        each.max().unwrap_or(0)
    }
}
