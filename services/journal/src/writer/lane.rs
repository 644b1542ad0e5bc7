//! One replica as the writer sees it: what was sent, what it answered, whether it is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tidemark_types::{Lsn, NodeId};

use crate::{Append, Appended, Replica, ReplicaError};

type Pending = BoxFuture<'static, Result<Appended, ReplicaError>>;

/// The frames on their way to one replica. Its acks come in order, so only the oldest is polled.
pub(super) struct Lane {
    node: NodeId,
    /// `None` once the replica is lost: it is never sent a frame after a missed one.
    replica: Option<Arc<dyn Replica>>,
    pending: VecDeque<(usize, Pending)>,
    pending_bytes: usize,
    durable_end: Lsn,
}

impl Lane {
    pub(super) fn new(node: NodeId, replica: Option<Arc<dyn Replica>>, first: Lsn) -> Self {
        Self {
            node,
            replica,
            pending: VecDeque::new(),
            pending_bytes: 0,
            durable_end: first,
        }
    }

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.replica.is_none()
    }

    /// What the replica is known to hold. Stays valid when the replica is lost: it was durable.
    pub(super) const fn durable_end(&self) -> Lsn {
        self.durable_end
    }

    pub(super) fn raise(&mut self, end: Lsn) {
        self.durable_end = self.durable_end.max(end);
    }

    pub(super) fn lose(&mut self) {
        self.replica = None;
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Enqueues an append. `false`: the replica is further behind than `bytes_max`.
    pub(super) fn send(&mut self, append: Append, bytes: usize, bytes_max: usize) -> bool {
        let Some(replica) = &self.replica else {
            return true;
        };
        if self.pending_bytes > 0 && self.pending_bytes + bytes > bytes_max {
            return false;
        }
        self.pending.push_back((bytes, replica.append(append)));
        self.pending_bytes += bytes;
        true
    }

    /// Whether the oldest pending answer is the newest too, which nobody has polled yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.pending.len() == 1
    }

    /// The oldest pending answer, when it is there.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Appended, ReplicaError>>> {
        let Some((bytes, future)) = self.pending.front_mut() else {
            return Poll::Ready(None);
        };
        let bytes = *bytes;
        let answer = std::task::ready!(future.as_mut().poll(cx));
        self.pending.pop_front();
        self.pending_bytes -= bytes;
        Poll::Ready(Some(answer))
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("node", &self.node)
            .field("lost", &self.is_lost())
            .field("pending", &self.pending.len())
            .field("durable_end", &self.durable_end)
            .finish()
    }
}
