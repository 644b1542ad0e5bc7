//! Reading an object as its row says it is.

use tidemark_blob::{BlobError, BlobErrorKind, BlobKey};
use tidemark_meta::keys::cold::Level0Key;
use tidemark_meta::keys::cold1::Level1Key;
use tidemark_meta::keys::state::StateKey;
use tidemark_meta::{MetaError, MetaStore, Mode, keys};
use tidemark_segment::{HEADER_BYTES, Header, Index};
use tidemark_types::{DecodeError, ObjectId};

use super::{AuditError, Auditor, READ_BYTES};
use crate::tier::objects::decode_chunk;
use crate::tier::rows::Located;

/// Why an object was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Blob(#[from] BlobError),
    #[error("{0}")]
    Damaged(#[from] DecodeError),
}

impl ReadError {
    /// What is wrong with the object; an error when it is the store that does not answer.
    pub(super) fn complaint(self) -> Result<String, AuditError> {
        match self {
            Self::Damaged(why) => Ok(why.to_string()),
            Self::Blob(error) => match error.kind() {
                BlobErrorKind::NotFound => Ok("it is not there".to_owned()),
                // A range beyond the object's end: it is shorter than its row says.
                BlobErrorKind::Invalid => Ok(error.to_string()),
                _ => Err(error.into()),
            },
        }
    }
}

/// The row that names an object.
#[derive(Clone, Copy)]
pub(super) enum Row {
    Shared(Level0Key),
    Own(Level1Key),
    State(StateKey),
}

impl Row {
    /// Whether it still does. Once it does not, it never will again.
    pub(super) async fn names(
        self,
        meta: &dyn MetaStore,
        object: ObjectId,
    ) -> Result<bool, MetaError> {
        let mut tx = meta.begin();
        let (tx, mode) = (tx.as_mut(), Mode::Snapshot);
        let named = match self {
            Self::Shared(key) => keys::get(tx, &key, mode).await?.map(|row| row.object),
            Self::State(key) => keys::get(tx, &key, mode).await?.map(|row| row.object),
            Self::Own(key) => {
                let row = keys::get(tx, &key, mode).await?;
                row.and_then(|row| Some(row.object?.object))
            }
        };
        Ok(named == Some(object))
    }
}

/// Reads an object's index.
pub(super) async fn index(
    auditor: &mut Auditor<'_>,
    key: &BlobKey,
    located: Located,
) -> Result<Index, ReadError> {
    let range = located.index_at..located.bytes;
    auditor
        .pace
        .take(range.end.saturating_sub(range.start))
        .await;
    let tail = auditor.blob.get(key, range).await?;
    let index = Index::decode(&tail, located.index_at)?;
    named(&index.header, located)?;
    Ok(index)
}

fn named(header: &Header, located: Located) -> Result<(), DecodeError> {
    if (header.object, header.covers) == (located.object, located.covers) {
        return Ok(());
    }
    let why = "is of another object than its row says";
    Err(DecodeError::invalid("segment header", why))
}

/// Checks index, header and every block.
pub(super) async fn whole(
    auditor: &mut Auditor<'_>,
    key: &BlobKey,
    located: Located,
) -> Result<(), ReadError> {
    let index = index(auditor, key, located).await?;
    let head = auditor.blob.get(key, 0..HEADER_BYTES as u64).await?;
    named(&Header::decode(&head)?, located)?;
    for part in index.partitions() {
        let mut block = 0;
        while block < part.blocks().len() {
            let blocks = part.window(block, READ_BYTES);
            block = blocks.end;
            let range = part.range(blocks.clone());
            auditor.pace.take(range.end - range.start).await;
            let bytes = auditor.blob.get(key, range).await?;
            decode_chunk(&part, blocks, &bytes)?;
        }
    }
    Ok(())
}
