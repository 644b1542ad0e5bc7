//! What the writer is asked, and its answers.

use tidemark_journal::{
    Append, Appended, ExtentId, Fence, Fenced, FrameKind, OpenExtent, Release, ReplicaError,
};
use tidemark_types::Epoch;
use tokio::sync::oneshot;

/// A request that writes.
#[derive(Debug)]
pub(crate) enum Request {
    Open(OpenExtent, Reply<()>),
    Append(Append, Reply<Appended>),
    Fence(Fence, Reply<Fenced>),
    Release(Release, Reply<()>),
}

/// Where an answer goes. The asker may be gone.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, ReplicaError>>;

impl Request {
    pub(crate) fn extent(&self) -> ExtentId {
        match self {
            Self::Open(r, _) => r.extent,
            Self::Append(r, _) => r.extent,
            Self::Fence(r, _) => r.extent,
            Self::Release(r, _) => r.extent,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        match self {
            Self::Open(r, _) => r.epoch,
            Self::Append(r, _) => r.epoch,
            Self::Fence(r, _) => r.epoch,
            Self::Release(r, _) => r.epoch,
        }
    }

    /// The request as a verb, for messages.
    pub(crate) const fn verb(&self) -> &'static str {
        match self {
            Self::Open(..) => "open extent",
            Self::Append(..) => "append",
            Self::Fence(..) => "fence",
            Self::Release(..) => "release extent",
        }
    }

    /// Entries and body bytes it adds to a block at the most.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::Append(r, _) => {
                let bytes = r.frames.iter().map(|f| f.encoded_len()).sum();
                (r.frames.len(), bytes)
            }
            _ => (1, 0),
        }
    }

    /// What it may take when the disk is full.
    pub(crate) fn claim(&self) -> Claim {
        match self {
            Self::Fence(..) | Self::Release(..) => Claim::Control,
            Self::Open(..) => Claim::Takeover,
            Self::Append(r, _) if r.frames.iter().all(|f| f.body.kind != FrameKind::Data) => {
                Claim::Takeover
            }
            Self::Append(..) => Claim::Data,
        }
    }

    pub(crate) fn refuse(self, error: ReplicaError) {
        match self {
            Self::Open(_, reply) | Self::Release(_, reply) => drop(reply.send(Err(error))),
            Self::Append(_, reply) => drop(reply.send(Err(error))),
            Self::Fence(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// How deep into the reserve a request may go when the disk is full.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Claim {
    /// Not at all.
    Data,
    /// Half of its last segment, and a little beyond the budget: a restarted owner needs an extent and its checkpoint before
    /// it can release anything.
    Takeover,
    /// All of it: fences keep the log safe, releases make room.
    Control,
}

/// An accepted or refused request whose answer waits for the group's sync: a refusal may rest on something
/// that is not durable yet.
#[derive(Debug)]
pub(crate) enum Held {
    Open(ExtentId, Result<(), ReplicaError>, Reply<()>),
    Append(ExtentId, Result<Appended, ReplicaError>, Reply<Appended>),
    Fence(ExtentId, Result<Fenced, ReplicaError>, Reply<Fenced>),
}

impl Held {
    pub(crate) fn answer(self) {
        match self {
            Self::Open(_, answer, reply) => drop(reply.send(answer)),
            Self::Append(_, answer, reply) => drop(reply.send(answer)),
            Self::Fence(_, answer, reply) => drop(reply.send(answer)),
        }
    }

    pub(crate) fn refuse(self, error: ReplicaError) {
        match self {
            Self::Open(_, _, reply) => drop(reply.send(Err(error))),
            Self::Append(_, _, reply) => drop(reply.send(Err(error))),
            Self::Fence(_, _, reply) => drop(reply.send(Err(error))),
        }
    }

    /// Refuses what the full disk did not take, refusals too: they may rest on a dropped fence.
    pub(crate) fn refuse_full(self) {
        let extent = match &self {
            Self::Open(e, ..) | Self::Append(e, ..) | Self::Fence(e, ..) => *e,
        };
        self.refuse(ReplicaError::Full(extent));
    }
}
