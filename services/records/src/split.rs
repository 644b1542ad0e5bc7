//! Cutting concatenated batches apart.

use bytes::Bytes;

use crate::header::{LENGTH_END, check_magic, size_from_length};
use crate::{Batch, BatchError};

/// The batches in `bytes`, one after the other, each checked as [`Batch::parse`] does.
///
/// Ends after the first error. Slices share the memory of `bytes`.
#[must_use]
pub const fn split(bytes: Bytes) -> Split {
    Split { rest: bytes }
}

/// See [`split`].
#[derive(Clone, Debug)]
pub struct Split {
    rest: Bytes,
}

impl Split {
    fn cut(&mut self) -> Result<Batch, BatchError> {
        let have = self.rest.len();
        // A batch of an old format is named as such before its length is judged.
        check_magic(&self.rest)?;
        let Some((head, _)) = self.rest.split_first_chunk::<LENGTH_END>() else {
            return Err(BatchError::Truncated {
                needed: LENGTH_END,
                have,
            });
        };
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let needed = size_from_length(length)?;
        if needed > have {
            return Err(BatchError::Truncated { needed, have });
        }
        Batch::parse(self.rest.split_to(needed))
    }
}

impl Iterator for Split {
    type Item = Result<Batch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let cut = self.cut();
        if cut.is_err() {
            self.rest.clear();
        }
        Some(cut)
    }
}
