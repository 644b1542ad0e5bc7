//! Reading the gap below End and copying it until A replicas hold it.

use tidemark_types::Lsn;

use super::fence::{Fencing, Replies, fence_once};
use super::{RecoverError, Recovery, vouched_end};
use crate::{Append, Frame, Inventory, OpenExtent, ReadFrames, ReplicaError};

/// Bytes read and re-appended at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Tries to copy to one replica before another is used.
const COPY_TRIES: u32 = 4;

/// Why no replica that holds a frame of the gap gives it.
pub(super) enum SourceError {
    /// It is damaged on every one that replied (J10).
    Unreadable(ReplicaError),
    /// One of them may have it intact, but cannot be reached (J3).
    Gone(ReplicaError),
}

/// Reads everything in the gap once: what is below `end` and on fewer than A of the replies.
pub(super) async fn check_gap(
    ctx: &Recovery<'_>,
    replies: &Replies<'_>,
    end: Lsn,
) -> Result<(), SourceError> {
    let mut from = replies
        .nth_highest(ctx.extent.replicas.ack_quorum())
        .min(end);
    while from < end {
        let frames = read_chunk(ctx, replies, from, end).await?;
        from = after(&frames, from);
    }
    Ok(())
}

/// Copies until A replicas hold everything below `end`.
pub(super) async fn fill_gap(
    ctx: &Recovery<'_>,
    fencing: &mut Fencing<'_>,
    end: Lsn,
) -> Result<(), RecoverError> {
    let quorum = ctx.extent.replicas.ack_quorum();
    let mut holders: Vec<usize> = Vec::new();
    let mut failed: Vec<usize> = Vec::new();
    let mut last = None;
    loop {
        let ends: Vec<(usize, Lsn)> = fencing.replies.ends().collect();
        for &(i, held) in &ends {
            if held >= end && !holders.contains(&i) {
                holders.push(i);
            }
        }
        if holders.len() >= quorum {
            return Ok(());
        }
        let untried = |(i, _): &&(usize, Lsn)| !holders.contains(i) && !failed.contains(i);
        // The fullest first: the least to copy.
        let sink = ends.iter().filter(untried).max_by_key(|(_, held)| *held);
        let Some(&(sink, held)) = sink else {
            if fencing.next().await? {
                continue;
            }
            return Err(ctx.too_few(
                quorum,
                holders.len(),
                last.or_else(|| fencing.replies.last_failure()),
            ));
        };
        match fill_one(ctx, &fencing.replies, sink, held, end).await {
            Ok(()) => holders.push(sink),
            Err(CopyError::Sink(ReplicaError::Fenced { fence, .. })) => {
                let extent = ctx.extent.id;
                return Err(RecoverError::Fenced { extent, fence });
            }
            Err(CopyError::Sink(error)) => {
                last = Some(error);
                failed.push(sink);
            }
            Err(CopyError::Source(SourceError::Gone(why) | SourceError::Unreadable(why))) => {
                let extent = ctx.extent.id;
                return Err(RecoverError::SourceLost { extent, why });
            }
        }
    }
}

pub(super) enum CopyError {
    Source(SourceError),
    Sink(ReplicaError),
}

/// Copies `[held, end)` to one replica. After a failure its inventory is asked for again: part of it may have arrived.
async fn fill_one(
    ctx: &Recovery<'_>,
    replies: &Replies<'_>,
    sink: usize,
    mut held: Lsn,
    end: Lsn,
) -> Result<(), CopyError> {
    let mut tries = 0;
    let mut absent = replies.inventories()[sink] == Some(Inventory::Absent);
    loop {
        let error = match fill_from(ctx, replies, (sink, absent), held, end).await {
            Err(CopyError::Sink(error)) => error,
            decided => return decided,
        };
        tries += 1;
        if tries >= COPY_TRIES || matches!(error, ReplicaError::Fenced { .. }) {
            return Err(CopyError::Sink(error));
        }
        let inventory = fence_once(ctx, sink).await.map_err(CopyError::Sink)?;
        absent = inventory == Inventory::Absent;
        held = vouched_end(ctx.extent.first, &inventory).ok_or(CopyError::Sink(error))?;
    }
}

async fn fill_from(
    ctx: &Recovery<'_>,
    replies: &Replies<'_>,
    (sink, absent): (usize, bool),
    mut held: Lsn,
    end: Lsn,
) -> Result<(), CopyError> {
    let node = ctx.extent.replicas.nodes()[sink];
    let gone = || ReplicaError::Unreachable(format!("log node {node} did not answer"));
    let handle = ctx.nodes.get(node).ok_or_else(|| CopyError::Sink(gone()))?;
    let limit = ctx.options.call_timeout;
    if absent {
        // J4: only an open creates an extent.
        let open = OpenExtent {
            extent: ctx.extent.id,
            epoch: ctx.epoch,
            first_lsn: ctx.extent.first,
        };
        let opened = tokio::time::timeout(limit, handle.open(open)).await;
        opened
            .unwrap_or_else(|_| Err(gone()))
            .map_err(CopyError::Sink)?;
    }
    while held < end {
        let frames = read_chunk(ctx, replies, held, end)
            .await
            .map_err(CopyError::Source)?;
        let reached = after(&frames, held);
        // J7: verbatim; the authority travels outside the frames.
        let append = handle.append(Append {
            extent: ctx.extent.id,
            epoch: ctx.epoch,
            frames,
        });
        let answer = tokio::time::timeout(limit, append).await;
        let ack = answer
            .unwrap_or_else(|_| Err(gone()))
            .map_err(CopyError::Sink)?;
        if ack.epoch != ctx.epoch || ack.end < reached {
            return Err(CopyError::Sink(gone()));
        }
        held = reached;
    }
    Ok(())
}

/// Frames from `from` on, below `end`, from any replica that vouched for them.
pub(super) async fn read_chunk(
    ctx: &Recovery<'_>,
    replies: &Replies<'_>,
    from: Lsn,
    end: Lsn,
) -> Result<Vec<Frame>, SourceError> {
    let mut damaged = None;
    let mut gone = None;
    for (i, _) in replies.ends().filter(|(_, held)| *held > from) {
        match read_from(ctx, i, from, end).await {
            Ok(frames) => return Ok(frames),
            Err(error @ ReplicaError::Damaged { .. }) => damaged = Some(error),
            Err(error) => gone = Some(error),
        }
    }
    match (gone, damaged) {
        (Some(error), _) => Err(SourceError::Gone(error)),
        (None, Some(error)) => Err(SourceError::Unreadable(error)),
        (None, None) => Err(SourceError::Gone(ReplicaError::NoSuchExtent(ctx.extent.id))),
    }
}

pub(super) async fn read_from(
    ctx: &Recovery<'_>,
    replica: usize,
    from: Lsn,
    end: Lsn,
) -> Result<Vec<Frame>, ReplicaError> {
    let node = ctx.extent.replicas.nodes()[replica];
    let gone = |why: &str| ReplicaError::Unreachable(format!("log node {node} {why}"));
    let handle = ctx
        .nodes
        .get(node)
        .ok_or_else(|| gone("is not known here"))?;
    let request = ReadFrames {
        extent: ctx.extent.id,
        from,
        end,
        bytes_max: CHUNK_BYTES,
    };
    let answer = tokio::time::timeout(ctx.options.call_timeout, handle.read(request)).await;
    let frames = answer.unwrap_or_else(|_| Err(gone("did not answer a read")))?;
    let frames = crate::reader::usable(ctx.extent.id, from, end, frames);
    if frames.is_empty() {
        return Err(gone("gave no frame it vouched for"));
    }
    Ok(frames)
}

pub(super) fn after(frames: &[Frame], from: Lsn) -> Lsn {
    frames.last().map_or(from, |frame| frame.lsn.next())
}
