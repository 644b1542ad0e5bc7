//! Which extents a new owner replays: back to the newest one with a complete checkpoint (J1).

use tidemark_journal::{FrameKind, Mutation, Reader};
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::{MetaError, Mode, keys};
use tidemark_types::{ExtentIdx, Ownership, ShardId};

use crate::extents::extent_of;
use crate::leases::Inner;
use crate::{SealedExtent, TakeError};

/// Rows read per transaction.
const PAGE: usize = 500;
/// Bytes read at a time while looking for a checkpoint's end.
const CHUNK_BYTES: usize = 4 << 20;

/// A sealed extent with what its row says of its checkpoint.
pub(crate) struct SealedRow {
    pub(crate) index: ExtentIdx,
    pub(crate) row: ExtentRow,
    pub(crate) sealed: SealedExtent,
}

/// All sealed extents of the shard before `open`, oldest first. Their rows change only in what tiering removes, so the
/// pages need not be one transaction.
pub(crate) async fn sealed_extents(
    inner: &Inner,
    shard: ShardId,
    open: Option<ExtentIdx>,
) -> Result<Vec<SealedRow>, MetaError> {
    let mut range = ExtentKey::of_shard(shard);
    let mut found = Vec::new();
    loop {
        let mut tx = inner.store.begin();
        let page: Vec<(ExtentKey, ExtentRow)> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Serializable).await?;
        let Some((last, _)) = page.last() else {
            return Ok(found);
        };
        let after = ExtentKey {
            shard,
            index: last.index.next(),
        };
        let full = page.len() == PAGE;
        range.begin = keys::Key::encode(&after);
        for (key, row) in page {
            let ExtentState::Sealed(end) = row.state else {
                continue;
            };
            if open.is_some_and(|open| key.index >= open) {
                continue;
            }
            let sealed = SealedExtent {
                extent: extent_of(shard, key.index, &row)?,
                end,
                lost: row.lost.clone(),
            };
            found.push(SealedRow {
                index: key.index,
                row,
                sealed,
            });
        }
        if !full {
            return Ok(found);
        }
    }
}

/// Splits the sealed extents into those before the newest with a complete checkpoint, and the rest (J1).
pub(crate) async fn split(
    inner: &Inner,
    ownership: &Ownership,
    open: ExtentIdx,
    reader: &Reader,
) -> Result<(Vec<SealedExtent>, Vec<SealedExtent>), TakeError> {
    let mut rows = sealed_extents(inner, ownership.shard, Some(open)).await?;
    let mut at = None;
    for (i, candidate) in rows.iter().enumerate().rev() {
        if candidate.row.ckpt || has_checkpoint(reader, &candidate.sealed).await? {
            at = Some(i);
            break;
        }
        let broken = inner.config.mutation;
        let partial = candidate.sealed.readable_end() > candidate.sealed.extent.first;
        if broken == Some(Mutation::PreviousExtentOnly)
            || (broken == Some(Mutation::PartialCheckpoint) && partial)
        {
            at = Some(i);
            break;
        }
    }
    // None has one: nothing was ever acked in any of them, so there is nothing to replay.
    let replay = rows.split_off(at.unwrap_or(rows.len()));
    let plain = |rows: Vec<SealedRow>| rows.into_iter().map(|row| row.sealed).collect();
    Ok((plain(rows), plain(replay)))
}

/// Whether the extent's checkpoint is complete. The row's mark is written after the fact, so without it the frames
/// decide (J12). An unreadable extent is an error, never an empty one.
pub(crate) async fn has_checkpoint(
    reader: &Reader,
    sealed: &SealedExtent,
) -> Result<bool, TakeError> {
    let end = sealed.readable_end();
    let mut at = sealed.extent.first;
    while at < end {
        let frames = reader.read(&sealed.extent, at, end, CHUNK_BYTES).await?;
        for frame in &frames {
            match frame.body.kind {
                FrameKind::CheckpointEnd => return Ok(true),
                FrameKind::Checkpoint => {}
                FrameKind::Data => {
                    let why = format!("{} has data before its checkpoint", sealed.extent.id);
                    return Err(TakeError::Store(MetaError::Corrupt(why)));
                }
            }
        }
        at = frames.last().map_or(end, |frame| frame.lsn.next());
    }
    Ok(false)
}
