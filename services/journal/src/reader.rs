//! Reads frames of any extent of a shard, sealed or open, from whichever replica can serve them.

use tidemark_types::{Coded, ErrorCode, Lsn, NodeId};

use crate::mutation::{Mutation, mutated};
use crate::{Extent, ExtentId, Frame, Nodes, ReadFrames, ReplicaError};

/// Why no replica served a read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// A replica's data is damaged and no other holds it intact.
    #[error("read {extent}: damaged from lsn {from} on {node}, and no other replica has it: {why}")]
    Damaged {
        /// The extent.
        extent: ExtentId,
        /// First LSN that cannot be read.
        from: Lsn,
        /// Where it is damaged.
        node: NodeId,
        /// File and byte range.
        why: String,
    },
    /// No replica that holds it can be reached: retry.
    #[error("read {extent} at lsn {from}: no replica answers: {last}")]
    Unavailable {
        /// The extent.
        extent: ExtentId,
        /// First LSN wanted.
        from: Lsn,
        /// The last replica's error.
        last: ReplicaError,
    },
}

impl Coded for ReadError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Damaged { .. } => ErrorCode::StorageError,
            Self::Unavailable { .. } => ErrorCode::LeaderNotAvailable,
        }
    }
}

/// Reads extents. Clones share the registry.
#[derive(Clone, Debug)]
pub struct Reader {
    nodes: Nodes,
    mutation: Option<Mutation>,
}

impl Reader {
    /// A reader over the known nodes.
    #[must_use]
    pub const fn new(nodes: Nodes) -> Self {
        Self {
            nodes,
            mutation: None,
        }
    }

    /// A reader that breaks a rule; tests only.
    #[doc(hidden)]
    #[must_use]
    pub const fn mutated(nodes: Nodes, mutation: Option<Mutation>) -> Self {
        Self { nodes, mutation }
    }

    /// Frames in `[from, end)`, contiguous from `from`, until `bytes_max` is reached; at least one unless the range
    /// is empty. `end` is the extent's sealed end or the committed end of an open one, and is never passed
    /// (J6): what a replica holds above it may share LSNs with the next extent.
    ///
    /// Replicas are asked in the row's order, the next when one fails.
    ///
    /// # Errors
    /// When no replica serves the first frame.
    pub async fn read(
        &self,
        extent: &Extent,
        from: Lsn,
        end: Lsn,
        bytes_max: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        if from >= end {
            return Ok(Vec::new());
        }
        let mut failed = Failures::default();
        for &node in extent.replicas.nodes() {
            let Some(replica) = self.nodes.get(node) else {
                failed.note(
                    node,
                    ReplicaError::Unreachable(format!("{node} is unknown")),
                );
                continue;
            };
            let end_asked = if mutated(self.mutation, Mutation::ReadBeyondEnd) {
                Lsn(u64::MAX)
            } else {
                end
            };
            let request = ReadFrames {
                extent: extent.id,
                from,
                end: end_asked,
                bytes_max,
            };
            match replica.read(request).await {
                Ok(frames) => {
                    let usable = usable(extent.id, from, end_asked, frames);
                    if !usable.is_empty() {
                        return Ok(usable);
                    }
                    let why = format!("{node} does not hold lsn {from}");
                    failed.note(node, ReplicaError::Unreachable(why));
                }
                Err(error) => failed.note(node, error),
            }
        }
        Err(failed.into_error(extent.id, from))
    }
}

/// The longest run of `frames` that is this extent's, contiguous from `from`, chained, and below `end` (J6, J7).
pub(crate) fn usable(extent: ExtentId, from: Lsn, end: Lsn, mut frames: Vec<Frame>) -> Vec<Frame> {
    let mut next = from;
    let mut prev: Option<u32> = None;
    let good = frames.iter().take_while(|frame| {
        let chained = prev.is_none_or(|crc| crc == frame.prev_crc);
        let fits = frame.extent == extent && frame.lsn == next && frame.lsn < end && chained;
        next = next.next();
        prev = Some(frame.crc);
        fits
    });
    let keep = good.count();
    frames.truncate(keep);
    frames
}

/// What the replicas answered instead of frames: damage outranks absence, since it will not pass.
#[derive(Default)]
struct Failures {
    damaged: Option<(NodeId, Lsn, String)>,
    other: Option<ReplicaError>,
}

impl Failures {
    fn note(&mut self, node: NodeId, error: ReplicaError) {
        match error {
            ReplicaError::Damaged { from, why, .. } => self.damaged = Some((node, from, why)),
            other => self.other = Some(other),
        }
    }

    fn into_error(self, extent: ExtentId, wanted: Lsn) -> ReadError {
        match (self.damaged, self.other) {
            // Someone who cannot be reached now may have it.
            (_, Some(last)) => ReadError::Unavailable {
                extent,
                from: wanted,
                last,
            },
            (Some((node, from, why)), None) => ReadError::Damaged {
                extent,
                from,
                node,
                why,
            },
            (None, None) => ReadError::Unavailable {
                extent,
                from: wanted,
                last: ReplicaError::NoSuchExtent(extent),
            },
        }
    }
}
